package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func scores(rows, cols int, seed uint64, value func(*rand.Rand) float32) ([]float32, func(*testing.T)) {
	s, check := fenced(rows * cols * Lanes)
	r := rand.New(rand.NewPCG(seed, 4))
	for i := range s {
		s[i] = value(r)
	}
	return s, check
}

func TestSoftmaxLevelsAgree(t *testing.T) {
	levels := fastLevels(t)
	for seed := range uint64(20) {
		rows, cols := 1+int(seed%3), 1+int(seed)
		for kind, value := range map[string]func(*rand.Rand) float32{"normal": normal, "special": special} {
			use(t, "portable")
			want, _ := scores(rows, cols, seed, value)
			gradient, _ := scores(rows, cols, seed+1, value)
			Softmax(want, rows, cols, cols*Lanes, 0.7)
			SoftmaxBackward(gradient, want, rows, cols, cols*Lanes, 0.7)
			for _, level := range levels {
				use(t, level)
				got, check := scores(rows, cols, seed, value)
				ds, checkDS := scores(rows, cols, seed+1, value)
				Softmax(got, rows, cols, cols*Lanes, 0.7)
				SoftmaxBackward(ds, got, rows, cols, cols*Lanes, 0.7)
				what := fmt.Sprintf("%s, %s values, %dx%d", level, kind, rows, cols)
				sameBits(t, what, want, got)
				sameBits(t, what+", backward", gradient, ds)
				check(t)
				checkDS(t)
			}
		}
	}
}

func TestSoftmaxReference(t *testing.T) {
	const cols, scale = 37, 0.25
	s, _ := scores(1, cols, 1, func(r *rand.Rand) float32 { return 20 * normal(r) })
	ds, _ := scores(1, cols, 2, normal)
	original, upstream := append([]float32(nil), s...), append([]float32(nil), ds...)
	Softmax(s, 1, cols, cols*Lanes, scale)
	SoftmaxBackward(ds, s, 1, cols, cols*Lanes, scale)
	for l := range Lanes {
		var sum, dot float64
		p := make([]float64, cols)
		for j := range cols {
			p[j] = math.Exp(scale * float64(original[j*Lanes+l]))
			sum += p[j]
		}
		for j := range cols {
			p[j] /= sum
			dot += p[j] * float64(upstream[j*Lanes+l])
			near(t, "softmax", p[j], s[j*Lanes+l], 1e-6)
		}
		for j := range cols {
			near(t, "softmax backward", scale*p[j]*(float64(upstream[j*Lanes+l])-dot), ds[j*Lanes+l], 1e-6)
		}
	}
}
