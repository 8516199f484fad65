package fmath

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"testing"
)

// relative is the relative error of got, absolute for want near zero.
func relative(got, want float64) float64 {
	return math.Abs(got-want) / math.Max(math.Abs(want), 1e-3)
}

func TestAgainstTheStandardLibrary(t *testing.T) {
	const steps = 20001
	for i := range steps {
		u := float64(i)/(steps-1)*2 - 1 // [-1, 1]
		for _, scale := range []float64{1e-9, 0.3, 4, 40, 690} {
			x := u * scale
			if e := math.Abs(Exp(x)-math.Exp(x)) / math.Exp(x); e > 1e-15 {
				t.Fatalf("Exp(%v) is off by %v relative", x, e)
			}
		}
		for _, scale := range []float64{0.7, 4, 1000, 9e4} {
			x := u * scale
			s, c := SinCos(x)
			ws, wc := math.Sincos(x)
			if math.Abs(s-ws) > 1e-14 || math.Abs(c-wc) > 1e-14 {
				t.Fatalf("SinCos(%v) = %v, %v; want %v, %v", x, s, c, ws, wc)
			}
		}
		x := math.Exp(u * 600)
		if e := relative(Log(x), math.Log(x)); e > 1e-15 {
			t.Fatalf("Log(%v) is off by %v", x, e)
		}
		x = 1 + u*1e-3 // cancellation near one: the relative error must stay small
		if want := math.Log(x); want != 0 && math.Abs(Log(x)-want)/math.Abs(want) > 1e-15 {
			t.Fatalf("Log(%v) = %v, want %v", x, Log(x), want)
		}
	}
}

func TestSpecialPoints(t *testing.T) {
	if Log(1) != 0 || Exp(0) != 1 {
		t.Errorf("Log(1) = %v, Exp(0) = %v", Log(1), Exp(0))
	}
	if s, c := SinCos(0); s != 0 || c != 1 {
		t.Errorf("SinCos(0) = %v, %v", s, c)
	}
	for _, x := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if !math.IsNaN(Log(x)) {
			t.Errorf("Log(%v) = %v, want NaN", x, Log(x))
		}
	}
	for _, x := range []float64{701, -701, math.NaN(), math.Inf(-1)} {
		if !math.IsNaN(Exp(x)) {
			t.Errorf("Exp(%v) = %v, want NaN", x, Exp(x))
		}
	}
	if s, _ := SinCos(math.Inf(1)); !math.IsNaN(s) {
		t.Errorf("SinCos(+Inf) = %v, want NaN", s)
	}
	if math.Float64bits(Log(5e-324)) == 0 || math.Abs(Log(5e-324)+744.4400719213812) > 1e-12 {
		t.Errorf("Log of the smallest number = %v", Log(5e-324))
	}
}

// TestSameBitsEverywhere pins the bits, so that a machine on which a compiler
// fuses or an instruction differs fails here and not in a run.
func TestSameBitsEverywhere(t *testing.T) {
	h := fnv.New64a()
	put := func(x float64) { _ = binary.Write(h, binary.LittleEndian, math.Float64bits(x)) }
	for i := 1; i <= 5000; i++ {
		x := float64(i) / 617
		s, c := SinCos(x)
		put(Log(x))
		put(Exp(-x))
		put(s)
		put(c)
	}
	if got, want := h.Sum64(), uint64(pinned); got != want {
		t.Errorf("hash of the values' bits = %#x, want %#x", got, want)
	}
}

const pinned = 0x4522bc091d2fa0a
