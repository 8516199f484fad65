package drawn

import (
	"math"
	"strconv"

	"github.com/dploda/dploda/dataset"
)

// Alphabet is the public generator: classes of characters, each a random
// program of open strokes.
type Alphabet struct {
	seed     uint64
	programs [][]stroke
}

// NewAlphabet makes the programs of a number of classes. An alphabet of more
// classes with the same seed begins with those of a smaller one.
func NewAlphabet(seed uint64, classes int) *Alphabet {
	a := &Alphabet{seed: seed, programs: make([][]stroke, classes)}
	for i := range a.programs {
		a.programs[i] = newProgram(newStream(programDomain, seed, uint64(i)))
	}
	return a
}

const (
	programDomain   = 0x50524f4752414d
	characterDomain = 0x434841524143
)

// Classes are the names of the characters.
func (a *Alphabet) Classes() []string {
	names := make([]string, len(a.programs))
	for i := range names {
		names[i] = "character-" + strconv.Itoa(i)
	}
	return names
}

// Draw returns n drawings of the classes in turn.
func (a *Alphabet) Draw(n int) *dataset.Memory {
	return draw(a.Classes(), n, a.paint)
}

func (a *Alphabet) paint(dst []uint8, class, number int) {
	s := newStream(characterDomain, a.seed, uint64(class), uint64(number))
	program := a.programs[class]
	lines := make([]line, len(program))
	for i, st := range program {
		lines[i] = st.jittered(s).flatten()
	}
	render(dst, lines, s)
}

// stroke is one movement of the pen: a chain of control points, joined
// straight or as a Bézier curve.
type stroke struct {
	control []point
	curved  bool
}

// jitter is the deviation of a drawing's control points.
const jitter = 0.06

func (st stroke) jittered(s *stream) stroke {
	moved := stroke{control: make([]point, len(st.control)), curved: st.curved}
	for i, p := range st.control {
		moved.control[i] = p.plus(point{s.normal(jitter), s.normal(jitter)})
	}
	return moved
}

// newProgram draws a class: two to four strokes that fill the frame.
func newProgram(s *stream) []stroke {
	program := make([]stroke, 2+s.below(3))
	var pen point
	var ends []point
	for i := range program {
		// A pen often goes on near where it was.
		start := point{s.uniform(-1, 1), s.uniform(-1, 1)}
		if i > 0 && s.below(2) == 0 {
			start = pen
		}
		program[i] = newStroke(s, start, ends)
		control := program[i].control
		pen = control[s.below(len(control))]
		ends = append(ends, control[0], control[len(control)-1])
	}
	fill(program)
	return program
}

// newStroke draws a line, a corner, an arc-like curve or an S.
func newStroke(s *stream, start point, ends []point) stroke {
	points := []int{2, 3, 3, 4}[s.below(4)]
	st := stroke{control: []point{start}, curved: points == 4 || points == 3 && s.below(2) == 0}
	for len(st.control) < points {
		st.control = append(st.control, openPoint(s, st.control, ends))
	}
	return st
}

// openPoint is a point of the frame that keeps some distance from the stroke's
// last point and, so that strokes close no outline, from its first and from
// the ends of the strokes before it.
func openPoint(s *stream, control, ends []point) (p point) {
	for range 100 { // crowded frames may leave no such point
		p = point{s.uniform(-1, 1), s.uniform(-1, 1)}
		if apart(p, control[0], 0.6) && apart(p, control[len(control)-1], 0.6) && allApart(p, ends, 0.15) {
			break
		}
	}
	return p
}

// apart tells whether the squared distance of two points is at least d.
func apart(p, q point, d float64) bool {
	r := p.minus(q)
	return dot(r, r) >= d
}

func allApart(p point, others []point, d float64) bool {
	for _, q := range others {
		if !apart(p, q, d) {
			return false
		}
	}
	return true
}

// fill moves and scales a program so that it fills the frame: its longer side
// is 2, or its corners reach the circle that keeps them on paper.
func fill(program []stroke) {
	const circle = 1.2
	lo, hi := point{2, 2}, point{-2, -2}
	for _, st := range program {
		for _, p := range st.flatten() {
			lo = point{min(lo.x, p.x), min(lo.y, p.y)}
			hi = point{max(hi.x, p.x), max(hi.y, p.y)}
		}
	}
	middle := lo.plus(hi).times(0.5)
	farthest := 0.0
	for _, st := range program {
		for _, p := range st.flatten() {
			r := p.minus(middle)
			farthest = max(farthest, dot(r, r))
		}
	}
	f := min(2/max(hi.x-lo.x, hi.y-lo.y), circle/math.Sqrt(farthest))
	for _, st := range program {
		for i, p := range st.control {
			st.control[i] = p.minus(middle).times(f)
		}
	}
}

// flatten is the stroke as a polyline.
func (st stroke) flatten() line {
	const parts = 10
	if !st.curved {
		l := line{st.control[0]}
		for i := 1; i < len(st.control); i++ {
			a, b := st.control[i-1], st.control[i]
			l = append(l, a.plus(b).times(0.5), b)
		}
		return l
	}
	l := make(line, parts+1)
	for i := range l {
		l[i] = bezier(st.control, float64(i)/parts)
	}
	return l
}

// bezier is de Casteljau's construction.
func bezier(control []point, t float64) point {
	var work [4]point
	n := copy(work[:], control)
	for ; n > 1; n-- {
		for i := range n - 1 {
			work[i] = work[i].plus(work[i+1].minus(work[i]).times(t))
		}
	}
	return work[0]
}
