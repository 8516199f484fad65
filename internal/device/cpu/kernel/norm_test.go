package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// groupNorm64 is the definition in float64 for one lane: x[c][pixel].
func groupNorm64(n GroupNorm, x [][]float64, gamma, beta []float32) [][]float64 {
	y := make([][]float64, n.C)
	per := n.C / n.Groups
	for g := range n.Groups {
		var mean, variance float64
		count := float64(per * n.H * n.W)
		for c := g * per; c < (g+1)*per; c++ {
			for _, v := range x[c] {
				mean += v / count
			}
		}
		for c := g * per; c < (g+1)*per; c++ {
			for _, v := range x[c] {
				variance += (v - mean) * (v - mean) / count
			}
		}
		for c := g * per; c < (g+1)*per; c++ {
			for _, v := range x[c] {
				z := (v-mean)/math.Sqrt(variance+float64(n.Eps))*float64(gamma[c]) + float64(beta[c])
				if n.SiLU {
					z = silu64(z)
				}
				y[c] = append(y[c], z)
			}
		}
	}
	return y
}

// lane64 copies one lane of a buffer.
func lane64(b buffer, lane int) [][]float64 {
	v := make([][]float64, b.e.C)
	b.each(func(c, _, _, l int, p *float32) {
		if l == lane {
			v[c] = append(v[c], float64(*p))
		}
	})
	return v
}

// TestGroupNorm holds the forward pass to the definition and the backward pass
// to its finite differences, with a mean far from zero.
func TestGroupNorm(t *testing.T) {
	for _, silu := range []bool{false, true} {
		e := Extent{4, 3, 5}
		n := GroupNorm{Extent: e, Groups: 2, Eps: 1e-5, SiLU: silu}
		x := newBuffer(e, 1).random(1, func(r *rand.Rand) float32 { return 8 + 2*normal(r) })
		dy := newBuffer(e, 0).random(2, normal)
		y, dz, dx := newBuffer(e, 2), newBuffer(e, 0), newBuffer(e, 1).random(3, normal)
		before := newBuffer(e, 1).random(3, normal)
		gamma, beta := []float32{1, -0.5, 2, 0.7}, []float32{0.1, 0.2, -0.3, 0}
		stats := make([]float32, n.StatsLen())
		dgamma, dbeta := make([]float32, e.C*Lanes), make([]float32, e.C*Lanes)
		n.Forward(y.view(), x.view(), gamma, beta, stats)
		n.Backward(dx.view(), dz.view(), dy.view(), x.view(), gamma, beta, stats, dgamma, dbeta, true)
		const lane = 5
		x64, dy64 := lane64(x, lane), lane64(dy, lane)
		want := groupNorm64(n, x64, gamma, beta)
		y.each(func(c, h, w, l int, got *float32) {
			if l == lane {
				near(t, "group norm", want[c][h*e.W+w], *got, 5e-6)
			}
		})
		// loss = Σ dy·y
		loss := func() (s float64) {
			for c, row := range groupNorm64(n, x64, gamma, beta) {
				for i, v := range row {
					s += v * dy64[c][i]
				}
			}
			return s
		}
		dx.each(func(c, h, w, l int, got *float32) {
			if l != lane {
				return
			}
			p := &x64[c][h*e.W+w]
			value := *p
			*p = value + 1e-5
			up := loss()
			*p = value - 1e-5
			down := loss()
			*p = value
			near(t, "dx", (up-down)/2e-5+float64(*before.at(c, h, w, l)), *got, 1e-5)
		})
		for c := range e.C {
			for name, p := range map[string]struct {
				v   *float32
				got float32
			}{"dgamma": {&gamma[c], dgamma[c*Lanes+lane]}, "dbeta": {&beta[c], dbeta[c*Lanes+lane]}} {
				value := *p.v
				*p.v = value + 0.0009765625
				up := loss()
				*p.v = value - 0.0009765625
				down := loss()
				*p.v = value
				near(t, fmt.Sprintf("%s[%d], silu %v", name, c, silu), (up-down)/0.001953125, p.got, 2e-5)
			}
		}
	}
}

// TestGroupNormInPlace allows dy to serve as dz and dx, and dst to be x.
func TestGroupNormInPlace(t *testing.T) {
	e := Extent{4, 3, 3}
	n := GroupNorm{Extent: e, Groups: 2, Eps: 1e-5, SiLU: true}
	gamma, beta := []float32{1, 2, 3, 4}, []float32{0, 1, 0, -1}
	stats := make([]float32, n.StatsLen())
	x := newBuffer(e, 0).random(1, normal)
	y, dz, dx := newBuffer(e, 0), newBuffer(e, 0), newBuffer(e, 0)
	dy := newBuffer(e, 0).random(2, normal)
	n.Forward(y.view(), x.view(), gamma, beta, stats)
	n.Backward(dx.view(), dz.view(), dy.view(), x.view(), gamma, beta, stats, nil, nil, false)
	n.Backward(dy.view(), dy.view(), dy.view(), x.view(), gamma, beta, stats, nil, nil, false)
	sameBits(t, "dx over dy", dx.data, dy.data)
	n.Forward(x.view(), x.view(), gamma, beta, stats)
	sameBits(t, "y over x", y.data, x.data)
}
