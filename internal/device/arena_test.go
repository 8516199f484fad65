package device

import (
	"testing"

	"pgregory.net/rapid"
)

// TestPlaceBuffers: buffers that live together never overlap, and the arena is
// no larger than their sum and no smaller than the most that live at once.
func TestPlaceBuffers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "buffers")
		spans, sizes := make([]Span, n), make([]int, n)
		sum := 0
		for i := range n {
			first := rapid.IntRange(-1, 20).Draw(t, "first")
			spans[i] = Span{first, first + rapid.IntRange(-1, 8).Draw(t, "length")}
			sizes[i] = rapid.IntRange(1, 50).Draw(t, "size")
			sum += sizes[i]
		}
		buffers, total := PlaceBuffers(spans, sizes)
		end := 0
		for i, b := range buffers {
			if spans[i].Last < spans[i].First {
				continue
			}
			end = max(end, b.Offset+b.Size)
			if b.Size != sizes[i] {
				t.Fatalf("buffer %d has size %d, not %d", i, b.Size, sizes[i])
			}
			for j, c := range buffers[:i] {
				if spans[i].overlaps(spans[j]) && spans[j].Last >= spans[j].First &&
					b.Offset < c.Offset+c.Size && c.Offset < b.Offset+b.Size {
					t.Fatalf("buffers %d %v %v and %d %v %v overlap", i, spans[i], b, j, spans[j], c)
				}
			}
		}
		if end != total || total > sum || total < peak(spans, sizes) {
			t.Fatalf("arena of %d, buffers end at %d, sum %d, peak %d", total, end, sum, peak(spans, sizes))
		}
	})
}

func peak(spans []Span, sizes []int) int {
	most := 0
	for at := -1; at < 40; at++ {
		live := 0
		for i, s := range spans {
			if s.First <= at && at <= s.Last {
				live += sizes[i]
			}
		}
		most = max(most, live)
	}
	return most
}

// TestSpans: inputs live for ever, outputs to the end, an activation until its
// backward op, and what nothing uses not at all.
func TestSpans(t *testing.T) {
	b := NewBuilder()
	x := b.Input("x", Shape{2, 3, 3})
	h := b.Linear(x, b.Param("w", true, 2, 2), NoParam)
	unused := b.ReLU(h)
	y := b.SiLU(h)
	b.Output("y", y)
	loss := squaredError(b, y)
	l := gradient(t, b, loss, PerExample)
	spans, n := l.Spans(), len(l.Ops)
	// linear, silu, mse, fill, mse', silu', weights
	if n != 7 {
		t.Fatalf("%d ops", n)
	}
	for name, c := range map[string]struct {
		v    Value
		want Span
	}{
		"x": {x, Span{-1, n}}, "h": {h, Span{0, 5}}, "y": {y, Span{1, n}},
		"unused": {unused, Span{n, -1}}, "loss": {loss, Span{2, 2}},
	} {
		if spans[c.v] != c.want {
			t.Errorf("%s lives %v, want %v", name, spans[c.v], c.want)
		}
	}
}
