package noise

import (
	"crypto/aes"
	"fmt"
	"math"
	"math/big"
	"testing"
)

func openStream(name string) *stream {
	block, err := aes.NewCipher(testKey(name)[:])
	if err != nil {
		panic(err)
	}
	s := new(stream)
	s.open(block, 0)
	return s
}

// dealer deals given digits, and stops refine by a panic when they run out.
type dealer struct {
	digits []uint64
	width  uint
	next   int
}

type exhausted struct{}

func (d *dealer) bits(n uint) uint64 {
	if n != d.width {
		panic(fmt.Sprintf("%d bits asked for, digits have %d", n, d.width))
	}
	if d.next == len(d.digits) {
		panic(exhausted{})
	}
	d.next++
	return d.digits[d.next-1]
}

// tree is what the exploration of a candidate's decisions has found, as
// probabilities: of every outcome, of rejection, and of what lies deeper.
type tree struct {
	outcome         map[int64]float64
	rejected, below float64
}

// explore runs refine from the first digit on, for every sequence of digits, as
// deep as the given number of digits.
func explore(g gaussian, fresh func() *candidate, width uint, depth int) tree {
	found := tree{outcome: map[int64]float64{}}
	var visit func(digits []uint64)
	visit = func(digits []uint64) {
		weight := math.Ldexp(1, -int(width)*len(digits))
		d := &dealer{digits: digits, width: width}
		v, accepted, done := attempt(g, fresh(), d)
		switch {
		case !done && len(digits) == depth:
			found.below += weight
		case !done:
			for digit := range uint64(1) << width {
				visit(append(digits[:len(digits):len(digits)], digit))
			}
		case d.next != len(digits):
			panic("refine did not read what it needed before")
		case accepted:
			found.outcome[v] += weight
		default:
			found.rejected += weight
		}
	}
	visit(nil)
	return found
}

func attempt(g gaussian, c *candidate, d *dealer) (v int64, accepted, done bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(exhausted); !ok {
				panic(r)
			}
			done = false
		}
	}()
	v, accepted = g.refine(c, d, d.width)
	return v, accepted, true
}

// exactly returns the probability that a candidate uniform on [from, to) is
// accepted and rounds to v: the integral of its acceptance probability.
func exactly(c *candidate, sigma float64, v int64) float64 {
	width := math.Ldexp(1, -int(c.shift))
	from := math.Max(float64(c.base)*width, (float64(v)-0.5)/sigma)
	to := math.Min(float64(c.base+1)*width, (float64(v)+0.5)/sigma)
	if to <= from {
		return 0
	}
	ratio, _ := new(big.Rat).SetFrac(c.num, c.den).Float64()
	area := math.Sqrt(math.Pi/2) * (math.Erfc(from/math.Sqrt2) - math.Erfc(to/math.Sqrt2))
	return ratio * area / width
}

// The decision tree of every cell and of the tail's first blocks, enumerated
// with small digits, so that every slow path is taken. The exact probability of
// each outcome lies between what the tree has decided and that plus what it has
// left open: no statistics, no false alarms.
func TestDecisionTreeBracketsExactProbabilities(t *testing.T) {
	for _, c := range []struct {
		width uint
		depth int
		sigma int64
		open  float64 // more left open than this would test nothing
	}{
		{2, 4, 3, 0.3}, {3, 4, 1, 0.13}, {3, 2, 40, 1}, {4, 2, 2, 0.25},
	} {
		g := newGaussian(c.sigma)
		for cell := range bodyCells + 4 {
			fresh := func() *candidate { return g.bodyCandidate(cell) }
			if cell >= bodyCells {
				fresh = func() *candidate { return tailBlock(cell - bodyCells) }
			}
			found := explore(g, fresh, c.width, c.depth)
			accepted, total := 0.0, found.rejected+found.below
			for v := int64(0); v <= 6*c.sigma; v++ {
				want := exactly(fresh(), float64(c.sigma), v)
				low := found.outcome[v]
				if low > want+1e-12 || low+found.below < want-1e-12 {
					t.Errorf("cell %d, σ %d, digits of %d bits: P(%d) = %v lies outside [%v, %v]",
						cell, c.sigma, c.width, v, want, low, low+found.below)
				}
				accepted += want
				total += low
			}
			if found.rejected > 1-accepted+1e-12 || found.rejected+found.below < 1-accepted-1e-12 {
				t.Errorf("cell %d: rejection has probability %v, found %v to %v", cell, 1-accepted, found.rejected, found.rejected+found.below)
			}
			if math.Abs(total-1) > 1e-12 {
				t.Errorf("cell %d: the tree's probabilities sum to %v", cell, total)
			}
			if found.below > c.open {
				t.Errorf("cell %d, digits of %d bits: %v left open", cell, c.width, found.below)
			}
		}
	}
}

// tailBlock has the tail's candidate in block j.
func tailBlock(j int) *candidate {
	digits := make([]uint64, j+1)
	digits[j] = 1
	return tailCandidate(&dealer{digits: digits, width: 1})
}

// The slow path alone, with digits of any size, fits too: false alarm 1e-6.
func TestRefineWithSmallDigitsFitsErfc(t *testing.T) {
	const n, sigma = 20_000, 2
	g := newGaussian(sigma)
	for _, width := range []uint{2, 3, 4, 64} {
		s := openStream(fmt.Sprint("small digits ", width))
		values := make([]int32, n)
		for i := range values {
			for {
				var c *candidate
				if cell := g.cells.slot[s.bits(slotBits)]; cell == tailCell {
					c = tailCandidate(s)
				} else {
					c = g.bodyCandidate(int(cell))
				}
				if v, ok := g.refine(c, s, width); ok {
					values[i] = int32(signed(v, s.bits(1) == 1))
					break
				}
			}
		}
		if p := fit(values, sigma); p < 1e-6 {
			t.Errorf("digits of %d bits: p = %.2g", width, p)
		}
	}
}

// A draw whose first 128 bits leave acceptance or rounding open goes on reading
// and ends as the exact comparison of all its bits says.
func TestDrawTakesTheSlowPath(t *testing.T) {
	g := newGaussian(1_000_000)
	const cell = 20
	slot := uint64(0)
	for g.cells.slot[slot] != cell {
		slot++
	}
	script := func(words ...uint64) *stream {
		s := openStream("unused")
		s.at = len(s.buf) - 8*len(words)
		for i, w := range words {
			for b := range 8 {
				s.buf[s.at+8*i+b] = byte(w >> (8 * b))
			}
		}
		return s
	}
	// Rounding: u is certainly accepted, x lies just below a half-integer's 64
	// bits; the next word decides.
	edge := new(big.Int).SetUint64(g.sigma * cell >> 4) // m
	edge.Lsh(edge, 68).Add(edge, new(big.Int).Lsh(big.NewInt(1), 67))
	edge.Quo(edge, new(big.Int).SetUint64(g.sigma))
	edge.Sub(edge, new(big.Int).Lsh(big.NewInt(cell), 64))
	x := edge.Uint64()
	if _, ok := g.round(cell, x); ok {
		t.Fatal("x is not undecided")
	}
	low, high := script(slot<<52, x, 0), script(slot<<52|1<<51, x, math.MaxUint64)
	m := int64(g.sigma * cell >> 4)
	if v := g.draw(low); v != m || low.at != len(low.buf) {
		t.Errorf("below the half: %d, want %d", v, m)
	}
	if v := g.draw(high); v != -(m+1) || high.at != len(high.buf) {
		t.Errorf("above the half, negative: %d, want %d", v, -(m + 1))
	}
	// Acceptance: u shares its first 51 bits with the probability at x = 0; x's
	// next digits leave the probability a hair below it. u's next bits decide.
	c := g.bodyCandidate(cell)
	lo, _ := boundsAt(cell, 128)
	p := lo.Mul(lo, c.num)
	p.Quo(p, c.den)
	u := new(big.Int).Rsh(p, 128-51).Uint64()
	accepting := script(slot<<52|u, 0, 0, 0)
	if v := g.draw(accepting); v != int64(g.sigma*cell>>4) || accepting.at != len(accepting.buf) {
		t.Errorf("u just below the probability: %d", v)
	}
	rejecting := script(slot<<52|u, 0, math.MaxUint64, 0, slot<<52|1<<51, 1<<63)
	if v := g.draw(rejecting); v >= 0 || rejecting.at != len(rejecting.buf) {
		t.Errorf("u just above the probability is not rejected: %d", v)
	}
}
