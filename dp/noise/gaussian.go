package noise

import (
	"math/big"
	"math/bits"
	"sync"
)

// The proposal of the rejection method (docs/privacy.md has the proof). The
// half-line of |y| is cut into bodyCells cells of width 2^-bodyShift up to 4,
// and a tail. One of 4096 equally likely slots picks a cell: cell i owns w_i of
// them, the tail owns tailWeight. Within a cell the point is uniform; in the
// tail it lies in block j of width 1/4 with probability 2^-(j+1). Accepting a
// point with probability
//
//	body: envelope·exp(-y²/2)/w_i          tail: envelope·2^(j+3)·exp(-y²/2)/tailWeight
//
// leaves the half-normal density in both, with the same constant. Every w_i is
// the least integer above envelope·exp(-(i/16)²/2), so no probability exceeds
// one; envelope is the largest integer for which the slots suffice.
const (
	slotBits   = 12
	bodyCells  = 64
	bodyShift  = 4
	tailShift  = 2
	tailBase   = 4 << tailShift
	tailCell   = bodyCells
	tailWeight = 1
	envelope   = 197
)

// cellTable serves the fast path. sure and peak are in units of 2^-32.
type cellTable struct {
	slot   [1 << slotBits]uint8 // the cell of a slot; bodyCells means the tail
	weight [bodyCells]uint64    // w_i
	sure   [bodyCells]uint64    // below the acceptance probability anywhere in the cell
	peak   [bodyCells]uint64    // the acceptance probability at the cell's start, rounded down
}

var cells = sync.OnceValue(newCellTable)

func newCellTable() *cellTable {
	t := new(cellTable)
	used := tailWeight
	for i := range t.weight {
		_, hi := boundsAt(i, 64)
		w := new(big.Int).Mul(hi, big.NewInt(envelope))
		t.weight[i] = w.Rsh(w, 64).Uint64() + 1
		used += int(t.weight[i])
	}
	if used > len(t.slot) {
		panic("noise: the envelope needs more slots than there are")
	}
	t.weight[0] += uint64(len(t.slot) - used) // a higher envelope is as good
	next := 0
	for i, w := range t.weight {
		for range w {
			t.slot[next] = uint8(i)
			next++
		}
		t.peak[i] = t.acceptance(i, i)
		t.sure[i] = t.acceptance(i, i+1)
	}
	for ; next < len(t.slot); next++ {
		t.slot[next] = tailCell
	}
	return t
}

// acceptance returns the acceptance probability of cell i at the point at/16,
// in units of 2^-32, rounded down.
func (t *cellTable) acceptance(i, at int) uint64 {
	lo, _ := boundsAt(at, 64)
	p := new(big.Int).Mul(lo, big.NewInt(envelope))
	p.Quo(p, new(big.Int).SetUint64(t.weight[i]))
	return p.Rsh(p, 32).Uint64()
}

// boundsAt brackets 2^prec·exp(-y²/2) at y = i/16.
func boundsAt(i int, prec uint) (lo, hi *big.Int) {
	return expNeg(big.NewInt(int64(i)*int64(i)), 2*bodyShift+1, prec)
}

// margin is the width, in units of 2^-32, around the approximate acceptance
// probability within which the fast path does not decide. Its error is below
// 1600 units: 1518 for the series cut after t⁵ (t < 127/512, so t⁶/720 <
// 2^-21.4), the rest for at most a dozen roundings of one unit each.
const margin = 4096

type verdict int

const (
	reject verdict = iota
	accept
	unsure
)

// judge decides whether u < p(y), for a point in cell i whose offset within the
// cell is x·2^-64 and a deviate u, both known to their first digits (u to its
// first 32 bits here), or says that it cannot. With t = (2ix + x²)/512,
// p(i/16 + x/16) = peak·exp(-t); the series of exp(-t) is in Horner's form.
func (t *cellTable) judge(i int, u32, x uint64) verdict {
	if u32 < t.sure[i] {
		return accept
	}
	const one = 1 << 32
	x32 := x >> 32
	t32 := (2*uint64(i)*x32 + times32(x32, x32)) >> 9
	h := one - t32/5
	h = one - times32(t32, h)/4
	h = one - times32(t32, h)/3
	h = one - times32(t32, h)/2
	h = one - times32(t32, h)
	p := times32(t.peak[i], h)
	switch {
	case u32+margin < p:
		return accept
	case u32 > p+margin:
		return reject
	}
	return unsure
}

// times32 multiplies numbers in units of 2^-32, at most 1, rounding down.
func times32(a, b uint64) uint64 { return (a * b) >> 32 }

// gaussian samples round(N(0, σ²)) exactly, for an integer σ in [1, 2³¹).
type gaussian struct {
	sigma uint64
	cells *cellTable
}

func newGaussian(sigma int64) gaussian {
	if sigma < 1 || sigma >= 1<<31 {
		panic("noise: the standard deviation must lie in [1, 2^31)")
	}
	return gaussian{sigma: uint64(sigma), cells: cells()}
}

// draw returns one sample. An attempt takes two words: 12 bits for the slot,
// one for the sign, 51 leading bits of u; and 64 leading bits of x. Where these
// do not decide acceptance or the rounding, refine reads as many more as it
// takes.
func (g gaussian) draw(s *stream) int64 {
	for {
		a, x := s.word(), s.word()
		i := uint64(g.cells.slot[a>>(64-slotBits)])
		negative := a>>51&1 == 1
		u := a & (1<<51 - 1)
		if i == tailCell {
			if v, ok := g.refine(tailCandidate(s), s, wordBits); ok {
				return signed(v, negative)
			}
			continue
		}
		switch g.cells.judge(int(i), u>>19, x) {
		case reject:
			continue
		case accept:
			if v, ok := g.round(i, x); ok {
				return signed(v, negative)
			}
		}
		c := g.bodyCandidate(int(i))
		c.u.set(u, 51)
		c.x.set(x, 64)
		if v, ok := g.refine(c, s, wordBits); ok {
			return signed(v, negative)
		}
	}
}

// round returns the integer nearest to σ·y for every y = (i + x)/16 whose x
// starts with the given 64 bits, or false if that depends on further bits.
// σ·y·2⁶⁸ lies in [σ(i·2⁶⁴+x), σ(i·2⁶⁴+x+1)); adding a half is adding 8·2⁶⁴.
func (g gaussian) round(i, x uint64) (int64, bool) {
	hi, lo := bits.Mul64(g.sigma, x)
	hi += i*g.sigma + 8
	_, carry := bits.Add64(lo, g.sigma-1, 0)
	return int64(hi >> bodyShift), hi>>bodyShift == (hi+carry)>>bodyShift
}

func signed(v int64, negative bool) int64 {
	if negative {
		return -v
	}
	return v
}
