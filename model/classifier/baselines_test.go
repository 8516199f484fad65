package classifier

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// points are images of 1x1x2 bytes.
type points struct {
	images [][]uint8
	labels []int
}

func (p points) Len() int             { return len(p.labels) }
func (p points) Shape() (c, h, w int) { return 1, 1, 2 }
func (p points) Image(i int) []uint8  { return p.images[i] }
func (p points) Label(i int) int      { return p.labels[i] }

func TestBestMapping(t *testing.T) {
	for name, c := range map[string]struct {
		counts   [][]int
		private  []int
		accuracy float64
	}{
		"one to one":     {[][]int{{0, 9}, {8, 1}}, []int{1, 0}, 17.0 / 18},
		"several to one": {[][]int{{5, 1, 0}, {4, 2, 1}, {0, 0, 3}, {0, 0, 0}}, []int{0, 0, 2, 0}, 12.0 / 16},
		"tie":            {[][]int{{2, 2}}, []int{0}, 0.5},
		"nothing":        {nil, nil, 0},
	} {
		private, accuracy := BestMapping(c.counts)
		if !slices.Equal(private, c.private) || math.Abs(accuracy-c.accuracy) > 1e-12 {
			t.Errorf("%s: %v with accuracy %v, want %v with %v", name, private, accuracy, c.private, c.accuracy)
		}
	}
}

func TestConfusionAndAccuracy(t *testing.T) {
	images := points{labels: []int{0, 1, 1, 2, 2}}
	predicted := []int{0, 1, 3, 2, 0}
	want := [][]int{{1, 0, 1}, {0, 1, 0}, {0, 0, 1}, {0, 1, 0}}
	if d := cmp.Diff(want, Confusion(images, predicted, 4, 3)); d != "" {
		t.Errorf("confusion (-want +got):\n%s", d)
	}
	if got := Accuracy(images, predicted); got != 0.6 {
		t.Errorf("accuracy %v, want 0.6", got)
	}
	if got := Accuracy(points{}, nil); got != 0 {
		t.Errorf("accuracy of nothing is %v", got)
	}
}

func TestNearestCentroid(t *testing.T) {
	train := points{
		images: [][]uint8{{0, 0}, {20, 20}, {200, 0}, {240, 20}},
		labels: []int{0, 0, 2, 2}, // class 1 has no image
	}
	n := FitCentroids(train, 3)
	test := points{images: [][]uint8{{100, 10}, {130, 10}, {0, 255}, {255, 255}}}
	test.labels = make([]int, 4)
	if got, want := n.Predict(test), []int{0, 2, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("predicted %v, want %v", got, want)
	}
	if n.means[1] != nil {
		t.Error("a class without images has a mean")
	}
}
