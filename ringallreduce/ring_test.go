package ringallreduce

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dploda/dploda/internal/wire"
)

// packet is a chunk on its way to a rank.
type packet struct {
	to      int
	header  wire.Chunk
	payload []byte
}

// simulation runs all ranks of one generation against a network that reorders,
// duplicates and adds garbage, as it draws.
type simulation[T Number] struct {
	rings   []*Ring[T]
	vectors [][]T
	flying  []packet
	old     []packet // delivered before: candidates for duplication
	final   [][]bool // by rank and coordinate
}

func newSimulation[T Number](t *rapid.T, c Config, vectors [][]T) *simulation[T] {
	s := &simulation[T]{vectors: vectors}
	for rank, v := range vectors {
		c.Rank, c.Ranks = rank, len(vectors)
		r, err := New(c, v)
		if err != nil {
			t.Fatal(err)
		}
		s.rings = append(s.rings, r)
		s.final = append(s.final, make([]bool, len(v)))
	}
	for rank, r := range s.rings {
		s.apply(t, rank, r.Start())
	}
	return s
}

func (s *simulation[T]) apply(t *rapid.T, rank int, effects []Effect) {
	for _, e := range effects {
		if e.Header.Phase != wire.Segment {
			payload := make([]byte, (e.Hi-e.Lo)*e.Header.Type.Size())
			encode(payload, s.vectors[rank][e.Lo:e.Hi])
			s.flying = append(s.flying, packet{(rank + 1) % len(s.rings), e.Header, payload})
			continue
		}
		for i := e.Lo; i < e.Hi; i++ {
			if s.final[rank][i] {
				t.Fatalf("rank %d: coordinate %d became final twice", rank, i)
			}
			s.final[rank][i] = true
		}
	}
}

// run delivers everything in an order of rapid's choice.
func (s *simulation[T]) run(t *rapid.T) {
	for len(s.flying) > 0 {
		i := rapid.IntRange(0, len(s.flying)-1).Draw(t, "next")
		p := s.flying[i]
		s.flying = slices.Delete(s.flying, i, i+1)
		switch rapid.IntRange(0, 5).Draw(t, "mischief") {
		case 0: // an old chunk again
			if len(s.old) > 0 {
				again := s.old[rapid.IntRange(0, len(s.old)-1).Draw(t, "again")]
				s.refuses(t, again, "a duplicate")
			}
		case 1: // of another generation, attempt, step or place
			s.refuses(t, spoil(t, p), "a stranger")
		case 2: // to the wrong rank
			if n := len(s.rings); n > 2 {
				wrong := p
				wrong.to = (p.to + rapid.IntRange(1, n-1).Draw(t, "off")) % n
				s.refuses(t, wrong, "a stray")
			}
		}
		s.apply(t, p.to, s.rings[p.to].Step(p.header, p.payload))
		s.old = append(s.old, p)
	}
	for rank, r := range s.rings {
		if !r.Done() {
			t.Fatalf("rank %d is not done although nothing is under way", rank)
		}
	}
}

// refuses delivers a packet that must change nothing.
func (s *simulation[T]) refuses(t *rapid.T, p packet, what string) {
	before := slices.Clone(s.vectors[p.to])
	if e := s.rings[p.to].Step(p.header, p.payload); len(e) != 0 {
		t.Fatalf("%s had effects: %+v", what, p.header)
	}
	if !slices.EqualFunc(before, s.vectors[p.to], same[T]) {
		t.Fatalf("%s changed the vector: %+v", what, p.header)
	}
}

func same[T Number](a, b T) bool { return a == b || a != a && b != b }

func spoil(t *rapid.T, p packet) packet {
	h := &p.header
	switch rapid.IntRange(0, 10).Draw(t, "spoil") {
	case 0:
		h.Generation--
	case 1:
		h.Generation++
	case 2:
		h.Attempt++
	case 3:
		h.Step++
	case 4:
		h.Ranks++
	case 5:
		h.Length++
	case 6:
		h.Hop++
	case 7:
		h.Index += 1 << 20
	case 8:
		h.Phase = wire.Segment
	case 9:
		h.Offset++
	case 10:
		p.payload = p.payload[:len(p.payload)-1]
	}
	return p
}

func numbers[T Number](t *rapid.T, ranks, n int) [][]T {
	v := make([][]T, ranks)
	for r := range v {
		v[r] = make([]T, n)
		for i := range v[r] {
			switch p := any(&v[r][i]).(type) {
			case *int32:
				*p = rapid.Int32().Draw(t, "x")
			case *int64:
				*p = rapid.Int64().Draw(t, "x")
			case *float32:
				*p = rapid.Float32Range(-1e6, 1e6).Draw(t, "x")
			}
		}
	}
	return v
}

// naive is the twin: each coordinate added in the order that the ring fixes,
// from the segment's first rank on.
func naive[T Number](vectors [][]T) []T {
	ranks, n := len(vectors), len(vectors[0])
	sum := make([]T, n)
	for s := range ranks {
		lo, hi := SegmentBounds(n, ranks, s)
		for i := lo; i < hi; i++ {
			x := vectors[s][i]
			for k := 1; k < ranks; k++ {
				x += vectors[(s+k)%ranks][i]
			}
			sum[i] = x
		}
	}
	return sum
}

func clones[T Number](v [][]T) [][]T {
	out := make([][]T, len(v))
	for i := range v {
		out[i] = slices.Clone(v[i])
	}
	return out
}

func testSums[T Number](t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranks := rapid.IntRange(1, 8).Draw(t, "ranks")
		n := rapid.IntRange(0, 40).Draw(t, "n")
		c := Config{Generation: 7, Step: 3, Attempt: 1, ChunkSize: 8 * rapid.IntRange(1, 3).Draw(t, "chunk")}
		in := numbers[T](t, ranks, n)
		want := naive(in)

		c.Operation = ReduceScatter
		scattered := newSimulation(t, c, clones(in))
		scattered.run(t)
		for rank, v := range scattered.vectors {
			lo, hi := SegmentBounds(n, ranks, OwnedBy(rank, ranks))
			if !slices.Equal(v[lo:hi], want[lo:hi]) {
				t.Fatalf("reduce-scatter: rank %d holds %v, want %v", rank, v[lo:hi], want[lo:hi])
			}
			for i, f := range scattered.final[rank] {
				if f != (lo <= i && i < hi) {
					t.Fatalf("reduce-scatter: rank %d, coordinate %d: final is %v", rank, i, f)
				}
			}
		}

		c.Operation = AllGather
		gathered := newSimulation(t, c, scattered.vectors)
		gathered.run(t)
		c.Operation = AllReduce
		reduced := newSimulation(t, c, clones(in))
		reduced.run(t)
		for rank := range ranks {
			if !slices.Equal(gathered.vectors[rank], want) {
				t.Fatalf("all-gather: rank %d holds %v, want %v", rank, gathered.vectors[rank], want)
			}
			if !slices.Equal(reduced.vectors[rank], want) {
				t.Fatalf("all-reduce: rank %d holds %v, want %v", rank, reduced.vectors[rank], want)
			}
			if slices.Contains(reduced.final[rank], false) {
				t.Fatalf("all-reduce: rank %d was not told of a final coordinate", rank)
			}
		}
	})
}

func TestSumsInt32(t *testing.T)   { testSums[int32](t) }
func TestSumsInt64(t *testing.T)   { testSums[int64](t) }
func TestSumsFloat32(t *testing.T) { testSums[float32](t) }

// TestSumsWrap holds invariant 4: integer sums wrap at every hop and never
// saturate.
func TestSumsWrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := [][]int32{{math.MaxInt32, math.MinInt32}, {math.MaxInt32, math.MinInt32}, {5, -5}}
		s := newSimulation(t, Config{Operation: AllReduce}, in)
		s.run(t)
		if want := []int32{3, -5}; !slices.Equal(s.vectors[1], want) {
			t.Fatalf("got %v, want %v", s.vectors[1], want)
		}
	})
}

func TestSegmentsPartitionTheVector(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, ranks := rapid.IntRange(0, wire.MaxDim+1).Draw(t, "n"), rapid.IntRange(1, wire.MaxRanks).Draw(t, "ranks")
		end := 0
		for s := range ranks {
			lo, hi := SegmentBounds(n, ranks, s)
			if lo != end || hi-lo < n/ranks || hi-lo > n/ranks+1 {
				t.Fatalf("segment %d of %d is %d to %d", s, ranks, lo, hi)
			}
			end = hi
		}
		if end != n {
			t.Fatalf("segments end at %d of %d", end, n)
		}
	})
}

func TestImpossibleRingsAreRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"no operation":  {Ranks: 1},
		"no ranks":      {Operation: AllReduce},
		"rank":          {Operation: AllReduce, Ranks: 2, Rank: 2},
		"negative rank": {Operation: AllReduce, Ranks: 2, Rank: -1},
		"ranks":         {Operation: AllReduce, Ranks: wire.MaxRanks + 1},
		"chunk":         {Operation: AllReduce, Ranks: 1, ChunkSize: 12},
		"large chunk":   {Operation: AllReduce, Ranks: 1, ChunkSize: wire.ChunkSize + 8},
	} {
		if _, err := New(c, []int32{1}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestStepAllocatesNothing covers what the package itself does for a chunk:
// check, sum, encode, seal.
func TestStepAllocatesNothing(t *testing.T) {
	const ranks, chunks = 3, 64
	v := make([]int32, ranks*chunks*64)
	c := Config{Operation: ReduceScatter, Rank: 1, Ranks: ranks, ChunkSize: 256}
	r, err := New(c, v)
	if err != nil {
		t.Fatal(err)
	}
	link := &oneChunk{}
	s := shell[int32]{ring: r, link: link, buffer: make([]byte, wire.HeaderSize+wire.ChunkSize)}
	link.b = make([]byte, wire.HeaderSize+256)
	index := uint32(0)
	n := testing.AllocsPerRun(chunks-1, func() {
		header := r.header(wire.Reduce, 0, int(index), 0)
		header.Seal(link.b)
		if err := s.receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		index++
	})
	if n != 0 {
		t.Errorf("%v allocations a chunk", n)
	}
	if link.sent != chunks {
		t.Errorf("%d chunks were passed on, want %d", link.sent, chunks)
	}
}
