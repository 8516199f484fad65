package pipeline

import (
	"context"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/classifier"
)

// judge scores training sets by the classifiers that they make. No held-out
// real image chooses anything: the epoch is chosen on a part of the training set.
type judge struct {
	dev     device.Device
	config  classifier.Config // its network judges the rows beside ours
	test    dataset.Dataset   // real held-out images; nil for private data
	observe func(name string, done, total int)
}

// classify trains a network on the synthetic images and says how it does on those
// of them that it did not see and, where the data are public, on real ones.
func (j *judge) classify(ctx context.Context, network classifier.Network, images dataset.Dataset) (*ClassifierReport, error) {
	c := j.config
	c.Network = network
	trained, err := j.train(ctx, "the synthetic images ("+string(network)+")", images, c)
	if err != nil {
		return nil, err
	}
	names := images.Classes()
	r := &ClassifierReport{
		Name: string(network), Network: network.Describe(), Parameters: trained.Parameters(),
		Epochs: c.Epochs, ChosenEpoch: trained.Epoch, TrainedImages: images.Len() - len(trained.HeldOut),
	}
	if len(trained.HeldOut) > 0 {
		heldOut := chosen{images, trained.HeldOut}
		predicted, err := trained.Predict(ctx, heldOut)
		if err != nil {
			return nil, err
		}
		r.HeldOut = newScores(heldOut, predicted, names)
	}
	if j.test != nil {
		predicted, err := trained.Predict(ctx, j.test)
		if err != nil {
			return nil, err
		}
		r.Test = newScores(j.test, predicted, names)
	}
	return r, nil
}

// score is the accuracy on the held-out images of a classifier trained on
// images whose labels are the private classes.
func (j *judge) score(ctx context.Context, name string, images dataset.Dataset) (float64, error) {
	predicted, err := j.predict(ctx, name, images)
	if err != nil {
		return 0, err
	}
	return classifier.Accuracy(j.test, predicted), nil
}

// scoreMapped is the same for images of public classes: each public class
// counts as the private one that it serves best, chosen with the held-out
// labels in sight, so that the figure flatters.
func (j *judge) scoreMapped(ctx context.Context, name string, images dataset.Dataset) (float64, error) {
	predicted, err := j.predict(ctx, name, images)
	if err != nil {
		return 0, err
	}
	counts := classifier.Confusion(j.test, predicted, len(images.Classes()), len(j.test.Classes()))
	_, accuracy := classifier.BestMapping(counts)
	return accuracy, nil
}

func (j *judge) predict(ctx context.Context, name string, images dataset.Dataset) ([]int, error) {
	trained, err := j.train(ctx, name, images, j.config)
	if err != nil {
		return nil, err
	}
	return trained.Predict(ctx, j.test)
}

func (j *judge) train(ctx context.Context, name string, images dataset.Dataset, c classifier.Config) (*classifier.Classifier, error) {
	c.Classes = len(images.Classes())
	if j.observe != nil {
		c.Observe = func(done, total int) { j.observe(name, done, total) }
	}
	return classifier.Train(ctx, j.dev, images, c)
}

// nearestCentroid is the accuracy of the real images' class means.
func (j *judge) nearestCentroid(real dataset.Dataset) float64 {
	centroids := classifier.FitCentroids(real, len(real.Classes()))
	return classifier.Accuracy(j.test, centroids.Predict(j.test))
}

// first is the first n examples of d, or all.
func first(d dataset.Dataset, n int) dataset.Dataset {
	return prefix{d, min(n, d.Len())}
}

type prefix struct {
	dataset.Dataset
	n int
}

func (p prefix) Len() int { return p.n }

// chosen are the examples of a data set with the given indices.
type chosen struct {
	dataset.Dataset
	ids []int
}

func (c chosen) Len() int            { return len(c.ids) }
func (c chosen) Image(i int) []uint8 { return c.Dataset.Image(c.ids[i]) }
func (c chosen) Label(i int) int     { return c.Dataset.Label(c.ids[i]) }
