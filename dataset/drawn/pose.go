package drawn

// radius is what the frame's unit measures on paper, in pixels, before scale.
const radius = 9.2

// variation is how much drawings of one class differ.
const (
	maxTurn    = 0.07        // rotation to either side, in turns
	minScale   = 0.76        // of each axis
	maxScale   = 1.12        //
	maxShear   = 0.30        // sideways per height
	maxShift   = 1.7         // pixels on each axis
	bend       = 0.08        // deviation of the quadratic deformation
	minWidth   = 1.7         // of the pen, in pixels
	maxWidth   = 3.3         //
	minInk     = 0.8         // of full ink, for the whole drawing
	grainDepth = 5.0 / 255.0 // deviation of each pixel's noise
)

// pose is an affine map after a quadratic deformation.
type pose struct {
	bendX, bendY           [3]float64 // of x², xy, y²
	xx, xy, yx, yy, dx, dy float64
}

// newPose draws the pose of one drawing.
func newPose(s *stream) pose {
	var p pose
	for i := range p.bendX {
		p.bendX[i], p.bendY[i] = s.normal(bend), s.normal(bend)
	}
	sin, cos := sincos(s.uniform(-maxTurn, maxTurn))
	sx, sy := s.uniform(minScale, maxScale)*radius, s.uniform(minScale, maxScale)*radius
	shear := s.uniform(-maxShear, maxShear)
	p.set(sin, cos, sx, sy, shear)
	p.dx += s.uniform(-maxShift, maxShift)
	p.dy += s.uniform(-maxShift, maxShift)
	return p
}

// set is rotation after shear after scale, about the middle of the paper.
func (p *pose) set(sin, cos, sx, sy, shear float64) {
	p.xx, p.xy = mul(cos, sx), mul(mul(cos, shear)-sin, sy)
	p.yx, p.yy = mul(sin, sx), mul(mul(sin, shear)+cos, sy)
	p.dx, p.dy = Side/2, Side/2
}

// onPaper maps a figure's frame to pixels.
func (p pose) onPaper(q point) point {
	sxx, sxy, syy := mul(q.x, q.x), mul(q.x, q.y), mul(q.y, q.y)
	x := q.x + mul(p.bendX[0], sxx) + mul(p.bendX[1], sxy) + mul(p.bendX[2], syy)
	y := q.y + mul(p.bendY[0], sxx) + mul(p.bendY[1], sxy) + mul(p.bendY[2], syy)
	return point{
		mul(p.xx, x) + mul(p.xy, y) + p.dx,
		mul(p.yx, x) + mul(p.yy, y) + p.dy,
	}
}

// render paints strokes in the frame's coordinates with a new pose, pen and
// grain.
func render(dst []uint8, strokes []line, s *stream) {
	p := newPose(s)
	width := s.uniform(minWidth, maxWidth)
	level := s.uniform(minInk, 1)
	c := newCanvas()
	paper := make(line, 0, 64)
	for _, stroke := range strokes {
		paper = paper[:0]
		for _, q := range stroke {
			paper = append(paper, p.onPaper(q))
		}
		c.stroke(paper, width/2+0.5)
	}
	for i := range dst {
		v := mul(level, c.ink(i, width)) + s.normal(grainDepth)
		dst[i] = uint8(mul(min(max(v, 0), 1), 255) + 0.5)
	}
}
