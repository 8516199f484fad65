package prototype

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPoolIsTheAreaMean(t *testing.T) {
	image := []uint8{
		0, 255, 255, 255,
		0, 255, 255, 255,
		0, 0, 51, 51,
		0, 0, 51, 51,
	}
	got := Pool(image, 1, 4, 4, 2)
	for i, want := range []float64{0.5, 1, 0, 0.2} {
		if math.Abs(float64(got[i])-want) > 1e-6 {
			t.Errorf("pixel %d is %v, want %v", i, got[i], want)
		}
	}
	// A side that does not divide shares the middle pixels; total ink stays.
	var ink float32
	for _, v := range Pool(image, 1, 4, 4, 3) {
		ink += v
	}
	if want := float32(6*255+4*51) / 255 / 16 * 9; math.Abs(float64(ink-want)) > 1e-5 {
		t.Errorf("ink %v after pooling to 3x3, want %v", ink, want)
	}
}

// sumsOf is the vector that contributions add up to.
func sumsOf(c *Centers, images [][]float32, class int) []float64 {
	sums := make([]float64, c.Spec.Dim())
	for _, im := range images {
		one := make([]float32, c.Spec.Dim())
		c.Contribute(one, im, class)
		for i, v := range one {
			sums[i] += float64(v)
		}
	}
	return sums
}

// TestUpdateFindsTwoClusters runs the rounds on images of two kinds and looks
// for both among the centres.
func TestUpdateFindsTwoClusters(t *testing.T) {
	s := Spec{Classes: 2, Clusters: 2, Side: 4, Rounds: 4}
	left, top := make([]float32, 16), make([]float32, 16)
	for i := range 16 {
		if i%4 < 2 {
			left[i] = 0.9
		}
		if i < 8 {
			top[i] = 0.9
		}
	}
	c := New(s)
	images := [][]float32{left, left, left, top}
	for range s.Rounds {
		if err := c.Update(sumsOf(c, images, 1), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, im := range [][]float32{left, top} {
		k := c.Nearest(im, 1)
		for i, p := range c.Center(1, k) {
			if math.Abs(float64(p-im[i])) > 1e-5 {
				t.Fatalf("centre %d is %v, want %v", k, c.Center(1, k), im)
			}
		}
		want := map[int]float32{c.Nearest(left, 1): 0.75, c.Nearest(top, 1): 0.25}[k]
		if got := c.Weights[2+k]; math.Abs(float64(got-want)) > 1e-5 {
			t.Errorf("weight %v, want %v", got, want)
		}
	}
}

// TestContributionIsWithinTheNorm holds the public bound that the privacy
// stage clips to: an image of a third of full ink is not cut.
func TestContributionIsWithinTheNorm(t *testing.T) {
	s := Spec{Classes: 3, Clusters: 2, Side: 14, Rounds: 2}
	im := make([]float32, 196)
	for i := range 31 { // 0.158 of the pixels
		im[i] = 1
	}
	one := make([]float32, s.Dim())
	New(s).Contribute(one, im, 2)
	var sq float64
	for _, v := range one {
		sq += float64(v) * float64(v)
	}
	if norm := math.Sqrt(sq); norm > s.Norm() || norm < 0.9*s.Norm() {
		t.Errorf("norm %v, bound %v", norm, s.Norm())
	}
}

func TestUpdateRefusesAnotherShape(t *testing.T) {
	if err := New(Spec{Classes: 2, Clusters: 1, Side: 4, Rounds: 1}).Update(make([]float64, 3), 0); err == nil {
		t.Error("3 sums were taken for 34")
	}
}

func TestBinaryRoundTrip(t *testing.T) {
	s := Spec{Classes: 2, Clusters: 2, Side: 3, Rounds: 2}
	c := New(s)
	if err := c.Update(sumsOf(c, [][]float32{{1, 0, .5, 1, 0, .25, 1, 1, 1}}, 0), 0.01); err != nil {
		t.Fatal(err)
	}
	data, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	back := New(s)
	if err := back.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back); diff != "" {
		t.Error(diff)
	}
	if back.UnmarshalBinary(data[1:]) == nil {
		t.Error("a truncated encoding was taken")
	}
	if New(Spec{Classes: 2, Clusters: 2, Side: 3, Rounds: 3}).UnmarshalBinary(data) == nil {
		t.Error("prototypes of another shape were taken")
	}
}
