package ringallreduce

import (
	"fmt"

	"github.com/dploda/dploda/internal/wire"
)

// Operation is what a ring computes.
type Operation uint8

// The operations of a ring.
const (
	ReduceScatter Operation = 1 + iota // each rank ends with one finished segment, OwnedBy
	AllGather                          // each rank starts with its finished segment and ends with all
	AllReduce                          // both; each rank ends with the whole sum
)

// Config places one rank in one generation of a ring. All ranks must have the
// same but for Rank.
type Config struct {
	Operation   Operation
	Rank, Ranks int // Ranks is 1 to wire.MaxRanks
	Generation  uint64
	Step        uint64
	Attempt     uint32
	ChunkSize   int // bytes of a chunk's payload; 0 means wire.ChunkSize, the largest
}

func (c Config) validate(length int) error {
	switch {
	case c.Operation < ReduceScatter || c.Operation > AllReduce:
		return fmt.Errorf("ring: unknown operation %d", c.Operation)
	case c.Ranks < 1 || c.Ranks > wire.MaxRanks || c.Rank < 0 || c.Rank >= c.Ranks:
		return fmt.Errorf("ring: rank %d of %d; there can be 1 to %d", c.Rank, c.Ranks, wire.MaxRanks)
	case length > wire.MaxDim+1:
		return fmt.Errorf("ring: a vector of %d numbers, more than %d", length, wire.MaxDim+1)
	case c.ChunkSize < 0 || c.ChunkSize > wire.ChunkSize || c.ChunkSize%8 != 0:
		return fmt.Errorf("ring: chunks of %d bytes; use a multiple of 8 up to %d", c.ChunkSize, wire.ChunkSize)
	}
	return nil
}

// Effect is one thing that the shell must do: send vector[Lo:Hi] under Header
// to the next rank or, where Header's phase is wire.Segment, hand these finished
// numbers to whoever waits for them.
type Effect struct {
	Lo, Hi int
	Header wire.Chunk
}

// Ring is one rank of one generation: a pure state machine.
type Ring[T Number] struct {
	layout
	c       Config
	vector  []T
	seen    []bool
	first   []int // index into seen of each segment's first reduce chunk
	waiting int   // chunks yet to come
	effects []Effect
}

// New makes the state machine of one rank. It sums into vector in place; what
// the vector holds outside the rank's finished segments afterwards are partial
// sums.
func New[T Number](c Config, vector []T) (*Ring[T], error) {
	if err := c.validate(len(vector)); err != nil {
		return nil, err
	}
	r := &Ring[T]{layout: newLayout(c, typeOf[T](), len(vector)), c: c, vector: vector}
	for s := range c.Ranks {
		r.first = append(r.first, len(r.seen))
		r.seen = append(r.seen, make([]bool, r.chunks(s))...)
	}
	if c.Operation == AllReduce {
		r.seen = append(r.seen, r.seen...) // a second set for the gather
	}
	for s := range c.Ranks {
		if r.reduces() && s != c.Rank {
			r.waiting += r.chunks(s)
		}
		if r.gathers() && s != OwnedBy(c.Rank, c.Ranks) {
			r.waiting += r.chunks(s)
		}
	}
	r.effects = make([]Effect, 0, 2)
	return r, nil
}

func (r *Ring[T]) reduces() bool { return r.c.Operation != AllGather }
func (r *Ring[T]) gathers() bool { return r.c.Operation != ReduceScatter }

// Done reports whether the rank has received and passed on all it must.
func (r *Ring[T]) Done() bool { return r.waiting == 0 }

// Start returns the rank's first chunks. It is called once, first.
func (r *Ring[T]) Start() []Effect {
	phase, segment := wire.Reduce, r.c.Rank
	if !r.reduces() {
		phase, segment = wire.Gather, OwnedBy(r.c.Rank, r.c.Ranks)
	}
	if r.c.Ranks == 1 {
		phase = wire.Segment // nothing to add and nobody to send to
	}
	out := make([]Effect, 0, r.chunks(segment))
	for i := range r.chunks(segment) {
		out = append(out, r.effect(phase, segment, i, 0))
	}
	return out
}

// Step takes one received chunk and returns what follows from it, valid until
// the next Step. A chunk that does not belong here, or belonged and came before,
// changes nothing.
func (r *Ring[T]) Step(c wire.Chunk, payload []byte) []Effect {
	r.effects = r.effects[:0]
	if !r.expects(c, payload) {
		return nil
	}
	segment, index, hop := int(c.Segment), int(c.Index), int(c.Hop)
	slot := r.slot(c.Phase, segment, index)
	if r.seen[slot] {
		return nil
	}
	r.seen[slot] = true
	r.waiting--
	lo, hi := r.bounds(segment, index)
	last := hop == r.c.Ranks-2
	if c.Phase == wire.Reduce {
		add(r.vector[lo:hi], payload)
		if last {
			r.effects = append(r.effects, r.effect(wire.Segment, segment, index, 0))
			if r.gathers() {
				r.effects = append(r.effects, r.effect(wire.Gather, segment, index, 0))
			}
			return r.effects
		}
	} else {
		decode(r.vector[lo:hi], payload)
		r.effects = append(r.effects, r.effect(wire.Segment, segment, index, 0))
	}
	if !last {
		r.effects = append(r.effects, r.effect(c.Phase, segment, index, hop+1))
	}
	return r.effects
}

// expects holds a chunk against everything that this rank knows of the ring.
func (r *Ring[T]) expects(c wire.Chunk, payload []byte) bool {
	if !r.holds(c, payload) {
		return false
	}
	start := int(c.Segment) // the rank where the segment's journey begins
	switch {
	case c.Phase == wire.Reduce && r.reduces():
	case c.Phase == wire.Gather && r.gathers():
		start = (start + r.c.Ranks - 1) % r.c.Ranks
	default:
		return false
	}
	// The sender is the rank before this one, Hop ranks after the start.
	return int(c.Hop) <= r.c.Ranks-2 && (start+int(c.Hop)+1)%r.c.Ranks == r.c.Rank
}

func (r *Ring[T]) slot(p wire.Phase, segment, index int) int {
	slot := r.first[segment] + index
	if r.c.Operation == AllReduce && p == wire.Gather {
		slot += len(r.seen) / 2
	}
	return slot
}

func (r *Ring[T]) effect(p wire.Phase, segment, index, hop int) Effect {
	lo, hi := r.bounds(segment, index)
	return Effect{Lo: lo, Hi: hi, Header: r.header(p, segment, index, hop)}
}
