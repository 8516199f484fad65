package classifier

import (
	"context"
	"fmt"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/batch"
	"github.com/dploda/dploda/model/diffusion"
)

// Classifier is a trained network. One call at a time.
type Classifier struct {
	// Epoch, from 1, is the one whose weights it has.
	Epoch int
	// HeldOut are the indices of the training images that it was not trained on.
	HeldOut []int

	net     *net
	exe     device.Executable
	runner  *batch.Runner
	weights []float32
}

func newClassifier(dev device.Device, n *net, threads int) (*Classifier, error) {
	exe, err := dev.Compile(n.forward)
	if err != nil {
		return nil, err
	}
	runner, err := batch.New(exe, dev.Lanes(), threads)
	if err != nil {
		return nil, err
	}
	return &Classifier{net: n, exe: exe, runner: runner}, nil
}

func (c *Classifier) set(weights []float32) error {
	c.weights = weights
	return c.exe.SetTrainable(weights)
}

// Parameters is the number of trained values.
func (c *Classifier) Parameters() int { return c.net.gradient.Trainable() }

// Predict returns the class of each image.
func (c *Classifier) Predict(ctx context.Context, images Images) ([]int, error) {
	if ch, h, w := images.Shape(); (device.Shape{C: ch, H: h, W: w}) != c.net.shape {
		s := c.net.shape
		return nil, fmt.Errorf("the classifier was trained on images of %dx%dx%d and cannot take %dx%dx%d", s.C, s.H, s.W, ch, h, w)
	}
	all := make([]int, images.Len())
	for i := range all {
		all[i] = i
	}
	return c.predict(ctx, images, all)
}

// predict returns the classes of the images with the given indices.
func (c *Classifier) predict(ctx context.Context, images Images, ids []int) ([]int, error) {
	predicted := make([]int, len(ids))
	load := func(s device.Stream, lane, i int) error {
		values := make([]float32, c.net.shape.Len())
		diffusion.Levels(values, images.Image(ids[i]))
		return s.SetInput(imageInput, lane, values)
	}
	read := func(s device.Stream, lane, i int) error {
		scores := make([]float32, c.net.classes)
		if err := s.Output(logits, lane, scores); err != nil {
			return err
		}
		predicted[i] = largest(scores)
		return nil
	}
	return predicted, c.runner.Forward(ctx, len(ids), load, read)
}

// largest is the index of the first largest score.
func largest(scores []float32) int {
	best := 0
	for i, s := range scores {
		if s > scores[best] {
			best = i
		}
	}
	return best
}

// Accuracy is the share of images whose label is predicted.
func Accuracy(images Images, predicted []int) float64 {
	right := 0
	for i, p := range predicted {
		if p == images.Label(i) {
			right++
		}
	}
	return float64(right) / float64(max(len(predicted), 1))
}

// Confusion counts images by predicted class (row) and label (column).
func Confusion(images Images, predicted []int, predictions, labels int) [][]int {
	counts := make([][]int, predictions)
	for i := range counts {
		counts[i] = make([]int, labels)
	}
	for i, p := range predicted {
		counts[p][images.Label(i)]++
	}
	return counts
}
