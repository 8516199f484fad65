package drawn

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"testing"

	"github.com/dploda/dploda/dataset"
)

// TestSameBytesEverywhere: the hash was made on amd64; another machine or
// compiler that draws otherwise fails here.
func TestSameBytesEverywhere(t *testing.T) {
	for _, c := range []struct {
		name string
		d    *dataset.Memory
		want string
	}{
		{"shapes", Shapes(1, 200), "88e9426c5c0d7ff1"},
		{"characters", NewAlphabet(1, 50).Draw(200), "58fc5089355f0599"},
		{"objects", NewObjects(1, 50).Draw(200), "cbf55fa8aab5c4e1"},
	} {
		h := sha256.New()
		for i := range c.d.Len() {
			h.Write(c.d.Image(i))
		}
		if got := hex.EncodeToString(h.Sum(nil)[:8]); got != c.want {
			t.Errorf("%s have hash %s, want %s", c.name, got, c.want)
		}
	}
}

func TestADrawingDependsOnSeedClassAndNumberAlone(t *testing.T) {
	short, long := Shapes(5, 30), Shapes(5, 70)
	for i := range short.Len() {
		if !bytes.Equal(short.Image(i), long.Image(i)) {
			t.Fatalf("shape %d depends on how many are drawn", i)
		}
	}
	few, many := NewAlphabet(5, 7).Draw(21), NewAlphabet(5, 9).Draw(27)
	for number := range 3 {
		for class := range 7 {
			if !bytes.Equal(few.Image(number*7+class), many.Image(number*9+class)) {
				t.Fatalf("drawing %d of character %d depends on the number of classes", number, class)
			}
		}
	}
	some, more := NewObjects(5, 7).Draw(21), NewObjects(5, 9).Draw(27)
	for number := range 3 {
		for class := range 7 {
			if !bytes.Equal(some.Image(number*7+class), more.Image(number*9+class)) {
				t.Fatalf("drawing %d of object %d depends on the number of classes", number, class)
			}
		}
	}
	seen := map[string]bool{}
	for _, d := range []*dataset.Memory{long, Shapes(6, 70), many, NewAlphabet(6, 9).Draw(27), more, NewObjects(6, 9).Draw(27)} {
		for i := range d.Len() {
			seen[string(d.Image(i))] = true
		}
	}
	if len(seen) != 2*70+4*27 {
		t.Errorf("%d different drawings of %d", len(seen), 2*70+4*27)
	}
}

func TestShapesAreBalancedAndLabelled(t *testing.T) {
	d := Shapes(1, 1000)
	count := make([]int, len(d.Classes()))
	for i := range d.Len() {
		count[d.Label(i)]++
	}
	for class, n := range count {
		if n != 100 {
			t.Errorf("%d drawings of %s", n, d.Classes()[class])
		}
	}
}

// TestDrawingsStayOnPaper: each has ink, little of it at the border.
func TestDrawingsStayOnPaper(t *testing.T) {
	for name, d := range map[string]*dataset.Memory{
		"shapes": Shapes(2, 2000), "characters": NewAlphabet(2, 100).Draw(2000),
	} {
		atBorder := 0
		for i := range d.Len() {
			var ink, border int
			for p, v := range d.Image(i) {
				if v < 128 {
					continue
				}
				ink++
				if x, y := p%Side, p/Side; x == 0 || y == 0 || x == Side-1 || y == Side-1 {
					border++
				}
			}
			if ink < 30 || ink > 450 {
				t.Errorf("%s: drawing %d (%s) has %d dark pixels", name, i, d.Classes()[d.Label(i)], ink)
			}
			if border > 2 {
				atBorder++
			}
		}
		if atBorder > d.Len()/20 {
			t.Errorf("%s: %d of %d drawings are cut by the border", name, atBorder, d.Len())
		}
	}
}

// TestTheTaskIsARealOne: class means must not solve it.
func TestTheTaskIsARealOne(t *testing.T) {
	train, test := Shapes(11, 5000), Shapes(12, 2000)
	classes := len(train.Classes())
	means := make([][]float64, classes)
	for k := range means {
		means[k] = make([]float64, Side*Side)
	}
	for i := range train.Len() {
		for p, v := range train.Image(i) {
			means[train.Label(i)][p] += float64(v) * float64(classes) / float64(train.Len())
		}
	}
	right := 0
	for i := range test.Len() {
		best, nearest := math.Inf(1), -1
		for k, mean := range means {
			var distance float64
			for p, v := range test.Image(i) {
				d := float64(v) - mean[p]
				distance += d * d
			}
			if distance < best {
				best, nearest = distance, k
			}
		}
		if nearest == test.Label(i) {
			right++
		}
	}
	accuracy := float64(right) / float64(test.Len())
	t.Logf("nearest centroid: %.3f", accuracy)
	if accuracy < 0.5 || accuracy > 0.83 {
		t.Errorf("a nearest-centroid classifier reaches %.3f, want 0.5 to 0.83", accuracy)
	}
}

func TestSincos(t *testing.T) {
	for i := -1000; i <= 1000; i++ {
		turns := float64(i) / 300
		s, c := sincos(turns)
		if math.Abs(s-math.Sin(2*math.Pi*turns)) > 1e-12 || math.Abs(c-math.Cos(2*math.Pi*turns)) > 1e-12 {
			t.Fatalf("sincos(%v) = %v, %v", turns, s, c)
		}
	}
}

func TestStream(t *testing.T) {
	const n = 100_000
	s := newStream(1, 2)
	var sum, squares float64
	count := make([]int, 5)
	for range n {
		v := s.normal(2)
		sum += v
		squares += v * v
		count[s.below(5)]++
		if u := s.uniform(3, 4); u < 3 || u >= 4 {
			t.Fatalf("uniform(3, 4) = %v", u)
		}
	}
	// Standard errors: 2/√n = 0.006 and about 0.7 % of the deviation.
	if mean, deviation := sum/n, math.Sqrt(squares/n); math.Abs(mean) > 0.03 || math.Abs(deviation-2) > 0.03 {
		t.Errorf("normal(2) has mean %v and deviation %v", mean, deviation)
	}
	for k, c := range count { // standard error √(n·0.16) = 126
		if c < n/5-650 || c > n/5+650 {
			t.Errorf("below(5) gives %d %d times of %d", k, c, n)
		}
	}
	if newStream(1, 2).next() == newStream(2, 1).next() {
		t.Error("the order of a key's parts does not matter")
	}
}

func BenchmarkShapes(b *testing.B) {
	for b.Loop() {
		Shapes(1, 1000)
	}
}
