package ringallreduce

import (
	"context"

	"github.com/dploda/dploda/internal/wire"
)

// Link carries encoded chunks of one generation between neighbours. It may lose
// order and deliver twice; if it loses chunks, the ring waits until its context
// is cancelled.
type Link interface {
	// Send hands a chunk to the next rank. b may be reused after it returns.
	Send(b []byte) error
	// Receive returns a chunk of the previous rank. It stays valid until the next
	// Receive and may be overwritten.
	Receive(ctx context.Context) ([]byte, error)
}

// Run takes part in one generation. It returns nil when the rank has received
// and passed on all it must: for ReduceScatter vector then holds the finished
// segment OwnedBy(rank), else the whole sum. If finished is not nil, it is
// called with each chunk that received its final value, so that it can be sent
// elsewhere (to a Collector, with EncodeChunk) while the rest is under way.
//
// Run wipes its own copies of the numbers; the vector is the caller's.
func Run[T Number](ctx context.Context, link Link, c Config, vector []T, finished func(header wire.Chunk, numbers []T) error) error {
	ring, err := New(c, vector)
	if err != nil {
		return err
	}
	s := shell[T]{ring: ring, link: link, finished: finished, buffer: make([]byte, wire.HeaderSize+wire.ChunkSize)}
	defer clear(s.buffer)
	for _, e := range ring.Start() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.do(e); err != nil {
			return err
		}
	}
	for !ring.Done() {
		if err := s.receive(ctx); err != nil {
			return err
		}
	}
	return nil
}

type shell[T Number] struct {
	ring     *Ring[T]
	link     Link
	finished func(wire.Chunk, []T) error
	buffer   []byte
}

func (s *shell[T]) receive(ctx context.Context) error {
	b, err := s.link.Receive(ctx)
	if err != nil {
		return err
	}
	defer clear(b) // a partial sum
	header, payload, err := wire.OpenChunk(b)
	if err != nil {
		return nil // garbage: as good as lost
	}
	for _, e := range s.ring.Step(header, payload) {
		if err := s.do(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *shell[T]) do(e Effect) error {
	numbers := s.ring.vector[e.Lo:e.Hi]
	if e.Header.Phase != wire.Segment {
		return s.link.Send(EncodeChunk(s.buffer, e.Header, numbers))
	}
	if s.finished == nil {
		return nil
	}
	return s.finished(e.Header, numbers)
}

// EncodeChunk writes header and numbers into buffer, which must be large enough
// (wire.HeaderSize + wire.ChunkSize), and returns the part written.
func EncodeChunk[T Number](buffer []byte, header wire.Chunk, numbers []T) []byte {
	b := buffer[:wire.HeaderSize+len(numbers)*header.Type.Size()]
	encode(b[wire.HeaderSize:], numbers)
	header.Seal(b)
	return b
}
