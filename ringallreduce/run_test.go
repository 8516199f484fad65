package ringallreduce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/dploda/dploda/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// oneChunk delivers the same bytes for ever and counts what is sent.
type oneChunk struct {
	b    []byte
	sent int
}

func (l *oneChunk) Send([]byte) error                       { l.sent++; return nil }
func (l *oneChunk) Receive(context.Context) ([]byte, error) { return l.b, nil }

// memoryLink joins goroutines by channels. Every third chunk comes twice,
// neighbouring chunks change places, garbage and chunks of an older generation
// come between.
type memoryLink struct {
	out, in chan []byte
	held    []byte
	count   int
	drop    int // from this chunk on everything is lost; 0 never
}

func (l *memoryLink) Send(b []byte) error {
	l.count++
	if l.drop > 0 && l.count >= l.drop {
		return nil
	}
	c := slices.Clone(b)
	if l.held == nil && l.count%2 == 1 {
		l.held = c
		// The last chunk of all must not be held back; a short wait would be a
		// race, so it is sent twice instead: once in order, once late.
		l.out <- slices.Clone(b)
		return nil
	}
	l.out <- c
	if l.count%3 == 0 {
		l.out <- slices.Clone(b)
	}
	if l.held != nil {
		l.out <- l.held
		l.held = nil
	}
	stale := slices.Clone(b)
	stale[8]--
	l.out <- stale // its checksum is wrong as well
	l.out <- []byte("garbage")
	return nil
}

func (l *memoryLink) Receive(ctx context.Context) ([]byte, error) {
	select {
	case b := <-l.in:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func memoryRing(ranks int) []*memoryLink {
	wires := make([]chan []byte, ranks)
	for i := range wires {
		wires[i] = make(chan []byte, 1<<16)
	}
	links := make([]*memoryLink, ranks)
	for i := range links {
		links[i] = &memoryLink{out: wires[(i+1)%ranks], in: wires[i]}
	}
	return links
}

func ramp(rank, n int) []int32 {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(rank*1000003 + i*7919)
	}
	return v
}

func TestRunOverDisorderlyLinks(t *testing.T) {
	for ranks := 1; ranks <= 8; ranks++ {
		t.Run(fmt.Sprint(ranks), func(t *testing.T) {
			const n = 10007
			links, in := memoryRing(ranks), make([][]int32, ranks)
			for r := range in {
				in[r] = ramp(r, n)
			}
			want := naive(in)
			config := Config{Operation: ReduceScatter, Ranks: ranks, Generation: 9, ChunkSize: 1024}
			collector, err := NewCollector[int32](config, n)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			eg, ctx := errgroup.WithContext(t.Context())
			for r := range ranks {
				eg.Go(func() error {
					c := config
					c.Rank = r
					return Run(ctx, links[r], c, in[r], func(h wire.Chunk, numbers []int32) error {
						mu.Lock()
						defer mu.Unlock()
						return collect(collector, r, h, numbers)
					})
				})
			}
			if err := eg.Wait(); err != nil {
				t.Fatal(err)
			}
			if !collector.Done() || !slices.Equal(collector.Take(), want) {
				t.Error("the finished segments do not make up the sum")
			}
		})
	}
}

// collect sends a finished chunk to the collector, after some that it must
// refuse.
func collect(k *Collector[int32], rank int, h wire.Chunk, numbers []int32) error {
	b := EncodeChunk(make([]byte, wire.HeaderSize+wire.ChunkSize), h, numbers)
	header, payload, err := wire.OpenChunk(b)
	if err != nil {
		return err
	}
	if !k.Missing(rank) {
		return errors.New("nothing is missing before the last chunk")
	}
	stale, partial := header, header
	stale.Generation--
	partial.Phase = wire.Reduce
	for _, c := range []wire.Chunk{stale, partial} {
		if k.Step(rank, c, payload) {
			return fmt.Errorf("the collector took %+v", c)
		}
	}
	if k.ranks > 1 && k.Step(rank+1, header, payload) {
		return errors.New("the collector took a chunk from a rank that does not own it")
	}
	if !k.Step(rank, header, payload) {
		return errors.New("the collector refused a chunk")
	}
	if k.Step(rank, header, payload) {
		return errors.New("the collector took a chunk twice")
	}
	return nil
}

// TestAbortMidReduce: a rank that lost its neighbour waits, without spinning or
// giving up, until it is told; then it returns at once.
func TestAbortMidReduce(t *testing.T) {
	links := memoryRing(3)
	links[1].drop = 5
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 3)
	for r := range 3 {
		go func() {
			c := Config{Operation: AllReduce, Rank: r, Ranks: 3, ChunkSize: 64}
			done <- Run(ctx, links[r], c, ramp(r, 3000), nil)
		}()
	}
	select {
	case err := <-done:
		t.Fatalf("a rank ended before the abort: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	cancel()
	for range 3 {
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		case <-time.After(time.Second):
			t.Fatal("a rank did not end after the abort")
		}
	}
}

func TestErrorsOfTheLinkAndTheReceiverEndTheRun(t *testing.T) {
	broken := errors.New("broken")
	c := Config{Operation: AllReduce, Ranks: 2}
	if err := Run(t.Context(), failing{broken}, c, []int32{1, 2}, nil); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	c.Ranks = 1
	if err := Run(t.Context(), nil, c, []int32{1, 2}, func(wire.Chunk, []int32) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Send([]byte) error                       { return f.err }
func (f failing) Receive(context.Context) ([]byte, error) { return nil, f.err }

// TestReceivedChunksAreWiped: partial sums do not outlive their use.
func TestReceivedChunksAreWiped(t *testing.T) {
	b := make([]byte, wire.HeaderSize+4)
	copy(b[wire.HeaderSize:], "\x01\x02\x03\x04")
	wire.Chunk{Phase: wire.Reduce, Type: wire.Int32, Ranks: 2, Segment: 1, Offset: 1, Count: 1, Length: 2}.Seal(b)
	v := []int32{0, 0}
	if err := Run(t.Context(), &oneChunk{b: b}, Config{Operation: ReduceScatter, Ranks: 2}, v, nil); err != nil {
		t.Fatal(err)
	}
	if v[1] != 0x04030201 {
		t.Errorf("the chunk was not summed: %x", v)
	}
	if slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
		t.Error("the chunk's bytes remain")
	}
}
