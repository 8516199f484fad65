package drawn

import (
	"math"
	"strconv"

	"github.com/dploda/dploda/dataset"
)

// Objects is a public generator of things on a dark ground: classes of filled
// silhouettes, each of a few parts, whose drawings differ in pose, tone and
// pattern. It is to photographs of single objects what Alphabet is to writing.
type Objects struct {
	seed     uint64
	programs []object
}

// NewObjects makes the silhouettes of a number of classes. More classes with
// the same seed begin with those of fewer.
func NewObjects(seed uint64, classes int) *Objects {
	o := &Objects{seed: seed, programs: make([]object, classes)}
	for i := range o.programs {
		o.programs[i] = newObject(newStream(objectDomain, seed, uint64(i)))
	}
	return o
}

const (
	objectDomain     = 0x4f424a454354
	silhouetteDomain = 0x53494c484f55
)

// Classes are the names of the objects.
func (o *Objects) Classes() []string {
	names := make([]string, len(o.programs))
	for i := range names {
		names[i] = "object-" + strconv.Itoa(i)
	}
	return names
}

// Draw returns n drawings of the classes in turn.
func (o *Objects) Draw(n int) *dataset.Memory {
	return draw(o.Classes(), n, func(dst []uint8, class, number int) {
		o.programs[class].paint(dst, newStream(silhouetteDomain, o.seed, uint64(class), uint64(number)))
	})
}

// part is a filled outline or a thick band, painted over the parts before it.
type part struct {
	stroke
	filled bool
	width  float64 // of a band, in the frame's units
	tone   float64 // added to the drawing's own
}

// object is a class: its parts, and the thin lines drawn on them.
type object struct {
	parts []part
	seams []stroke
}

// newObject draws a class. Most are mirror images of themselves, as many
// made things are.
func newObject(s *stream) object {
	mirrored := s.below(10) < 6
	var o object
	var all []stroke
	add := func(p part) {
		o.parts = append(o.parts, p)
		all = append(all, p.stroke)
	}
	for i := range 1 + s.below(3) {
		p := newPart(s, i == 0)
		if !mirrored {
			add(p)
			continue
		}
		if i == 0 && p.filled { // the body is whole: its right half decides
			p.control = bothHalves(p.control)
			add(p)
			continue
		}
		add(p)
		p.control = mirror(p.control)
		add(p)
	}
	fill(all)
	for range s.below(3) {
		o.seams = append(o.seams, newStroke(s, point{s.uniform(-0.8, 0.8), s.uniform(-0.8, 0.8)}, nil))
	}
	return o
}

// newPart is an outline about a centre, or a band of two or three points.
func newPart(s *stream, body bool) part {
	p := part{tone: s.uniform(-0.25, 0.25)}
	if body || s.below(2) == 0 {
		p.filled = true
		spread, size := 0.6, s.uniform(0.3, 0.7)
		if body {
			spread, size = 0.1, 1
		}
		centre := point{s.uniform(-spread, spread), s.uniform(-spread, spread)}
		corners, turn := 4+s.below(5), s.uniform(0, 1)
		wide, tall := s.uniform(0.35, 1), s.uniform(0.35, 1)
		for i := range corners {
			q := polar(mul(size, s.uniform(0.55, 1)), turn+(float64(i)+s.uniform(-0.3, 0.3))/float64(corners))
			p.control = append(p.control, centre.plus(point{mul(wide, q.x), mul(tall, q.y)}))
		}
		return p
	}
	p.width = s.uniform(0.12, 0.6)
	p.curved = s.below(2) == 0
	for range 2 + s.below(2) {
		p.control = append(p.control, point{s.uniform(-1, 1), s.uniform(-1, 1)})
	}
	return p
}

func mirror(l []point) []point {
	m := make([]point, len(l))
	for i, p := range l {
		m[i] = point{-p.x, p.y}
	}
	return m
}

// bothHalves closes the points of the right half, from top to bottom, with
// their mirror images.
func bothHalves(l []point) []point {
	var right []point
	for _, p := range l {
		right = append(right, point{math.Abs(p.x), p.y})
	}
	for i := range right { // insertion sort from top to bottom
		for k := i; k > 0 && right[k].y < right[k-1].y; k-- {
			right[k], right[k-1] = right[k-1], right[k]
		}
	}
	for i := len(right) - 1; i >= 0; i-- {
		right = append(right, point{-right[i].x, right[i].y})
	}
	return right
}

// The variation of one drawing.
const (
	objectJitter = 0.05
	minTone      = 0.25
	gradient     = 0.25 // of tone over half the frame
	patternDepth = 0.35
)

// paint draws one silhouette with a new pose, tone and pattern.
func (o object) paint(dst []uint8, s *stream) {
	p := newObjectPose(s)
	tone := s.uniform(minTone, 1)
	texture := newPattern(s)
	var img [Side * Side]float64
	for _, q := range o.parts {
		c, outline := newCanvas(), q.jitter(s, p)
		width := mul(q.width, p.yy)
		if q.filled {
			outline = append(outline, outline[0])
			width = 0
		}
		c.stroke(outline, width/2+1)
		own := min(max(tone+mul(q.tone, s.uniform(0.5, 1.5)), 0.08), 1)
		for i := range img {
			cover := c.ink(i, width)
			if q.filled && inside(outline, i) {
				cover = 1
			}
			img[i] += mul(cover, own-img[i])
		}
	}
	for _, q := range o.seams {
		c, depth := newCanvas(), s.uniform(-0.4, 0.4)
		c.stroke(q.moved(s, p), 1.5)
		for i := range img {
			if img[i] > 0 {
				img[i] += mul(mul(c.ink(i, 1), depth), img[i])
			}
		}
	}
	for i := range dst {
		v := mul(img[i], 1+texture.at(i)) + s.normal(grainDepth)
		dst[i] = uint8(mul(min(max(v, 0), 1), 255) + 0.5)
	}
}

// newObjectPose turns and shears less than handwriting does.
func newObjectPose(s *stream) pose {
	var p pose
	for i := range p.bendX {
		p.bendX[i], p.bendY[i] = s.normal(bend/2), s.normal(bend/2)
	}
	sin, cos := sincos(s.uniform(-0.015, 0.015))
	sx, sy := s.uniform(0.8, 1.15)*13, s.uniform(0.8, 1.15)*13
	p.set(sin, cos, sx, sy, s.uniform(-0.05, 0.05))
	p.dx += s.uniform(-1, 1)
	p.dy += s.uniform(-1, 1)
	return p
}

// jitter is the part's line on paper.
func (q part) jitter(s *stream, p pose) line {
	if q.filled {
		corners := make([]point, len(q.control))
		for i, c := range q.control {
			corners[i] = c.plus(point{s.normal(objectJitter), s.normal(objectJitter)})
		}
		return onto(closed(corners...), p)
	}
	return q.moved(s, p)
}

func (st stroke) moved(s *stream, p pose) line { return onto(st.jittered(s).flatten(), p) }

func onto(l line, p pose) line {
	paper := make(line, len(l))
	for i, q := range l {
		paper[i] = p.onPaper(q)
	}
	return paper
}

// inside counts the outline's crossings of a ray to the right of pixel i.
func inside(outline line, i int) bool {
	x, y := float64(i%Side)+0.5, float64(i/Side)+0.5
	odd := false
	for k := 1; k < len(outline); k++ {
		a, b := outline[k-1], outline[k]
		if (a.y > y) != (b.y > y) && x < a.x+mul(b.x-a.x, (y-a.y)/(b.y-a.y)) {
			odd = !odd
		}
	}
	return odd
}

// pattern is a factor on tone: a gradient and, in some drawings, stripes or checks.
type pattern struct {
	slope   point    // tone a pixel
	stripes [2]point // turns a pixel
	depth   [2]float64
}

func newPattern(s *stream) pattern {
	var t pattern
	t.slope = polar(s.uniform(0, gradient)/(Side/2), s.uniform(0, 1))
	for i := range t.stripes {
		if s.below(4) == 0 {
			t.stripes[i] = polar(s.uniform(0.06, 0.25), s.uniform(0, 1))
			t.depth[i] = s.uniform(0, patternDepth)
		}
	}
	return t
}

func (t pattern) at(i int) float64 {
	p := point{float64(i%Side) + 0.5 - Side/2, float64(i/Side) + 0.5 - Side/2}
	v := dot(p, t.slope)
	for k, stripe := range t.stripes {
		if t.depth[k] > 0 {
			sin, _ := sincos(dot(p, stripe))
			v += mul(t.depth[k], sin)
		}
	}
	return v
}
