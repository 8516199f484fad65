package drawn

import "testing"

// TestObjectsAreFilled: an object covers a part of its paper, neither nearly
// nothing nor all; strokes of a pen cover far less than most of these.
func TestObjectsAreFilled(t *testing.T) {
	d := NewObjects(3, 100).Draw(300)
	total := 0.0
	for i := range d.Len() {
		covered := 0
		for _, p := range d.Image(i) {
			if p > 25 {
				covered++
			}
		}
		share := float64(covered) / (Side * Side)
		if total += share; share < 0.02 || share > 0.98 {
			t.Errorf("object %d covers %.3f of the paper", i, share)
		}
	}
	if mean := total / float64(d.Len()); mean < 0.25 || mean > 0.6 {
		t.Errorf("objects cover %.2f of the paper on average", mean)
	}
}

// TestMirroredOutlineIsSymmetric holds the body's construction: each point on
// the right has its image on the left, and the outline does not cross itself.
func TestMirroredOutlineIsSymmetric(t *testing.T) {
	l := bothHalves([]point{{0.5, 1}, {-0.2, -1}, {0.7, 0}})
	want := []point{{0.2, -1}, {0.7, 0}, {0.5, 1}, {-0.5, 1}, {-0.7, 0}, {-0.2, -1}}
	if len(l) != len(want) {
		t.Fatalf("%d points, want %d", len(l), len(want))
	}
	for i := range l {
		if l[i] != want[i] {
			t.Errorf("point %d is %v, want %v", i, l[i], want[i])
		}
	}
}

// TestInsideByKnownSquare counts the pixels of a square.
func TestInsideByKnownSquare(t *testing.T) {
	square := line{{4, 6}, {10, 6}, {10, 12}, {4, 12}, {4, 6}}
	for i := range Side * Side {
		x, y := i%Side, i/Side
		if want := x >= 4 && x < 10 && y >= 6 && y < 12; inside(square, i) != want {
			t.Errorf("pixel %d,%d: inside %v, want %v", x, y, !want, want)
		}
	}
}
