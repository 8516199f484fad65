// Package fmath has the elementary functions that draws, schedules and
// augmentation need, with the same bits on every machine. The standard
// library's differ between architectures (assembly on some, fused
// multiply-adds on others); these use only + - * / in float64, every product
// rounded by an explicit conversion so that no compiler fuses it.
//
// Errors against the true value stay below 2e-16 relative (a few units in the
// last place), which the tests hold against math.
package fmath

import "math"

const (
	ln2Hi = 6.93147180369123816490e-01 // the leading 32 bits of ln 2: k*ln2Hi is exact for |k| < 2^20
	ln2Lo = 1.90821492927058770002e-10
)

// Log returns the natural logarithm of x, for finite x > 0; it is NaN for
// anything else.
func Log(x float64) float64 {
	if !(x > 0) || math.IsInf(x, 1) {
		return math.NaN()
	}
	m, e := math.Frexp(x) // exact: only bits move
	if m < math.Sqrt2/2 {
		m *= 2
		e--
	}
	// log m = 2 atanh(s), |s| <= 0.1716: the series' 12th term is below 1e-19.
	s := (m - 1) / (m + 1)
	z := float64(s * s)
	p := 1.0 / 23
	for n := 21; n >= 3; n -= 2 {
		p = float64(p*z) + 1/float64(n)
	}
	p = float64(float64(p*z) * s)
	k := float64(e)
	tail := float64(2*p) + float64(k*ln2Lo)
	return float64(k*ln2Hi) + (float64(2*s) + tail)
}

// Exp returns e**x for |x| <= 700; outside that range it is NaN.
func Exp(x float64) float64 {
	if !(x >= -700 && x <= 700) {
		return math.NaN()
	}
	k := math.Floor(float64(x*(1/math.Ln2)) + 0.5)
	r := (x - float64(k*ln2Hi)) - float64(k*ln2Lo) // |r| <= 0.347: the 14th Taylor term is below 1e-17
	p := 1.0 / 13
	for n := 12; n >= 1; n-- {
		p = (1 + float64(r*p)) / float64(n)
	}
	return math.Ldexp(1+float64(r*p), int(k))
}

// SinCos returns the sine and cosine of x in radians, for |x| <= 1e5; outside
// that range both are NaN.
func SinCos(x float64) (sin, cos float64) {
	if !(x >= -1e5 && x <= 1e5) {
		return math.NaN(), math.NaN()
	}
	// Cody-Waite reduction by multiples of pi/2; the first two parts have 33 bits.
	const (
		hi  = 1.57079632673412561417e+00
		mid = 6.07710050630396597660e-11
		lo  = 2.02226624879595063154e-21
	)
	k := math.Floor(float64(x*(2/math.Pi)) + 0.5)
	r := ((x - float64(k*hi)) - float64(k*mid)) - float64(k*lo)
	s, c := sinSeries(r), cosSeries(r)
	switch int(k) & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	}
	return -c, s
}

// sinSeries is the Taylor polynomial of degree 19 for |r| <= pi/4.
func sinSeries(r float64) float64 {
	z := float64(r * r)
	p := 1.0
	for n := 18; n >= 2; n -= 2 {
		p = 1 - float64(z*p)/float64(n*(n+1))
	}
	return float64(r * p)
}

// cosSeries is the Taylor polynomial of degree 20 for |r| <= pi/4.
func cosSeries(r float64) float64 {
	z := float64(r * r)
	p := 1.0
	for n := 19; n >= 1; n -= 2 {
		p = 1 - float64(z*p)/float64(n*(n+1))
	}
	return p
}
