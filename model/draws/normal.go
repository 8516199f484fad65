package draws

import (
	"math"

	"github.com/dploda/dploda/model/fmath"
)

// The ziggurat of Marsaglia and Tsang (2000) in Doornik's layout (2005): 256
// horizontal strips of equal area under exp(-x²/2). Strip i spans [0, edge[i]);
// what lies left of edge[i+1] is under the curve without a test. Strip 0 is the
// base: a rectangle of the strips' area, whose part beyond baseEdge stands for
// the tail. Unlike the 32-bit original, strip, sign and magnitude come from
// different bits of one 64-bit word.
const (
	strips    = 256
	baseEdge  = 3.6541528853610088    // where the tail begins
	stripArea = 0.0049286732339746519 // of each strip
	scale     = 0x1p-55               // magnitudes are multiples of it
)

var ziggurat = makeZiggurat()

type table struct {
	width  [strips]float64     // edge[i] * scale
	inside [strips]uint64      // magnitudes below it are under the curve without a test
	height [strips + 1]float64 // exp(-edge[i]²/2)
}

func makeZiggurat() *table {
	var edge [strips + 1]float64
	bell := func(x float64) float64 { return fmath.Exp(-float64(x*x) / 2) }
	edge[0] = stripArea / bell(baseEdge)
	edge[1] = baseEdge
	for i := 2; i < strips; i++ {
		edge[i] = math.Sqrt(-2 * fmath.Log(stripArea/edge[i-1]+bell(edge[i-1])))
	}
	t := new(table)
	t.height[strips] = 1 // edge[strips] = 0
	for i := range strips {
		t.width[i] = edge[i] * scale
		t.inside[i] = uint64(edge[i+1] / edge[i] * (1 / scale))
		t.height[i] = bell(edge[i])
	}
	return t
}

// Normal returns a standard normal number.
func (s *Stream) Normal() float64 {
	for {
		w := s.Uint64()
		i := w & (strips - 1)
		magnitude := w >> 9
		x := float64(magnitude) * ziggurat.width[i]
		if magnitude < ziggurat.inside[i] || s.edge(i, &x) {
			if w&strips != 0 {
				return -x
			}
			return x
		}
	}
}

// edge decides a draw that fell beside the strip's inner part: in the base it
// draws x from the tail, elsewhere it accepts x if the point is under the curve.
func (s *Stream) edge(i uint64, x *float64) bool {
	if i == 0 {
		*x = s.tail()
		return true
	}
	low, high := ziggurat.height[i], ziggurat.height[i+1]
	y := low + float64((high-low)*s.Float64())
	return y < fmath.Exp(-float64(*x**x)/2)
}

// tail draws from the normal distribution beyond baseEdge (Marsaglia 1964).
func (s *Stream) tail() float64 {
	for {
		a := -fmath.Log(1-s.Float64()) / baseEdge
		b := -fmath.Log(1 - s.Float64())
		if b+b >= float64(a*a) {
			return baseEdge + a
		}
	}
}

// Normals fills dst with standard normal numbers, rounded to float32.
func (s *Stream) Normals(dst []float32) {
	for i := range dst {
		dst[i] = float32(s.Normal())
	}
}
