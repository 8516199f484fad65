package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func laneGradients(n int, seed uint64, value func(*rand.Rand) float32) []float32 {
	g := aligned(n * Lanes)
	r := rand.New(rand.NewPCG(seed, 5))
	for i := range g {
		g[i] = value(r)
	}
	return g
}

func laneScales(seed uint64) *[Lanes]float64 {
	r := rand.New(rand.NewPCG(seed, 6))
	var s [Lanes]float64
	for l := range s {
		s[l] = math.Exp(6 * r.NormFloat64())
	}
	return &s
}

// gradientResults is everything the kernels on gradients compute.
type gradientResults struct {
	sums     []float32
	norms    []float64
	found    Quantized
	integers []int32
}

func gradientPass(n int, seed uint64, value func(*rand.Rand) float32) gradientResults {
	g, scale := laneGradients(n, seed, value), laneScales(seed)
	r := gradientResults{sums: make([]float32, n), norms: make([]float64, Lanes), integers: make([]int32, n)}
	for i := range n {
		r.sums[i], r.integers[i] = float32(i), math.MaxInt32-int32(i)
	}
	SumLanes(r.sums, g)
	SquaredNorms(r.norms, g)
	r.found = Quantize(g, scale)
	keep := r.found.Valid
	keep[seed%Lanes] = false
	Accumulate(r.integers, g, scale, &keep)
	return r
}

func TestGradientLevelsAgree(t *testing.T) {
	levels := fastLevels(t)
	sizes := []int{0, 1, 2, 3, 5, 16, 67, maxCoordinates - 1, maxCoordinates + 3}
	for seed, n := range sizes {
		for kind, value := range map[string]func(*rand.Rand) float32{"normal": normal, "special": special} {
			use(t, "portable")
			want := gradientPass(n, uint64(seed), value)
			for _, level := range levels {
				use(t, level)
				got := gradientPass(n, uint64(seed), value)
				sameBits(t, level+" "+kind, want.sums, got.sums)
				for l := range Lanes {
					if w, g := want.norms[l], got.norms[l]; math.Float64bits(w) != math.Float64bits(g) && !(w != w && g != g) {
						t.Fatalf("%s %s: norm %v, want %v", level, kind, g, w)
					}
				}
				if want.found != got.found {
					t.Fatalf("%s %s, %d coordinates:\n got %v\nwant %v", level, kind, n, got.found, want.found)
				}
				for i := range want.integers {
					if want.integers[i] != got.integers[i] {
						t.Fatalf("%s %s: integer %d is %d, want %d", level, kind, i, got.integers[i], want.integers[i])
					}
				}
			}
		}
	}
}

// TestQuantizeReference rounds and squares in exact arithmetic, on every level.
func TestQuantizeReference(t *testing.T) {
	for _, level := range Levels() {
		restore := active
		use(t, level)
		g, scale := laneGradients(300, 9, normal), laneScales(9)
		found := Quantize(g, scale)
		sum := make([]int32, 300)
		keep := [Lanes]bool{3: true, 7: true}
		Accumulate(sum, g, scale, &keep)
		for l := range Lanes {
			want := new(big.Int)
			for i := range 300 {
				v := big.NewInt(int64(math.RoundToEven(float64(g[i*Lanes+l]) * scale[l])))
				want.Add(want, v.Mul(v, v))
			}
			if !found.Valid[l] || new(big.Int).SetUint64(found.SquaredNorm[l]).Cmp(want) != 0 {
				t.Errorf("%s: lane %d has squared norm %d, want %v", level, l, found.SquaredNorm[l], want)
			}
		}
		for i := range sum {
			want := int32(math.RoundToEven(float64(g[i*Lanes+3])*scale[3])) + int32(math.RoundToEven(float64(g[i*Lanes+7])*scale[7]))
			if sum[i] != want {
				t.Fatalf("%s: coordinate %d sums to %d, want %d", level, i, sum[i], want)
			}
		}
		active = restore
	}
}

// TestQuantizeEdges gives each lane of three coordinates one awkward value.
func TestQuantizeEdges(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	cases := []struct {
		g     [3]float32
		scale float64
		norm  uint64
		valid bool
	}{
		{[3]float32{0.5, 1.5, 2.5}, 1, 0 + 4 + 4, true}, // ties to even
		{[3]float32{-0.5, -1.5, -2.5}, 1, 8, true},
		{[3]float32{1, nan, 1}, 1, 0, false},
		{[3]float32{inf, 0, 0}, 1, 0, false},
		{[3]float32{0, 0, -inf}, 1, 0, false},
		{[3]float32{1 << 31, 0, 0}, 1, 0, false},
		{[3]float32{-1 << 31, 0, 0}, 1, 0, false},
		{[3]float32{-0x1.fffffep30, 0, 0}, 1, 2147483520 * 2147483520, true},
		{[3]float32{0, 1, 0}, math.Inf(1), 0, false},
		{[3]float32{1, 2, 3}, 0, 0, true},
		{[3]float32{1, 0, 0}, 2147483646.5, 2147483646 * 2147483646, true},
		{[3]float32{1, 0, 0}, 2147483647.5, 0, false},
	}
	for _, level := range Levels() {
		restore := active
		use(t, level)
		g := make([]float32, 3*Lanes)
		var scale [Lanes]float64
		for l, c := range cases {
			scale[l] = c.scale
			for i := range c.g {
				g[i*Lanes+l] = c.g[i]
			}
		}
		found := Quantize(g, &scale)
		for l, c := range cases {
			if found.Valid[l] != c.valid || c.valid && found.SquaredNorm[l] != c.norm {
				t.Errorf("%s: %v at scale %v gives %d, %v; want %d, %v",
					level, c.g, c.scale, found.SquaredNorm[l], found.Valid[l], c.norm, c.valid)
			}
		}
		active = restore
	}
}

// TestSquaredNormSaturates sums squares beyond 64 bits, also where the wrapped
// sum would look harmless again.
func TestSquaredNormSaturates(t *testing.T) {
	for _, level := range Levels() {
		restore := active
		use(t, level)
		for _, n := range []int{4, 5, 16, 17, 64} { // 2³⁰ four times squared: 2⁶² each
			g := make([]float32, n*Lanes)
			for i := range g {
				g[i] = 0x1p30
			}
			var scale [Lanes]float64
			for l := range scale {
				scale[l] = 1
			}
			scale[2] = 0x1p-20
			found := Quantize(g, &scale)
			want := uint64(n) << 60
			if n >= 16 {
				want = math.MaxUint64
			}
			if found.SquaredNorm[0] != want || found.SquaredNorm[2] != uint64(n)<<20 || !found.Valid[0] {
				t.Errorf("%s: %d squares give %d and %d", level, n, found.SquaredNorm[0], found.SquaredNorm[2])
			}
		}
		active = restore
	}
}

func TestSquaredNormsReference(t *testing.T) {
	g := laneGradients(1000, 4, normal)
	norms := make([]float64, Lanes)
	SquaredNorms(norms, g)
	sums := make([]float32, 1000)
	SumLanes(sums, g)
	for l := range Lanes {
		want := 0.0
		for i := range 1000 {
			want += float64(g[i*Lanes+l]) * float64(g[i*Lanes+l])
		}
		if math.Abs(norms[l]-want) > 1e-12*want {
			t.Errorf("lane %d has squared norm %v, want %v", l, norms[l], want)
		}
	}
	for i := range sums {
		want := 0.0
		for l := range Lanes {
			want += float64(g[i*Lanes+l])
		}
		near(t, "lane sum", want, sums[i], 1e-6)
	}
}
