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

// withSide is mechanism with both side coordinates; losses count up to 2.
func withSide(t testing.TB, dim int, clip float64) plan.Mechanism {
	t.Helper()
	m, err := plan.New(plan.Spec{Phase: "finetune", SampleRate: 0.01, Nominal: 60000, NoiseMultiplier: 1,
		ClipNorm: clip, Dim: dim, Steps: 1, LossBound: 2, ClipShare: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// exact holds a contribution against arbitrary-precision arithmetic: its norm
// is at most Delta, every coordinate of the gradient is the integer nearest to
// the exactly clipped value, up to the slack of the floating-point factor, and
// the side coordinates are the nearest integers to theirs.
func exact(t testing.TB, g []float32, copies int, loss float64, m plan.Mechanism, v []int32) {
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
	factor := prec(0).Quo(prec(float64(m.GradientDelta())), prec(m.ClipNorm))
	factor.Quo(factor, prec(float64(copies)))
	clipped := false
	if grid := prec(0).Mul(norm, factor); grid.Cmp(prec(Target(m))) > 0 {
		factor.Quo(prec(Target(m)), norm)
		clipped = true
	}
	exactSide(t, loss, clipped, m, v[len(g):])
	for i, x := range g {
		want, _ := prec(0).Mul(prec(float64(x)), factor).Float64()
		if off := math.Abs(float64(v[i]) - want); off > 0.5+math.Abs(want)*1e-6 {
			t.Fatalf("coordinate %d is %d, exactly clipped %v", i, v[i], want)
		}
	}
}

// exactSide holds side coordinates against arbitrary-precision arithmetic.
func exactSide(t testing.TB, loss float64, clipped bool, m plan.Mechanism, side []int32) {
	t.Helper()
	if m.LossDelta > 0 {
		want := new(big.Rat).SetFloat64(math.Min(math.Max(loss, 0), m.LossBound))
		want.Quo(want, new(big.Rat).SetFloat64(m.LossBound))
		want.Mul(want, new(big.Rat).SetInt64(m.LossDelta))
		off, _ := want.Sub(want, new(big.Rat).SetInt64(int64(side[0]))).Float64()
		if math.Abs(off) > 0.5+1e-6 {
			t.Fatalf("a loss of %v is %d of %d units", loss, side[0], m.LossDelta)
		}
		side = side[1:]
	}
	if m.ClipDelta > 0 {
		if want := map[bool]int64{true: m.ClipDelta}[clipped]; int64(side[0]) != want {
			t.Fatalf("clip indicator %d, want %d", side[0], want)
		}
		side = side[1:]
	}
	if len(side) != 0 {
		t.Fatalf("%d coordinates too many", len(side))
	}
}

// Constant, sorted, tiny, huge and broken gradients become integers within Delta, as
// big numbers say. (Tried with vectors clipped to 1e-5 more than the target.)
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
	losses := []float64{0, 0.7, 2, 2.5, -1, 1e-38, 1e38, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-300}
	for name, g := range vectors {
		for _, c := range []float64{1e-30, 1e-6, 0.01, 1, 64, 1e10, 1e30} {
			for _, copies := range []int{1, 3, 32} {
				for i, m := range []plan.Mechanism{mechanism(t, n, c), withSide(t, n, c)} {
					loss := losses[(len(name)+copies+i)%len(losses)]
					v, ok := Contribution(g, copies, loss, m)
					if !ok {
						t.Fatalf("%s, C=%g, K=%d: refused, norm² %g", name, c, copies, SquaredNorm(g))
					}
					exact(t, g, copies, loss, m, v)
				}
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
		v, ok := Contribution(g, 1, 0, m)
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
	if _, ok := Contribution(g, 1, 0, m); !ok {
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

		clipped bool
	}{
		{"short", 1, 1, float64(m.Delta) / 2, false},
		{"short mean of a long sum", 4, 4, float64(m.Delta) / 2, false},
		{"long", 100, 1, Target(m), true},
		{"long mean", 100, 10, Target(m), true},
		{"at the bound", 2, 1, Target(m), true}, // Target is a little less
		{"nothing", 0, 1, 0, false},
	} {
		factor, clipped := Factor(c.norm*c.norm, c.copies, m)
		if got := c.norm * factor; math.Abs(got-c.want) > 1e-9*float64(m.Delta) || clipped != c.clipped {
			t.Errorf("%s: norm %v grid units, clipped %v; want %v, %v", c.name, got, clipped, c.want, c.clipped)
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
		v, ok := Contribution([]float32{3 * scale, 0, -4 * scale}, 7, 0, m)
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
			v, ok := Contribution(g, 1, 0, m)
			if ok || !slices.Equal(v, make([]int32, 5)) {
				t.Errorf("%v at %d contributes %v, %v", bad, at, v, ok)
			}
		}
	}
	for _, norm := range []float64{math.NaN(), math.Inf(1), -1} {
		if f, clipped := Factor(norm, 1, m); f != 0 || clipped {
			t.Errorf("squared norm %v: factor %v", norm, f)
		}
	}
	if f, clipped := Factor(1, 0, m); f != 0 || clipped {
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
	mechanisms := []plan.Mechanism{mechanism(t, 20, 1), withSide(t, 20, 1)}
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.SampledFrom(mechanisms).Draw(rt, "mechanism")
		g := rapid.SliceOfN(rapid.Map(rapid.Uint32(), math.Float32frombits), 20, 20).Draw(rt, "g")
		copies := rapid.IntRange(1, 64).Draw(rt, "copies")
		loss := rapid.OneOf(rapid.Float64(), rapid.Float64Range(0, 2), rapid.Map(rapid.Uint64(), math.Float64frombits)).Draw(rt, "loss")
		v, ok := Contribution(g, copies, loss, m)
		if ok {
			exact(t, g, copies, loss, m, v)
			return
		}
		if norm := SquaredNorm(g); norm <= math.MaxFloat64 && !math.IsNaN(loss) && !math.IsInf(loss, 0) {
			rt.Fatalf("a finite gradient of norm² %g and loss %v was refused", norm, loss)
		}
		if !slices.Equal(v, make([]int32, m.Dim)) {
			rt.Fatalf("a refused gradient contributes %v", v)
		}
	})
}

// The longest vector there is, a gradient of exactly GradientDelta beside a loss
// at its bound and a set indicator, is within Delta; with a gradient one unit longer
// it would not be: nothing is wasted. Tried with a GradientDelta one unit larger
// and one unit smaller.
func TestTheLongestVectorIsWithinDelta(t *testing.T) {
	for n := 50; n < 250; n++ {
		m, err := plan.New(plan.Spec{Phase: "p", SampleRate: 1, Nominal: n, NoiseMultiplier: 1, ClipNorm: 1, Dim: 3, Steps: 1, LossBound: 2, ClipShare: true})
		if err != nil {
			t.Fatal(err)
		}
		v := make([]int32, m.Dim)
		v[0] = int32(m.GradientDelta())
		loss, _ := Loss(1e9, m)
		Side(v, loss, true, m)
		if int64(v[3]) != m.LossDelta || int64(v[4]) != m.ClipDelta {
			t.Fatalf("side coordinates %v of %+v", v[3:], m)
		}
		if !Within(v, m.DeltaSq()) {
			t.Fatalf("%v is longer than Delta %d", v, m.Delta)
		}
		v[0]++
		if Within(v, m.DeltaSq()) {
			t.Fatalf("GradientDelta %d could be larger", m.GradientDelta())
		}
	}
}

// A bad loss takes the gradient out, a bad gradient the loss. Tried by letting
// Contribution call Side before its checks, which fails.
func TestOneBadPartTakesTheWholeVectorOut(t *testing.T) {
	m := withSide(t, 5, 1)
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		last, loss float64
		ok         bool
	}{
		{5, 1, true}, {5, -3, true}, {5, 1e300, true}, {5, nan, false}, {5, inf, false}, {5, -inf, false},
		{nan, 1, false}, {inf, 1, false}, {-inf, 1, false}, {nan, nan, false},
	} {
		v, ok := Contribution([]float32{1, 2, 3, 4, float32(c.last)}, 1, c.loss, m)
		if ok != c.ok || ok == slices.Equal(v, make([]int32, m.Dim)) {
			t.Errorf("gradient of %v, loss %v: %v, %v", c.last, c.loss, v, ok)
		}
	}
	// On a grid that no valid mechanism has, the exact check fails: the loss goes too.
	coarse := plan.Mechanism{Phase: "test", Dim: 402, Delta: 13, LossDelta: 9, ClipDelta: 9, LossBound: 1, ClipNorm: 1}
	long := make([]float32, 400)
	long[0], long[1] = 100, 100
	if v, ok := Contribution(long, 1, 1, coarse); ok || !slices.Equal(v, make([]int32, 402)) {
		t.Errorf("a gradient over its limit contributes %v", v)
	}
}
