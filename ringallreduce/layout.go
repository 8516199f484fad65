package ringallreduce

import "github.com/dploda/dploda/internal/wire"

// SegmentBounds returns where segment s of n numbers in a ring of ranks begins
// and ends: lengths differ by at most one, and may be 0.
func SegmentBounds(n, ranks, s int) (lo, hi int) {
	return int(int64(n) * int64(s) / int64(ranks)), int(int64(n) * int64(s+1) / int64(ranks))
}

// OwnedBy is the segment that rank holds finished after a reduce-scatter.
func OwnedBy(rank, ranks int) int { return (rank + 1) % ranks }

// layout is how one generation cuts its vectors; the same at every rank.
type layout struct {
	model wire.Chunk // what all chunks have in common
	n     int        // numbers of a vector
	ranks int
	per   int // numbers of a whole chunk
}

func newLayout(c Config, t wire.Type, n int) layout {
	size := c.ChunkSize
	if size == 0 {
		size = wire.ChunkSize
	}
	return layout{
		model: wire.Chunk{
			Type: t, Generation: c.Generation, Step: c.Step, Attempt: c.Attempt, Ranks: uint16(c.Ranks), Length: uint32(n),
		},
		n: n, ranks: c.Ranks, per: size / t.Size(),
	}
}

// chunks is the number of chunks of segment s.
func (l *layout) chunks(s int) int {
	lo, hi := SegmentBounds(l.n, l.ranks, s)
	return (hi - lo + l.per - 1) / l.per
}

// bounds returns where a chunk's numbers begin and end in the vector.
func (l *layout) bounds(segment, index int) (lo, hi int) {
	lo, end := SegmentBounds(l.n, l.ranks, segment)
	lo += index * l.per
	return lo, min(lo+l.per, end)
}

func (l *layout) header(p wire.Phase, segment, index, hop int) wire.Chunk {
	lo, hi := l.bounds(segment, index)
	c := l.model
	c.Phase, c.Hop, c.Segment, c.Index = p, uint16(hop), uint32(segment), uint32(index)
	c.Offset, c.Count = uint64(lo), uint32(hi-lo)
	return c
}

// holds reports whether c is a chunk of this layout, whatever its phase and hop.
func (l *layout) holds(c wire.Chunk, payload []byte) bool {
	if int(c.Segment) >= l.ranks || int64(c.Index) >= int64(l.chunks(int(c.Segment))) {
		return false
	}
	return c == l.header(c.Phase, int(c.Segment), int(c.Index), int(c.Hop)) && len(payload) == int(c.Count)*c.Type.Size()
}
