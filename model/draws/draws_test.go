package draws

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"
	"sync"
	"testing"
)

func testKey() Key { return SeedKey(7, "test") }

func words(d *Draws, id uint64, copy uint16, p Purpose, n int) []uint64 {
	s := d.Stream(id, copy, p)
	out := make([]uint64, n)
	for i := range out {
		out[i] = s.Uint64()
	}
	return out
}

func TestStreamIsAFunctionOfItsNames(t *testing.T) {
	want := words(New(testKey()), 3, 1, Noise, 1000)
	d := New(testKey())
	var wg sync.WaitGroup
	for range 4 { // shared by goroutines, beside streams of other names
		wg.Go(func() {
			if !slices.Equal(words(d, 3, 1, Noise, 1000), want) {
				t.Error("two streams of the same names differ")
			}
		})
	}
	wg.Wait()
	other := map[string][]uint64{
		"id":      words(d, 4, 1, Noise, 1000),
		"copy":    words(d, 3, 2, Noise, 1000),
		"purpose": words(d, 3, 1, Time, 1000),
		"key":     words(New(SeedKey(8, "test")), 3, 1, Noise, 1000),
		"label":   words(New(SeedKey(7, "tesT")), 3, 1, Noise, 1000),
	}
	seen := map[uint64]string{}
	for _, w := range want {
		seen[w] = "the first stream"
	}
	for name, ws := range other {
		for _, w := range ws {
			if first, twice := seen[w]; twice {
				t.Fatalf("the stream of another %s shares a word with %s", name, first)
			}
			seen[w] = name
		}
	}
}

// TestSameBitsEverywhere pins words and normals: a run's bits depend on them.
func TestSameBitsEverywhere(t *testing.T) {
	s := New(testKey()).Stream(1<<40, 9, Noise)
	h := fnv.New64a()
	for range 200_000 { // about 4,000 decided at a strip's edge, 50 in the tail
		_ = binary.Write(h, binary.LittleEndian, math.Float64bits(s.Normal()))
	}
	_ = binary.Write(h, binary.LittleEndian, s.Uint64())
	if got := h.Sum64(); got != 0x76a2f6b42e7a28f6 {
		t.Errorf("hash of the draws = %#x", got)
	}
}

func TestIntnIsUniform(t *testing.T) {
	s := New(testKey()).Stream(0, 0, Time)
	const n, draws = 13, 130_000
	var count [n]int
	for range draws {
		count[s.Intn(n)]++
	}
	chi := 0.0
	for _, c := range count {
		d := float64(c) - draws/n
		chi += d * d / (draws / n)
	}
	if chi > 45 { // 12 degrees of freedom: exceeded by chance with 1e-5
		t.Errorf("chi squared = %v over %v", chi, count)
	}
	for range 100 {
		if got := s.Intn(1); got != 0 {
			t.Fatalf("Intn(1) = %d", got)
		}
		if f := s.Float64(); f < 0 || f >= 1 {
			t.Fatalf("Float64 = %v", f)
		}
		if f := s.Uniform(-2, 5); f < -2 || f >= 5 {
			t.Fatalf("Uniform(-2, 5) = %v", f)
		}
	}
}

func TestPermIsAPermutation(t *testing.T) {
	first := map[int]int{}
	for id := range uint64(3000) {
		p := New(testKey()).Stream(id, 0, Shuffle).Perm(6)
		first[p[0]]++
		slices.Sort(p)
		if !slices.Equal(p, []int{0, 1, 2, 3, 4, 5}) {
			t.Fatalf("not a permutation: %v", p)
		}
	}
	for v, n := range first {
		if math.Abs(float64(n)-500) > 5*math.Sqrt(500*5.0/6) { // false alarm 6 x 6e-7
			t.Errorf("%d comes first %d times of 3000", v, n)
		}
	}
}

func BenchmarkNormals(b *testing.B) {
	d := New(testKey())
	dst := make([]float32, 784)
	b.SetBytes(784) // MB/s reads as million normals a second
	for i := range b.N {
		d.Stream(uint64(i), 0, Noise).Normals(dst)
	}
}
