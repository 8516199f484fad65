package drawn

import "math"

// point is a position: in a figure's own frame, where it fills [-1, 1]², or
// in pixels.
type point struct{ x, y float64 }

func (p point) plus(q point) point    { return point{p.x + q.x, p.y + q.y} }
func (p point) minus(q point) point   { return point{p.x - q.x, p.y - q.y} }
func (p point) times(f float64) point { return point{mul(p.x, f), mul(p.y, f)} }
func dot(p, q point) float64          { return mul(p.x, q.x) + mul(p.y, q.y) }
func polar(radius, turns float64) point {
	s, c := sincos(turns)
	return point{mul(radius, c), mul(radius, s)}
}

// line is a polyline, a stroke of the pen.
type line []point

// canvas holds each pixel's squared distance to the nearest stroke. A distance
// field makes the joints of a polyline seamless.
type canvas struct{ squared [Side * Side]float64 }

func newCanvas() *canvas {
	c := &canvas{}
	for i := range c.squared {
		c.squared[i] = math.Inf(1)
	}
	return c
}

// stroke adds a polyline in pixels; distances beyond reach are left out.
func (c *canvas) stroke(l line, reach float64) {
	for i := 1; i < len(l); i++ {
		c.segment(l[i-1], l[i], reach)
	}
}

func (c *canvas) segment(a, b point, reach float64) {
	d := b.minus(a)
	length := dot(d, d)
	x0, x1 := span(a.x, b.x, reach)
	y0, y1 := span(a.y, b.y, reach)
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			p := point{float64(x) + 0.5, float64(y) + 0.5}.minus(a)
			along := 0.0
			if length > 0 {
				along = min(max(dot(p, d)/length, 0), 1)
			}
			rest := p.minus(d.times(along))
			if sq := dot(rest, rest); sq < c.squared[y*Side+x] {
				c.squared[y*Side+x] = sq
			}
		}
	}
}

// span is the range of pixels within reach of the interval from a to b.
func span(a, b, reach float64) (from, to int) {
	lo, hi := min(a, b)-reach, max(a, b)+reach
	return int(max(lo, 0)), int(min(max(hi+1, 0), Side))
}

// ink is how much of pixel i a pen of the given width covers, 0 to 1, with
// edges one pixel soft.
func (c *canvas) ink(i int, width float64) float64 {
	return min(max(width/2+0.5-math.Sqrt(c.squared[i]), 0), 1)
}
