package device

import (
	"cmp"
	"slices"
)

// Span is the lifetime of a value, as positions in the list of ops: it holds
// something from First until Last, both included. A value that no op uses has
// Last < First.
type Span struct{ First, Last int }

func (s Span) overlaps(t Span) bool { return s.First <= t.Last && t.First <= s.Last }

// Spans returns the lifetime of every value. Inputs live for ever, so that a
// stream may run again without setting them; outputs live until the next run.
func (l *OpList) Spans() []Span {
	spans := make([]Span, len(l.Shapes))
	for v := range spans {
		spans[v] = Span{len(l.Ops), -1}
	}
	for i, op := range l.Ops {
		for _, v := range append(op.Reads(), op.Writes()...) {
			if v != NoValue {
				spans[v] = Span{min(spans[v].First, i), max(spans[v].Last, i)}
			}
		}
	}
	for _, out := range l.Outputs {
		spans[out.Value].Last = len(l.Ops)
	}
	for _, in := range l.Inputs {
		spans[in.Value] = Span{-1, len(l.Ops)}
	}
	return spans
}

// A Buffer is a place in an arena: Size elements from Offset on.
type Buffer struct{ Offset, Size int }

// PlaceBuffers gives buffers of the given sizes and lifetimes offsets in one
// arena, so that two that live at the same time do not overlap, and returns the
// size of the arena. The largest go first, each to the lowest gap that
// fits it best. Buffers that nothing uses get no room.
func PlaceBuffers(spans []Span, sizes []int) (buffers []Buffer, total int) {
	order := make([]int, 0, len(sizes))
	for i, s := range spans {
		if s.Last >= s.First {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sizes[b], sizes[a]) })
	buffers = make([]Buffer, len(sizes))
	var placed []int // by offset
	for _, i := range order {
		buffers[i] = Buffer{bestGap(placed, buffers, spans, spans[i], sizes[i]), sizes[i]}
		total = max(total, buffers[i].Offset+sizes[i])
		at, _ := slices.BinarySearchFunc(placed, i, func(a, b int) int { return cmp.Compare(buffers[a].Offset, buffers[b].Offset) })
		placed = slices.Insert(placed, at, i)
	}
	return buffers, total
}

// bestGap returns the offset of the smallest gap that holds size between the
// placed buffers alive during span, or the end of the last of them.
func bestGap(placed []int, buffers []Buffer, spans []Span, span Span, size int) int {
	end, best, bestSize := 0, -1, 0
	for _, j := range placed {
		if !spans[j].overlaps(span) {
			continue
		}
		if gap := buffers[j].Offset - end; gap >= size && (best < 0 || gap < bestSize) {
			best, bestSize = end, gap
		}
		end = max(end, buffers[j].Offset+buffers[j].Size)
	}
	if best >= 0 {
		return best
	}
	return end
}
