package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// flatCases run on four vectors of one length and report what Clamp reports.
var flatCases = []struct {
	name string
	run  func(v *[4][]float32) bool
}{
	{"combine", func(v *[4][]float32) bool { Combine(v[0], 0.3, v[1], -1.7, v[2]); return true }},
	{"combine in place", func(v *[4][]float32) bool { Combine(v[0], 0.3, v[0], 1, v[2]); return true }},
	{"add scaled", func(v *[4][]float32) bool { AddScaled(v[0], 0.3, v[1]); return true }},
	{"divide difference", func(v *[4][]float32) bool { DivideDifference(v[0], v[1], 0.3, v[2], 0.7); return true }},
	{"clamp", func(v *[4][]float32) bool { return Clamp(v[0], 1) }},
	{"adam", func(v *[4][]float32) bool { Adam(v[0], v[1], v[2], v[3], adamStep(0)); return true }},
	{"adam with noise", func(v *[4][]float32) bool { Adam(v[0], v[1], v[2], v[3], adamStep(0.2)); return true }},
}

func adamStep(noise float32) AdamStep {
	return AdamStep{Beta1: 0.9, Rest1: 0.1, Beta2: 0.99, Rest2: 0.01, Rate: 0.02, Correction: 0.3, Keep: 0.999, Eps: 1e-3,
		NoiseVariance: noise, NoiseFloor: 0.01}
}

// flatVectors returns four vectors between fences. The third is positive as a
// second moment is, unless value gives special numbers.
func flatVectors(n int, value func(*rand.Rand) float32) (v [4][]float32, check func(*testing.T)) {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	var checks [4]func(*testing.T)
	for k := range v {
		v[k], checks[k] = fenced(n)
		for i := range v[k] {
			v[k][i] = value(r)
			if k == 2 {
				v[k][i] *= v[k][i]
			}
		}
	}
	return v, func(t *testing.T) {
		t.Helper()
		for _, c := range checks {
			c(t)
		}
	}
}

func TestFlatLevelsAgree(t *testing.T) {
	levels := fastLevels(t)
	sizes := []int{maxFlat - 1, 2*maxFlat + 17}
	for n := range 68 {
		sizes = append(sizes, n)
	}
	for _, c := range flatCases {
		for _, n := range sizes {
			for kind, value := range map[string]func(*rand.Rand) float32{"normal": normal, "special": special} {
				use(t, "portable")
				want, _ := flatVectors(n, value)
				numbers := c.run(&want)
				for _, level := range levels {
					use(t, level)
					got, check := flatVectors(n, value)
					what := fmt.Sprintf("%s of %d %s values on %s", c.name, n, kind, level)
					if found := c.run(&got); found != numbers {
						t.Fatalf("%s reports %v, want %v", what, found, numbers)
					}
					for k := range got {
						sameBits(t, fmt.Sprintf("%s, vector %d", what, k), want[k], got[k])
					}
					check(t)
				}
			}
		}
	}
}

// TestClampFindsNaN puts one NaN anywhere, also into the tail.
func TestClampFindsNaN(t *testing.T) {
	restore := active
	defer func() { active = restore }()
	for _, level := range Levels() {
		use(t, level)
		for i := range 67 {
			x := make([]float32, 67)
			x[(i+1)%67], x[i] = -3, float32(math.NaN())
			if Clamp(x, 1) || x[i] == x[i] || x[(i+1)%67] != -1 {
				t.Fatalf("%s: a NaN at %d gives %v", level, i, x)
			}
		}
	}
}

// TestFlatFormulas holds the flat kernels to their float64 formulas.
func TestFlatFormulas(t *testing.T) {
	adam := func(noise float64) func(d, x, y, z float64) float64 {
		return func(d, x, y, z float64) float64 {
			m, v := 0.9*x+0.1*z, (0.99*y+0.01*z*z)/0.3
			if noise > 0 {
				return 0.999*d - 0.02*m/math.Sqrt(max(v-noise, 0.01))
			}
			return 0.999*d - 0.02*m/(math.Sqrt(v)+1e-3)
		}
	}
	formulas := []func(d, x, y, z float64) float64{
		func(d, x, y, z float64) float64 { return 0.3*x - 1.7*y },
		func(d, x, y, z float64) float64 { return 0.3*d + y },
		func(d, x, y, z float64) float64 { return d + 0.3*x },
		func(d, x, y, z float64) float64 { return (x - 0.3*y) / 0.7 },
		func(d, x, y, z float64) float64 { return min(max(d, -1), 1) },
		adam(0), adam(0.2),
	}
	for c, formula := range formulas {
		before, _ := flatVectors(41, normal)
		got, _ := flatVectors(41, normal)
		flatCases[c].run(&got)
		for i := range got[0] {
			var v [4]float64
			for k := range v {
				v[k] = float64(before[k][i])
			}
			near(t, flatCases[c].name, formula(v[0], v[1], v[2], v[3]), got[0][i], 1e-6)
		}
	}
}

func TestFlatLengths(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("vectors of 3 and 4 elements were combined")
		}
	}()
	Combine(make([]float32, 3), 1, make([]float32, 3), 1, make([]float32, 4))
}
