package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/model/augment"
	"github.com/dploda/dploda/model/classifier"
)

// tinyFeatures writes those of a classifier of tinyImages.
func tinyFeatures(t testing.TB, dir string) (path string) {
	t.Helper()
	c := classifier.DefaultConfig(3, 1)
	c.Epochs, c.Augment = 1, augment.Affine{}
	trained, err := classifier.Train(context.Background(), NewDevice(), tinyImages(t, 30, 1), c)
	must(t, err)
	path = filepath.Join(dir, featuresFile)
	must(t, trained.SaveFeatures(path, "tiny images"))
	return path
}

// TestFeaturesOfARun: a run's distance is that of its synthetic images; training
// images in their place are exactly as far as the report says of real ones.
//
// Tried: the training set in the place of the held-out one.
func TestFeaturesOfARun(t *testing.T) {
	r := tinyRun(t, "batch: 16", everyone)
	var err error
	r.features, err = loadFeatures(tinyFeatures(t, t.TempDir()), r.base)
	must(t, err)
	r.test, r.synthetic = tinyImages(t, 40, 3), tinyImages(t, 50, 4)
	f, err := r.frechet(context.Background())
	must(t, err)
	if f.SyntheticImages != 50 || f.RealImages != 40 || f.TrainingImages != 50 || f.Features != "a CNN trained on tiny images" || len(f.FeaturesHash) != 64 {
		t.Errorf("%+v", f)
	}
	if !(f.Distance > 0) || f.Distance == f.RealDistance || f.RealDistance < f.Distance/100 {
		t.Errorf("distances %v and %v", f.Distance, f.RealDistance)
	}
	r.synthetic = tinyImages(t, 60, 2) // the training images
	if f, err = r.frechet(context.Background()); err != nil || f.Distance != f.RealDistance {
		t.Errorf("training images are at %v and at %v, %v", f.Distance, f.RealDistance, err)
	}
	r.features = nil
	if f, err := r.frechet(context.Background()); f != nil || err != nil {
		t.Errorf("without features: %v, %v", f, err)
	}
}

func TestFeaturesThatDoNotFitAreRefused(t *testing.T) {
	dir := t.TempDir()
	base, err := LoadBase(builtinPrefix + "demo")
	must(t, err)
	other := tinyFeatures(t, dir)
	damaged := filepath.Join(dir, "damaged.safetensors")
	must(t, os.WriteFile(damaged, []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"), 0o600))
	for source, want := range map[string]string{
		"nothing":         "evaluate.features: open nothing: no such file or directory",
		other:             "evaluate.features: " + other + ": the features are of images of 1x8x8 and cannot take 1x28x28; make a file for these images with 'dploda features CONFIG --out FILE'",
		damaged:           "it is not a file of dploda features: its metadata do not say so",
		"builtin:nobody":  "evaluate.features: no features are shipped with builtin:nobody; give a file by 'dploda features'",
		"builtin:../../x": "no features are shipped with",
	} {
		if _, err := loadFeatures(source, base); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", source, err, want)
		}
	}
	f, err := loadFeatures(builtinPrefix+"demo", base)
	must(t, err)
	if f.PublicData != "drawn-characters" {
		t.Errorf("the demo's features are of %s", f.PublicData)
	}
	if f, err := loadFeatures("", base); f != nil || err != nil {
		t.Errorf("without a file: %v, %v", f, err)
	}
}
