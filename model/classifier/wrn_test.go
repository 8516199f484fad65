package classifier

import (
	"math"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
)

// TestSizeOfWRN holds the network against the paper's: WRN-16-4 has 2.7 million
// parameters for 3 channels and 10 classes (2.75 by formula), and its start against
// the variance that it should have.
func TestSizeOfWRN(t *testing.T) {
	n, err := newNet(WRN, device.Shape{C: 3, H: 32, W: 32}, 10)
	if err != nil {
		t.Fatal(err)
	}
	convolutions, norms := map[string]int{}, 0
	for _, p := range n.gradient.Params() {
		switch {
		case len(p.Dims) == 4:
			convolutions[map[int]string{1: "1x1", 3: "3x3"}[p.Dims[2]]]++
		case len(p.Dims) == 1 && strings.HasSuffix(p.Name, ".weight"):
			norms++
		}
	}
	// a stem and two in each of six blocks; a shortcut where the width changes
	if convolutions["3x3"] != 13 || convolutions["1x1"] != 3 || norms != 13 {
		t.Errorf("convolutions %v, %d norms", convolutions, norms)
	}
	if got := n.gradient.Trainable(); got != 2_748_890 {
		t.Errorf("%d parameters, want 2748890", got)
	}
	if got := n.forward.FLOPs() / 1_000_000; got != 715 { // 785 with the taps in the padding
		t.Errorf("%d MFLOP forward at 32x32, want 715", got)
	}
	flat := n.initial(draws.New(draws.SeedKey(1, "")))
	for _, p := range n.gradient.Params() {
		sum, squares := 0.0, 0.0
		for _, v := range flat[p.Offset : p.Offset+p.Len()] {
			sum, squares = sum+float64(v), squares+float64(v)*float64(v)
		}
		mean := sum / float64(p.Len())
		switch {
		case len(p.Dims) > 1: // six standard errors of a mean and of a variance: 1e-8
			variance, n := 2*float64(p.Dims[0])/float64(p.Len()), float64(p.Len())
			if math.Abs(mean) > 6*math.Sqrt(variance/n) || math.Abs(squares/n/variance-1) > 6*math.Sqrt(2/n) {
				t.Errorf("%s starts with mean %v and mean square %v, want 0 and %v", p.Name, mean, squares/n, variance)
			}
		case strings.HasSuffix(p.Name, ".weight") && mean != 1, strings.HasSuffix(p.Name, ".bias") && squares != 0:
			t.Errorf("%s starts at %v", p.Name, mean)
		}
	}
}

// TestWRNLearns what a few images show. Their class means tell nothing.
func TestWRNLearns(t *testing.T) {
	images := makeBars(48, 1, 8, 1)
	c := quick(2)
	c.Network, c.Epochs, c.Batch = WRN, 6, 12
	if got := Accuracy(images, predict(t, train(t, images, c), images)); got < 0.9 {
		t.Errorf("accuracy %v on the images that it was trained on", got)
	}
}
