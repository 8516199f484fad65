package ringallreduce

import "github.com/dploda/dploda/internal/wire"

// Collector assembles the vector from the finished segments of all ranks: the
// receiving end of the seam after a reduce-scatter.
type Collector[T Number] struct {
	layout
	vector  []T
	seen    [][]bool // by segment and chunk
	waiting int
}

// NewCollector expects the finished segments of vectors of n numbers. c's
// Operation and Rank do not matter.
func NewCollector[T Number](c Config, n int) (*Collector[T], error) {
	c.Operation, c.Rank = ReduceScatter, 0
	if err := c.validate(n); err != nil {
		return nil, err
	}
	k := &Collector[T]{layout: newLayout(c, typeOf[T](), n), vector: make([]T, n)}
	for s := range c.Ranks {
		k.seen = append(k.seen, make([]bool, k.chunks(s)))
		k.waiting += k.chunks(s)
	}
	return k, nil
}

// Step takes a chunk that rank sent and reports whether it was one that was
// waited for. Others change nothing.
func (k *Collector[T]) Step(rank int, c wire.Chunk, payload []byte) bool {
	if c.Phase != wire.Segment || c.Hop != 0 || int(c.Segment) != OwnedBy(rank, k.ranks) || !k.holds(c, payload) || k.seen[c.Segment][c.Index] {
		return false
	}
	k.seen[c.Segment][c.Index] = true
	k.waiting--
	lo, hi := k.bounds(int(c.Segment), int(c.Index))
	decode(k.vector[lo:hi], payload)
	return true
}

// Done reports whether the vector is complete.
func (k *Collector[T]) Done() bool { return k.waiting == 0 }

// Missing reports whether chunks of rank's segment are still to come.
func (k *Collector[T]) Missing(rank int) bool {
	for _, seen := range k.seen[OwnedBy(rank, k.ranks)] {
		if !seen {
			return true
		}
	}
	return false
}

// Take hands the complete vector over.
func (k *Collector[T]) Take() []T {
	v := k.vector
	k.vector = nil
	return v
}

// Wipe zeroes what was collected.
func (k *Collector[T]) Wipe() { clear(k.vector) }
