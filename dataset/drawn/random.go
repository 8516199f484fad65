package drawn

import "math"

// stream is a generator of reproducible variety, SplitMix64 (Steele, Lea,
// Flood, "Fast Splittable Pseudorandom Number Generators", 2014). Drawings
// need no secrecy.
type stream struct{ state uint64 }

// newStream is the stream of a key; different keys give unrelated streams.
func newStream(key ...uint64) *stream {
	s := &stream{}
	for _, k := range key {
		s.state = mix(s.state ^ mix(k+golden))
	}
	return s
}

const golden = 0x9e3779b97f4a7c15

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s *stream) next() uint64 {
	s.state += golden
	return mix(s.state)
}

// uniform is uniform in [lo, hi).
func (s *stream) uniform(lo, hi float64) float64 {
	return lo + mul(hi-lo, float64(s.next()>>11)*0x1p-53)
}

// normal has mean 0 and the given deviation: a sum of four uniforms, which
// ends at 3.5 deviations.
func (s *stream) normal(deviation float64) float64 {
	var sum float64
	for range 4 {
		sum += s.uniform(-1, 1)
	}
	return mul(sum, mul(deviation, 0.8660254037844386)) // √(3/4)
}

// below is uniform in 0 to n-1, for small n.
func (s *stream) below(n int) int { return int(s.next() >> 32 * uint64(n) >> 32) }

// mul is a product that no compiler may fuse with a sum: the conversion
// rounds it.
func mul(a, b float64) float64 { return float64(a * b) }

// sincos is the sine and cosine of an angle in turns, by Taylor series within
// an eighth of a turn of the nearest quarter.
func sincos(turns float64) (sin, cos float64) {
	quarter := math.Floor(mul(4, turns) + 0.5)
	x := mul(turns-quarter/4, 2*math.Pi)
	xx := mul(x, x)
	s, c := 1.0, 1.0 // Horner's rule from the last term
	for k := 14.0; k >= 2; k -= 2 {
		s = 1 - mul(xx, s)/mul(k, k+1)
		c = 1 - mul(xx, c)/mul(k-1, k)
	}
	s = mul(s, x)
	switch int64(quarter) & 3 {
	case 1:
		return c, -s
	case 2:
		return -s, -c
	case 3:
		return -c, s
	}
	return s, c
}
