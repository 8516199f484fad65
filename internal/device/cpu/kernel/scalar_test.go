package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// bigFMA is the exactly rounded a·b+c.
func bigFMA(a, b, c float32) float32 {
	x := new(big.Float).SetPrec(2000).SetFloat64(float64(a))
	x.Mul(x, big.NewFloat(float64(b)))
	x.Add(x, big.NewFloat(float64(c)))
	f, _ := x.Float32()
	return f
}

func checkFMA(t *testing.T, a, b, c float32) {
	t.Helper()
	want, got := bigFMA(a, b, c), fma32(a, b, c)
	if want != got {
		t.Fatalf("fma(%x, %x, %x) = %x, want %x", a, b, c, got, want)
	}
	if exact := fma32Exact(a, b, c); exact != want {
		t.Fatalf("exact fma(%x, %x, %x) = %x, want %x", a, b, c, exact, want)
	}
}

// TestFMADoubleRounding adds to c a product just below or above half of its
// last place, by less than float64 keeps: rounding twice goes wrong.
func TestFMADoubleRounding(t *testing.T) {
	const half = 0x1p-12 // half·half is the midpoint between 1 and its successor
	distinguished := 0
	for m := range 2000 {
		c := float32(1 + float64(m)*0x1p-23)
		for k := 1; k < 20; k++ {
			up, down := float32(half*(1+float64(k)*0x1p-23)), float32(half*(1-float64(k)*0x1p-23))
			for _, p := range [][2]float32{{up, down}, {-up, down}, {up, half}, {down, half}, {-down, half}, {half, half}} {
				checkFMA(t, p[0], p[1], c)
				checkFMA(t, p[0], p[1], -c)
				if float32(math.FMA(float64(p[0]), float64(p[1]), float64(c))) != fma32(p[0], p[1], c) {
					distinguished++
				}
			}
		}
	}
	if distinguished == 0 {
		t.Fatal("no case shows double rounding: the test is blunt")
	}
	t.Logf("%d cases where rounding twice is wrong", distinguished)
}

func TestFMARandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	any32 := func() float32 {
		for {
			f := math.Float32frombits(r.Uint32())
			if !math.IsNaN(float64(f)) && !math.IsInf(float64(f), 0) {
				return f
			}
		}
	}
	for range 100000 {
		checkFMA(t, any32(), any32(), any32())
		a, b := normal(r), normal(r)
		checkFMA(t, a, b, -float32(a*b))                                               // cancellation
		checkFMA(t, a*0x1p-70, b*0x1p-70, normal(r)*0x1p-140)                          // subnormal results
		checkFMA(t, a, b, math.Float32frombits(math.Float32bits(normal(r))&^0xfff)*64) // few bits
	}
}

func TestFMASpecial(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct{ a, b, c, want float32 }{
		{inf, 1, 1, inf}, {1, -inf, 1, -inf}, {1, 1, inf, inf}, {inf, 1, -inf, nan},
		{inf, 0, 1, nan}, {nan, 1, 1, nan}, {1, 1, nan, nan},
		{math.MaxFloat32, 2, 0, inf}, {math.MaxFloat32, 2, -math.MaxFloat32, math.MaxFloat32},
	} {
		got := fma32(c.a, c.b, c.c)
		if got != c.want && !(got != got && c.want != c.want) {
			t.Errorf("fma(%v, %v, %v) = %v, want %v", c.a, c.b, c.c, got, c.want)
		}
	}
	minus := float32(math.Copysign(0, -1))
	if bits := math.Float32bits(fma32(minus, 1, minus)); bits != 1<<31 {
		t.Errorf("-0·1 + -0 has bits %08x", bits)
	}
}

func TestExp(t *testing.T) {
	worst := 0.0
	for x := float32(expLow); x <= expHigh; x += 0.00037 {
		want := math.Exp(float64(x))
		worst = max(worst, math.Abs(float64(Exp(x))-want)/want)
	}
	t.Logf("largest relative error %.3g", worst)
	if worst > 1.5e-7 {
		t.Errorf("largest relative error %g", worst)
	}
	if Exp(0) != 1 || Exp(-1000) != Exp(expLow) || Exp(1000) != Exp(expHigh) {
		t.Error("wrong at zero or beyond the ends")
	}
	for _, bits := range []uint32{0x7fc00000, 0xffc00000, 0x7fc00001, 0x7fffffff, 0xffc01234} {
		if v := Exp(math.Float32frombits(bits)); v == v {
			t.Errorf("exp of the NaN %08x is %v", bits, v)
		}
	}
}

func TestLog(t *testing.T) {
	for x := float32(0x1p-126); x < 0x1p126; x *= 1.00137 {
		want := math.Log(float64(x))
		if err := math.Abs(float64(Log(x)) - want); err > 3e-7*max(1, math.Abs(want)) {
			t.Fatalf("log(%v) = %v, want %v", x, Log(x), want)
		}
	}
	for _, x := range []float32{0, -1, float32(math.Inf(1)), float32(math.NaN()), math.SmallestNonzeroFloat32} {
		if v := Log(x); v == v {
			t.Errorf("log(%v) = %v", x, v)
		}
	}
}
