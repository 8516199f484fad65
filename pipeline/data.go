package pipeline

import (
	"errors"
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
	opened, err := openFiles(d, folder, dataset.Train)
	if err != nil && !d.Public {
		return nil, &ownersError{err.Error()}
	}
	return opened, err
}

// openFiles opens one split of images in files.
func openFiles(d config.Data, folder string, split dataset.Split) (dataset.Dataset, error) {
	opened, err := dataset.Source{
		Kind: d.Kind, Folder: folder, Images: d.Images, Labels: d.Labels, Classes: d.ClassNames,
		Transform: transform(d.Transform), LeaveOut: d.Corrupt == config.CorruptLeaveOut,
	}.Open(split)
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return opened, nil
}

func transform(t config.Transform) dataset.Transform {
	out := dataset.Transform{Channels: t.Channels}
	copy(out.Resize[:], t.Resize)
	copy(out.Crop[:], t.Crop)
	copy(out.Pad[:], t.Pad)
	return out
}

// OwnersEyes begins what only the owner of the data may read.
const OwnersEyes = "for the owner's eyes only: "

// ownersError is what is wrong with private images. What it says may name
// files and counts, which only their owner may see: Error, which goes to logs
// and over the network, says nothing of them.
type ownersError struct{ detail string }

func (*ownersError) Error() string {
	return "the private images cannot be used as they are: what is wrong with them is said on the terminal alone"
}

// ForOwner is an error in the words that the owner of the data may read, which
// say so: for the terminal and nothing else.
func ForOwner(err error) string {
	var private *ownersError
	if errors.As(err, &private) {
		return OwnersEyes + harmless(private.detail)
	}
	return err.Error()
}

// tellOwner says what is odd with private images.
func (r *run) tellOwner() {
	opened, ok := r.train.(*dataset.Opened)
	if !ok || r.opts.Owner == nil {
		return
	}
	for _, remark := range opened.Remarks() {
		r.opts.Owner(harmless(remark)) // names of files are whatever somebody chose
	}
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
	return openFiles(d, folder, dataset.Test)
}

// openUnits opens the unit file of the images to train on; without one each
// image is a unit. folder is openTrain's.
func openUnits(d config.Data, folder string, train dataset.Dataset) (*dataset.Units, error) {
	if d.Units == "" {
		return dataset.EachImage(train.Len()), nil
	}
	path := d.Units
	if !filepath.IsAbs(path) {
		folder, err := dataFolder(d, folder)
		if err != nil {
			return nil, err
		}
		path = filepath.Join(folder, path)
	}
	if opened, ok := train.(*dataset.Opened); ok && opened.Names != nil {
		return dataset.OpenNamedUnits(path, opened)
	}
	return dataset.OpenUnits(path, train.Len())
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
