package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func sealed(c Chunk, payload string) []byte {
	b := append(make([]byte, HeaderSize), payload...)
	c.Seal(b)
	return b
}

var chunk = Chunk{
	Phase: Reduce, Type: Int32, Generation: 1 << 40, Step: 1 << 33, Attempt: 3, Ranks: 8, Hop: 5,
	Segment: 7, Index: 2, Offset: 90, Count: 2, Length: 92,
}

func TestChunksRoundTrip(t *testing.T) {
	got, payload, err := OpenChunk(sealed(chunk, "01234567"))
	if err != nil || got != chunk || string(payload) != "01234567" {
		t.Fatalf("got %+v, %q, %v", got, payload, err)
	}
}

func TestDamagedChunksAreRefused(t *testing.T) {
	whole := sealed(chunk, "01234567")
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if _, _, err := OpenChunk(b); err == nil {
			t.Fatalf("bit %d flipped: accepted", bit)
		}
	}
	for n := range whole {
		if _, _, err := OpenChunk(whole[:n]); err == nil {
			t.Fatalf("cut to %d bytes: accepted", n)
		}
	}
	if _, _, err := OpenChunk(sealed(chunk, string(make([]byte, ChunkSize+4)))); err == nil {
		t.Error("an oversized chunk was accepted")
	}
}

func TestImpossibleChunksAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Chunk){
		"phase":            func(c *Chunk) { c.Phase = 9 },
		"type":             func(c *Chunk) { c.Type = 0 },
		"count":            func(c *Chunk) { c.Count = 3 },
		"count that wraps": func(c *Chunk) { c.Count = 1<<30 + 2 },
		"no ranks":         func(c *Chunk) { c.Ranks = 0 },
		"segment":          func(c *Chunk) { c.Segment = 8 },
		"hop":              func(c *Chunk) { c.Hop = 8 },
		"outside":          func(c *Chunk) { c.Offset = 91 },
		"far outside":      func(c *Chunk) { c.Offset = 1<<64 - 1 },
		"vector too long":  func(c *Chunk) { c.Length = MaxDim + 2 },
	} {
		c := chunk
		change(&c)
		if _, _, err := OpenChunk(sealed(c, "01234567")); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSealAllocatesNothing(t *testing.T) {
	b := make([]byte, HeaderSize+ChunkSize)
	c := Chunk{Phase: Segment, Type: Float32, Ranks: 1, Count: ChunkSize / 4, Length: ChunkSize / 4}
	if n := testing.AllocsPerRun(10, func() {
		c.Seal(b)
		if _, _, err := OpenChunk(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a chunk", n)
	}
}

func TestSubjectsNameTheirSender(t *testing.T) {
	s := Subjects{Run: "r1"}
	for _, c := range []struct {
		subject, worker, session string
		ok                       bool
	}{
		{s.Up("w-1", "ab"), "w-1", "ab", true},
		{s.Beat("w-1", "ab"), "w-1", "ab", true},
		{s.Shard("w-1", 7, 0), "w-1", "7", true},
		{"dp.r2.up.w-1.ab", "", "", false},
		{"dp.r1.up.w-1", "", "", false},
		{"dp.r1.up..ab", "", "", false},
		{"", "", "", false},
	} {
		worker, session, ok := s.Sender(c.subject)
		if worker != c.worker || session != c.session || ok != c.ok {
			t.Errorf("Sender(%q) = %q, %q, %v", c.subject, worker, session, ok)
		}
	}
}

func FuzzOpenChunk(f *testing.F) {
	f.Add(sealed(chunk, "01234567"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= HeaderSize {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[56:], chunkSum(b))
		}
		c, payload, err := OpenChunk(b)
		if err != nil {
			return
		}
		if again := sealed(c, string(payload)); !bytes.Equal(again, b) {
			t.Fatal("a chunk has two encodings")
		}
	})
}
