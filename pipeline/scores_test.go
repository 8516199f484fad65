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

// TestClassifiersThatCannotBeAreRefused before the first step, not after the last.
//
// Tried: without the check the run of one class fails in its report.
func TestClassifiersThatCannotBeAreRefused(t *testing.T) {
	one := []string{"class_names: [a, b, c]", "class_names: [a]", "prototypes: {clusters: 2, rounds: 2, noise_multiplier: 20, size: 8}\n", "", "batch: 16", everyone}
	_, err := resolve(tinySpec(t, one...))
	if want := "evaluate.classifiers: a classifier needs at least two classes, not 1; an empty list trains none"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := resolve(tinySpec(t, append(one, "evaluate: {epochs: 1}", "evaluate: {classifiers: []}")...)); err != nil {
		t.Errorf("without classifiers: %v", err)
	}
	if _, err := resolve(tinySpec(t, "evaluate: {epochs: 1}", "evaluate: {classifiers: [cnn, wrn-16-4]}", "batch: 16", everyone)); err != nil {
		t.Errorf("with both: %v", err)
	}
}
