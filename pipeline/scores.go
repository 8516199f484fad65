package pipeline

import (
	"github.com/dploda/dploda/model/classifier"
)

// Scores is how a classifier did on labelled images.
type Scores struct {
	Images int `json:"images"`
	// Right is the share that it classifies rightly.
	Right   float64      `json:"right"`
	Classes []ClassScore `json:"classes"`
	// Confusion counts images by their class (row) and the predicted one
	// (column); absent above mostConfused classes.
	Confusion [][]int `json:"confusion,omitempty"`
}

// ClassScore is one class's part.
type ClassScore struct {
	Name   string `json:"name"`
	Images int    `json:"images"` // of the class
	// Recall is the share of the class's images that are predicted to be of it;
	// null if it has none.
	Recall *float64 `json:"recall"`
	// Precision is the share of the images predicted to be of the class that are;
	// null if there are none.
	Precision *float64 `json:"precision"`
}

// mostConfused is the number of classes up to which a report holds a whole
// confusion matrix.
const mostConfused = 256

// newScores compares the predicted classes of images with their labels.
func newScores(images classifier.Images, predicted []int, names []string) *Scores {
	n := len(names)
	s := &Scores{Images: len(predicted), Right: classifier.Accuracy(images, predicted)}
	of, as, right := make([]int, n), make([]int, n), make([]int, n)
	for i, p := range predicted {
		label := images.Label(i)
		of[label]++
		as[p]++
		if p == label {
			right[label]++
		}
	}
	for k, name := range names {
		s.Classes = append(s.Classes, ClassScore{name, of[k], share(right[k], of[k]), share(right[k], as[k])})
	}
	if n <= mostConfused {
		s.Confusion = make([][]int, n)
		for k := range s.Confusion {
			s.Confusion[k] = make([]int, n)
		}
		for i, p := range predicted {
			s.Confusion[images.Label(i)][p]++
		}
	}
	return s
}

func share(part, all int) *float64 {
	if all == 0 {
		return nil
	}
	v := float64(part) / float64(all)
	return &v
}
