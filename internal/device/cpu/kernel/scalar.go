package kernel

import "math"

// fma32 returns a·b+c rounded once to float32, on any machine.
//
// The product of two float32 is exact in float64. The float64 sum is rounded,
// and rounding it again to float32 can only go wrong if it lies on the midpoint
// of two float32 or if the result is subnormal: then fma32Exact decides.
func fma32(a, b, c float32) float32 {
	s := float64(float64(a)*float64(b)) + float64(c)
	if bits := math.Float64bits(s); bits&tailBits != midpoint && bits&^(1<<63) >= smallestNormal {
		return float32(s)
	}
	return fma32Exact(a, b, c)
}

const (
	tailBits       = 1<<29 - 1          // what float32 drops of a float64
	midpoint       = 1 << 28            // half a unit in float32's last place
	smallestNormal = (1023 - 126) << 52 // 2⁻¹²⁶, the smallest normal float32
)

// fmaLanes sets acc = fma32(a, b, acc) in every lane; fma32 is too large for
// the compiler to inline.
func fmaLanes(acc, a, b *[Lanes]float32) {
	for l := range acc {
		s := float64(float64(a[l])*float64(b[l])) + float64(acc[l])
		if bits := math.Float64bits(s); bits&tailBits != midpoint && bits&^(1<<63) >= smallestNormal {
			acc[l] = float32(s)
		} else {
			acc[l] = fma32Exact(a[l], b[l], acc[l])
		}
	}
}

// fma32Exact rounds the float64 sum to odd (Boldo, Melquiond 2008, "Emulation
// of a FMA and correctly rounded sums", theorem 1), with the rounding error
// from Knuth's TwoSum; a value rounded to odd survives a second rounding.
func fma32Exact(a, b, c float32) float32 {
	p, q := float64(float64(a)*float64(b)), float64(c)
	s := float64(p + q)
	v := float64(s - p)
	e := float64(p-float64(s-v)) + float64(q-v)
	if e > 0 || e < 0 { // neither exact nor NaN
		if bits := math.Float64bits(s); bits&1 == 0 {
			if (e > 0) == (s > 0) {
				bits++
			} else {
				bits--
			}
			s = math.Float64frombits(bits)
		}
	}
	return float32(s)
}

// Exp's polynomial is that of Cephes' expf (Moshier 1992) on |r| <= ln2/2.
const (
	expLow    = -86.5 // below, and above expHigh, the argument is clamped
	expHigh   = 88
	log2E     = 1.44269504088896341
	ln2High   = 0.693359375
	ln2Low    = -2.12194440e-4
	roundBits = 12582912 // 1.5·2²³: adding it rounds to an integer in the low bits
	exp5      = 1.9875691500e-4
	exp4      = 1.3981999507e-3
	exp3      = 8.3334519073e-3
	exp2      = 4.1665795894e-2
	exp1      = 1.6666665459e-1
	exp0      = 5.0000001201e-1
)

// Exp returns e^x with a relative error below 1.5e-7 for -86.5 <= x <= 88, and
// the value at the nearer end outside. NaN gives NaN.
func Exp(x float32) float32 {
	if expLow > x {
		x = expLow
	}
	if expHigh < x {
		x = expHigh
	}
	t := fma32(x, log2E, roundBits)
	n := t - roundBits
	r := fma32(n, -ln2High, x)
	r = fma32(n, -ln2Low, r)
	p := fma32(exp5, r, exp4)
	p = fma32(p, r, exp3)
	p = fma32(p, r, exp2)
	p = fma32(p, r, exp1)
	p = fma32(p, r, exp0)
	p = fma32(float32(p*r), r, r)
	p = float32(p + 1)
	return float32(p * math.Float32frombits(math.Float32bits(t)<<23+math.Float32bits(1)))
}

// Log returns the natural logarithm of a finite normal x > 0 with a relative
// error below 3e-7 (absolute near 1), by Cephes' logf (Moshier 1992). Other
// arguments give NaN.
func Log(x float32) float32 {
	if !(x >= 0x1p-126 && x <= math.MaxFloat32) {
		return float32(math.NaN())
	}
	bits := math.Float32bits(x)
	e := float32(int32(bits>>23) - 126)
	m := math.Float32frombits(bits&(1<<23-1) | 126<<23) // in [1/2, 1)
	if m < math.Sqrt2/2 {
		m, e = float32(m+m), float32(e-1)
	}
	m = float32(m - 1)
	y := float32(7.0376836292e-2)
	for _, c := range [...]float32{-1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
		-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1} {
		y = fma32(y, m, c)
	}
	z := float32(m * m)
	y = float32(float32(y*m) * z)
	y = fma32(e, ln2Low, y)
	y = fma32(-0.5, z, y)
	return fma32(e, ln2High, float32(m+y))
}

// sigmoid returns 1/(1+e^-x).
func sigmoid(x float32) float32 {
	return 1 / float32(1+Exp(-x))
}

// siluSlope returns the derivative of x·sigmoid(x).
func siluSlope(x float32) float32 {
	s := sigmoid(x)
	return float32(s * fma32(x, float32(1-s), 1))
}

// sqrt32 is correctly rounded: a float64 square root of a float32 rounds the
// same twice as once.
func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }
