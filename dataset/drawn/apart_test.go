package drawn

import (
	"cmp"
	"math"
	"slices"
	"testing"
)

// The generators are held apart by fitting each private figure, in any affine
// pose and mirrored, to clean characters. Drawings of the figure itself in a
// pose of the generator's must be fitted well, so that the measure can see a
// figure where there is one; no character may come near that.
const (
	pen            = 2.4  // of both sides, in pixels
	characterLimit = 0.90 // correlation of the best fit of any figure to any character
	figureLimit    = 0.95 // of the worst fit of a figure to itself
)

// template is a zero-mean image of norm 1.
type template [Side * Side]float64

// newTemplate renders strokes with their middle in the middle of the paper,
// so that no search for the shift is needed to begin with.
func newTemplate(strokes []line, p pose) *template {
	var paper []line
	for _, stroke := range strokes {
		var l line
		for _, q := range stroke {
			l = append(l, p.onPaper(q))
		}
		paper = append(paper, l)
	}
	shift := point{p.dx, p.dy}.minus(middle(paper))
	c := newCanvas()
	for _, l := range paper {
		for i := range l {
			l[i] = l[i].plus(shift)
		}
		c.stroke(l, pen/2+0.5)
	}
	var t template
	var mean, norm float64
	for i := range t {
		t[i] = c.ink(i, pen)
		mean += t[i] / float64(len(t))
	}
	for i := range t {
		t[i] -= mean
		norm += t[i] * t[i]
	}
	for i := range t {
		t[i] /= math.Sqrt(norm)
	}
	return &t
}

// middle is the centre of mass of the strokes.
func middle(strokes []line) point {
	var sum point
	var length float64
	for _, l := range strokes {
		for i := 1; i < len(l); i++ {
			d := l[i].minus(l[i-1])
			n := math.Sqrt(dot(d, d))
			sum = sum.plus(l[i].plus(l[i-1]).times(n / 2))
			length += n
		}
	}
	return sum.times(1 / length)
}

func (t *template) dot(u *template) (sum float64) {
	for i := range t {
		sum += t[i] * u[i]
	}
	return sum
}

// placement is an affine pose: turns, the scale of each axis (x negative:
// mirrored), slant, and shift in pixels.
type placement [6]float64

func (a placement) pose() (p pose) {
	sin, cos := sincos(a[0])
	p.set(sin, cos, a[1]*radius, a[2]*radius, a[3])
	p.dx += a[4]
	p.dy += a[5]
	return p
}

type candidate struct {
	at placement
	*template
}

// grid is a figure all around and mirrored, in three stretches.
func grid(strokes []line) (all []candidate) {
	for turn := 0.0; turn < 1; turn += 1.0 / 24 {
		for _, mirror := range []float64{1, -1} {
			for _, s := range [][2]float64{{0.95, 0.95}, {1, 0.75}, {0.75, 1}} {
				at := placement{turn, mirror * s[0], s[1]}
				all = append(all, candidate{at, newTemplate(strokes, at.pose())})
			}
		}
	}
	return all
}

// fit is the best correlation of strokes with t: from the best few of the
// grid, by pattern search.
func fit(t *template, strokes []line, all []candidate) float64 {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b candidate) int { return cmp.Compare(t.dot(b.template), t.dot(a.template)) })
	top := -1.0
	for _, start := range sorted[:5] {
		top = max(top, climb(t, strokes, start.at))
	}
	return top
}

func climb(t *template, strokes []line, at placement) float64 {
	top := t.dot(newTemplate(strokes, at.pose()))
	for step := 1.0; step > 0.1; {
		better := false
		for i, unit := range []float64{0.03, 0.12, 0.12, 0.15, 1.2, 1.2} {
			for _, sign := range []float64{step, -step} {
				next := at
				next[i] += sign * unit
				if max(math.Abs(next[1]), next[2]) > 1.3 || min(math.Abs(next[1]), next[2]) < 0.5 {
					continue // not smaller than a drawing can be
				}
				if v := t.dot(newTemplate(strokes, next.pose())); v > top {
					top, at, better = v, next, true
				}
			}
		}
		if !better {
			step /= 2
		}
	}
	return top
}

// coarse is the best correlation of t on the grid.
func coarse(t *template, all []candidate) float64 {
	top := -1.0
	for _, a := range all {
		top = max(top, t.dot(a.template))
	}
	return top
}

// promising are the n characters that the grid fits best, those that are worth
// a search.
func promising(characters []*template, all []candidate, n int) []*template {
	fits := map[*template]float64{}
	for _, c := range characters {
		fits[c] = coarse(c, all)
	}
	sorted := slices.Clone(characters)
	slices.SortFunc(sorted, func(a, b *template) int { return cmp.Compare(fits[b], fits[a]) })
	return sorted[:n]
}

// The characters are those of the shipped base (examples/pretrain-drawn.yaml).
func TestTheGeneratorsAreApart(t *testing.T) {
	var characters []*template
	for _, program := range NewAlphabet(7, 200).programs {
		var strokes []line
		for _, st := range program {
			strokes = append(strokes, st.flatten())
		}
		characters = append(characters, newTemplate(strokes, placement{0, 1, 1}.pose()))
	}
	for _, f := range figures {
		all := grid(f.strokes)
		near, own := -1.0, 1.0
		for _, c := range promising(characters, all, 8) {
			near = max(near, fit(c, f.strokes, all))
		}
		for number := range 6 {
			p := newPose(newStream(99, uint64(number)))
			p.bendX, p.bendY = [3]float64{}, [3]float64{} // the search has no bends
			p.dx, p.dy = Side/2, Side/2
			own = min(own, fit(newTemplate(f.strokes, p), f.strokes, all))
		}
		t.Logf("%-10s characters fit up to %.3f, its own drawings from %.3f", f.name, near, own)
		if near > characterLimit {
			t.Errorf("a character fits %s at %.3f, more than %.2f", f.name, near, characterLimit)
		}
		if own < figureLimit {
			t.Errorf("a drawing of %s is fitted at %.3f only, less than %.2f: the measure is blind", f.name, own, figureLimit)
		}
	}
}
