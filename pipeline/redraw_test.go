package pipeline

import (
	"bytes"
	"testing"

	"github.com/dploda/dploda/dataset/drawn"
	"github.com/dploda/dploda/internal/config"
)

// TestRedraw: every image comes back in its copies, each drawn otherwise, under
// its own label, and a seed gives the same bytes.
func TestRedraw(t *testing.T) {
	d := drawn.NewAlphabet(1, 5).Draw(20)
	h := &config.Handwriting{Copies: 3, InkBox: 0.7, Degrees: 10, Scale: 0.1, Shift: 0.05, Stroke: 1, Ink: 1}
	got, err := redraw(d, h, 1)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := redraw(d, h, 1)
	other, _ := redraw(d, h, 2)
	if got.Len() != 60 {
		t.Fatalf("20 images in 3 copies are %d", got.Len())
	}
	for i := range got.Len() {
		if got.Label(i) != d.Label(i/3) {
			t.Fatalf("copy %d has label %d, its image %d", i, got.Label(i), d.Label(i/3))
		}
		if !bytes.Equal(got.Image(i), again.Image(i)) {
			t.Fatalf("copy %d differs between two runs of one seed", i)
		}
		if bytes.Equal(got.Image(i), other.Image(i)) || i%3 > 0 && bytes.Equal(got.Image(i), got.Image(i-1)) {
			t.Fatalf("copy %d was not drawn anew", i)
		}
	}
}
