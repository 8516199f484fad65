package clip

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dploda/dploda/dp/plan"
)

func mechanism(t testing.TB, dim int, clip float64) plan.Mechanism {
	t.Helper()
	m, err := plan.New(plan.Spec{Phase: "finetune", SampleRate: 0.01, Nominal: 60000, NoiseMultiplier: 1,
		ClipNorm: clip, Dim: dim, Steps: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// exact holds a contribution against arbitrary-precision arithmetic: its norm
// is at most Delta, and every coordinate is the integer nearest to the exactly
// clipped value, up to the slack of the floating-point factor.
func exact(t testing.TB, g []float32, copies int, m plan.Mechanism, v []int32) {
	t.Helper()
	var sq big.Int
	for _, x := range v {
		y := big.NewInt(int64(x))
		sq.Add(&sq, y.Mul(y, y))
	}
	if delta := big.NewInt(m.Delta); sq.Cmp(delta.Mul(delta, delta)) > 0 {
		t.Fatalf("‖v‖² = %v exceeds Delta² = %v", &sq, delta)
	}

	prec := func(x float64) *big.Float { return new(big.Float).SetPrec(200).SetFloat64(x) }
	norm := prec(0)
	for _, x := range g {
		norm.Add(norm, prec(0).Mul(prec(float64(x)), prec(float64(x))))
	}
	norm.Sqrt(norm)
	factor := prec(0).Quo(prec(float64(m.Delta)), prec(m.ClipNorm))
	factor.Quo(factor, prec(float64(copies)))
	if grid := prec(0).Mul(norm, factor); grid.Cmp(prec(Target(m))) > 0 {
		factor.Quo(prec(Target(m)), norm)
	}
	for i, x := range g {
		want, _ := prec(0).Mul(prec(float64(x)), factor).Float64()
		if off := math.Abs(float64(v[i]) - want); off > 0.5+math.Abs(want)*1e-6 {
			t.Fatalf("coordinate %d is %d, exactly clipped %v", i, v[i], want)
		}
	}
}

func TestAdversarialVectors(t *testing.T) {
	const n = 4096
	fill := func(f func(i int) float64) []float32 {
		g := make([]float32, n)
		for i := range g {
			g[i] = float32(f(i))
		}
		return g
	}
	source := rand.New(rand.NewPCG(1, 2))
	vectors := map[string][]float32{
		"zero":            fill(func(int) float64 { return 0 }),
		"negative zero":   fill(func(int) float64 { return math.Copysign(0, -1) }),
		"constant":        fill(func(int) float64 { return 0.37 }),
		"half units":      fill(func(int) float64 { return 0.5 }),
		"ascending":       fill(func(i int) float64 { return float64(i) }),
		"descending":      fill(func(i int) float64 { return float64(n - i) }),
		"alternating":     fill(func(i int) float64 { return 1 - 2*float64(i%2) }),
		"one huge":        fill(func(i int) float64 { return map[bool]float64{true: 3e38, false: 1}[i == 7] }),
		"all huge":        fill(func(int) float64 { return math.MaxFloat32 }),
		"all tiny":        fill(func(int) float64 { return 1e-38 }),
		"denormal":        fill(func(int) float64 { return math.SmallestNonzeroFloat32 }),
		"one denormal":    fill(func(i int) float64 { return map[bool]float64{true: 1e-45}[i == 0] }),
		"ten decades":     fill(func(i int) float64 { return math.Pow(10, -38+76*float64(i)/(n-1)) }),
		"small then big":  fill(func(i int) float64 { return map[bool]float64{true: 1e8, false: 1e-8}[i == n-1] }),
		"Gaussian":        fill(func(int) float64 { return source.NormFloat64() }),
		"Gaussian, large": fill(func(int) float64 { return 1e20 * source.NormFloat64() }),
	}
	for name, g := range vectors {
		for _, c := range []float64{1e-30, 1e-6, 0.01, 1, 64, 1e10, 1e30} {
			for _, copies := range []int{1, 3, 32} {
				m := mechanism(t, n, c)
				v, ok := Contribution(g, copies, m)
				if !ok {
					t.Fatalf("%s, C=%g, K=%d: refused, norm² %g", name, c, copies, SquaredNorm(g))
				}
				exact(t, g, copies, m, v)
			}
		}
	}
}

// The rounding's worst case: all coordinates of a long gradient are scaled to
// Target/√Dim and rounded up together. Whatever fraction that has, the result
// stays within Delta: Target's √Dim/2 is enough, and no less would be.
func TestRoundingCannotExceedDelta(t *testing.T) {
	const dim = 10_000 // √Dim = 100
	g := make([]float32, dim)
	for i := range g {
		g[i] = 1
	}
	grew := false
	for delta := int64(100_000); delta < 100_100; delta++ {
		m := plan.Mechanism{Phase: "p", Everyone: true, Dim: dim, Delta: delta, SigmaInt: 1, ClipNorm: 0.001, Steps: 1, Divisor: 1}
		v, ok := Contribution(g, 1, m)
		if !ok {
			t.Fatalf("Delta %d: refused", delta)
		}
		grew = grew || 100*float64(v[0]) > Target(m)
	}
	if !grew {
		t.Error("rounding never lengthened the vector: the cases miss their aim")
	}
}

func TestLargestDimension(t *testing.T) {
	const dim = 10_400_000 // full fine-tuning
	m := mechanism(t, dim, 1)
	g := make([]float32, dim)
	for i := range g {
		g[i] = float32(1 + i%5)
	}
	if _, ok := Contribution(g, 1, m); !ok {
		t.Fatal("refused")
	}
}

// An unclipped gradient keeps its length; a longer one gets Target; K copies
// count as their mean.
func TestFactorClipsTheMean(t *testing.T) {
	m := mechanism(t, 1000, 2)
	for _, c := range []struct {
		name   string
		norm   float64 // of the sum
		copies int
		want   float64 // norm in grid units
	}{
		{"short", 1, 1, float64(m.Delta) / 2},
		{"short mean of a long sum", 4, 4, float64(m.Delta) / 2},
		{"long", 100, 1, Target(m)},
		{"long mean", 100, 10, Target(m)},
		{"at the bound", 2, 1, Target(m)},
		{"nothing", 0, 1, 0},
	} {
		if got := c.norm * Factor(c.norm*c.norm, c.copies, m); math.Abs(got-c.want) > 1e-9*float64(m.Delta) {
			t.Errorf("%s: norm %v grid units, want %v", c.name, got, c.want)
		}
	}
	if Target(m) < 0.9999*float64(m.Delta) || Target(m) >= float64(m.Delta) {
		t.Errorf("target %v of Delta %d", Target(m), m.Delta)
	}
}

// A ClipNorm far below every gradient normalises: direction kept, norm Target.
func TestTinyClipNormNormalises(t *testing.T) {
	m := mechanism(t, 3, 1e-30)
	for _, scale := range []float32{1e-20, 1, 1e30} {
		v, ok := Contribution([]float32{3 * scale, 0, -4 * scale}, 7, m)
		if !ok {
			t.Fatal("refused")
		}
		for i, want := range []float64{0.6, 0, -0.8} {
			if got := float64(v[i]) / float64(m.Delta); math.Abs(got-want) > 1e-5 {
				t.Errorf("scale %g: coordinate %d is %v of Delta, want %v", scale, i, got, want)
			}
		}
	}
}

func TestNotANumberContributesNothing(t *testing.T) {
	m := mechanism(t, 5, 1)
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		for at := range 5 {
			g := []float32{1, 2, 3, 4, 5}
			g[at] = bad
			v, ok := Contribution(g, 1, m)
			if ok || !slices.Equal(v, make([]int32, 5)) {
				t.Errorf("%v at %d contributes %v, %v", bad, at, v, ok)
			}
		}
	}
	for _, norm := range []float64{math.NaN(), math.Inf(1), -1} {
		if f := Factor(norm, 1, m); f != 0 {
			t.Errorf("squared norm %v: factor %v", norm, f)
		}
	}
	if f := Factor(1, 0, m); f != 0 {
		t.Errorf("no copies: factor %v", f)
	}
}

// Within against arbitrary precision, with sums far beyond 64 bits.
func TestWithinIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.SliceOfN(rapid.OneOf(rapid.Int32(), rapid.Int32Range(-3, 3), rapid.Just(int32(math.MinInt32))), 0, 40).Draw(rt, "v")
		var sum big.Int
		for _, x := range v {
			y := big.NewInt(int64(x))
			sum.Add(&sum, y.Mul(y, y))
		}
		limits := []uint64{0, 1, 1 << 62, math.MaxUint64, rapid.Uint64().Draw(rt, "limit")}
		if sum.IsUint64() {
			limits = append(limits, sum.Uint64(), sum.Uint64()-1, sum.Uint64()+1)
		}
		for _, limit := range limits {
			if want := sum.Cmp(new(big.Int).SetUint64(limit)) <= 0; Within(v, limit) != want {
				rt.Fatalf("Σv² = %v against %d: %v", &sum, limit, !want)
			}
		}
	})
}

// Invariant 4 as a property of the real path: whatever the gradient, what comes
// out has norm at most Delta.
func TestSensitivity(t *testing.T) {
	m := mechanism(t, 20, 1)
	rapid.Check(t, func(rt *rapid.T) {
		g := rapid.SliceOfN(rapid.Map(rapid.Uint32(), math.Float32frombits), 20, 20).Draw(rt, "g")
		copies := rapid.IntRange(1, 64).Draw(rt, "copies")
		v, ok := Contribution(g, copies, m)
		if ok {
			exact(t, g, copies, m, v)
			return
		}
		if norm := SquaredNorm(g); norm <= math.MaxFloat64 {
			rt.Fatalf("a finite gradient of norm² %g was refused", norm)
		}
		if !slices.Equal(v, make([]int32, 20)) {
			rt.Fatalf("a refused gradient contributes %v", v)
		}
	})
}

// Known values, so that no change of rounding passes unseen.
func TestRoundsHalfToEven(t *testing.T) {
	m := plan.Mechanism{Phase: "p", Everyone: true, Dim: 4, Delta: 100, SigmaInt: 1, ClipNorm: 100, Steps: 1, Divisor: 1}
	v, ok := Contribution([]float32{0.5, 1.5, -2.5, -3.5}, 1, m)
	if !ok || !slices.Equal(v, []int32{0, 2, -2, -4}) {
		t.Errorf("contribution %v, %v", v, ok)
	}
}
