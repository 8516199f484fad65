package pipeline

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dploda/dploda/dataset"
)

// labelled are n one-pixel images with the given labels.
func labelled(t *testing.T, classes []string, labels ...uint16) *dataset.Memory {
	t.Helper()
	d, err := dataset.NewMemory(1, 1, 1, classes, make([]uint8, len(labels)), labels)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestScores holds recall, precision and confusion against counts by hand.
//
// Tried: recall and precision exchanged, and the matrix transposed.
func TestScores(t *testing.T) {
	names := []string{"a", "b", "never", "absent"}
	d := labelled(t, names, 0, 0, 0, 0, 1, 1, 2)
	got := newScores(d, []int{0, 0, 0, 1, 1, 3, 0}, names)
	quarters, half, zero := 3.0/4, 1.0/2, 0.0
	want := &Scores{
		Images: 7, Right: 4.0 / 7,
		Classes: []ClassScore{
			{"a", 4, &quarters, &quarters},
			{"b", 2, &half, &half},
			{"never", 1, &zero, nil},
			{"absent", 0, nil, &zero},
		},
		Confusion: [][]int{{3, 1, 0, 0}, {0, 1, 0, 1}, {1, 0, 0, 0}, {0, 0, 0, 0}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	many := make([]string, mostConfused+1)
	if s := newScores(labelled(t, many, 3), []int{3}, many); s.Confusion != nil || len(s.Classes) != len(many) || math.Abs(s.Right-1) > 0 {
		t.Errorf("%d classes: %d rows of a matrix", len(many), len(s.Confusion))
	}
}
