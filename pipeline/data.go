package pipeline

import (
	"fmt"
	"path/filepath"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dataset/drawn"
	"github.com/dploda/dploda/internal/config"
)

// openTrain opens the images to train on. folder, if given, takes the place of
// the config's.
func openTrain(d config.Data, folder string) (dataset.Dataset, error) {
	switch d.Kind {
	case config.KindDrawnPrivate:
		return drawn.Shapes(d.Seed, d.TrainImages), nil
	case config.KindDrawnPublic:
		return drawn.NewAlphabet(d.Seed, d.Classes).Draw(d.TrainImages), nil
	case config.KindDrawnObjects:
		return drawn.NewObjects(d.Seed, d.Classes).Draw(d.TrainImages), nil
	}
	folder, err := dataFolder(d, folder)
	if err != nil {
		return nil, err
	}
	if len(d.Images) > 0 {
		return dataset.OpenIdxFiles(inFolder(folder, d.Images), inFolder(folder, d.Labels), d.ClassNames)
	}
	return dataset.OpenIdx(folder, dataset.Train, d.ClassNames)
}

// openTest opens the real held-out images. Only data declared public have
// exact accuracies, so nothing else opens it.
func openTest(d config.Data, folder string) (dataset.Dataset, error) {
	if d.Kind == config.KindDrawnPrivate {
		// The generator's seeds are independent: the next one draws others.
		return drawn.Shapes(d.Seed+1, d.TestImages), nil
	}
	folder, err := dataFolder(d, folder)
	if err != nil {
		return nil, err
	}
	return dataset.OpenIdx(folder, dataset.Test, d.ClassNames)
}

// openUnits opens the unit file of the n images to train on; without one each
// image is a unit. folder is openTrain's.
func openUnits(d config.Data, folder string, n int) (*dataset.Units, error) {
	if d.Units == "" {
		return dataset.EachImage(n), nil
	}
	path := d.Units
	if !filepath.IsAbs(path) {
		folder, err := dataFolder(d, folder)
		if err != nil {
			return nil, err
		}
		path = filepath.Join(folder, path)
	}
	return dataset.OpenUnits(path, n)
}

func dataFolder(d config.Data, folder string) (string, error) {
	if folder == "" {
		folder = d.Folder
	}
	if folder == "" {
		return "", fmt.Errorf("the config reads images from a folder but names none: give --data DIR or data.folder")
	}
	return filepath.Abs(folder)
}

func inFolder(folder string, names []string) []string {
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = filepath.Join(folder, n)
	}
	return paths
}

// exportDrawn writes the demo's drawn sets under MNIST's file names.
func exportDrawn(d config.Data, folder string, train, test dataset.Dataset) error {
	if d.Kind != config.KindDrawnPrivate {
		return fmt.Errorf("--export-data writes drawn data; the data of kind %s are files already", d.Kind)
	}
	if err := dataset.WriteIdx(folder, dataset.Train, train); err != nil {
		return err
	}
	return dataset.WriteIdx(folder, dataset.Test, test)
}

// classNames are the classes that a run's config declares; which labels occur
// is never read off private data.
func classNames(d config.Data) []string {
	if d.Kind == config.KindDrawnPrivate {
		return drawn.ShapeNames()
	}
	return d.ClassNames
}
