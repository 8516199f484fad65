package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/augment"
	"github.com/dploda/dploda/model/classifier"
)

// FeaturesOptions are what the making of features takes besides a config.
type FeaturesOptions struct {
	Out     string // the file
	Data    string // takes the place of the config's folder
	Epochs  int
	Threads int // 0: all cores
}

// MakeFeatures trains a CNN on a pre-training's public images and writes the part
// before its last layer, in whose output runs take Fréchet distances.
func MakeFeatures(ctx context.Context, spec *config.PretrainSpec, opts FeaturesOptions, obs Observer) error {
	if _, err := os.Stat(opts.Out); err == nil {
		return fmt.Errorf("%s is there already; choose another --out", opts.Out)
	}
	obs.Stage("read the public images")
	data, err := openPublic(spec, opts.Data)
	if err != nil {
		return err
	}
	if opts.Threads < 1 {
		opts.Threads = runtime.NumCPU()
	}
	c := classifier.DefaultConfig(len(data.Classes()), opts.Threads)
	c.Epochs, c.Augment, c.HoldOut, c.Seed = opts.Epochs, augment.Affine{}, 0.1, spec.Seed
	obs.Stage("train a classifier on the public images")
	c.Observe = func(done, total int) {
		obs.Progress(Progress{Stage: "classifier", Done: done, Total: total, Unit: "steps"})
	}
	trained, err := classifier.Train(ctx, NewDevice(), data, c)
	if err != nil {
		return err
	}
	heldOut := chosen{data, trained.HeldOut}
	predicted, err := trained.Predict(ctx, heldOut)
	if err != nil {
		return err
	}
	obs.Note(fmt.Sprintf("epoch %d classifies %.1f %% of %d held-out public images rightly", trained.Epoch, 100*classifier.Accuracy(heldOut, predicted), heldOut.Len()))
	return trained.SaveFeatures(opts.Out, spec.Name)
}

// features are a features file and its hash.
type features struct {
	*classifier.Features
	hash string
}

// featuresFile is a features file's name beside a shipped base.
const featuresFile = "features.safetensors"

// maxFeatures bounds a features file, in bytes.
const maxFeatures = 1 << 24

// loadFeatures reads a features file, by path or as builtin:NAME, and holds it
// against the base's images; nil for "".
func loadFeatures(source string, base *Base) (*features, error) {
	if source == "" {
		return nil, nil
	}
	content, err := readFeatures(source)
	if err != nil {
		return nil, fmt.Errorf("evaluate.features: %w", err)
	}
	f, err := classifier.ParseFeatures(content)
	i := base.Traits.Image
	if err == nil {
		err = f.Fits(device.Shape{C: i[0], H: i[1], W: i[2]})
	}
	if err != nil {
		return nil, fmt.Errorf("evaluate.features: %s: %w; make a file for these images with 'dploda features CONFIG --out FILE'", source, err)
	}
	sum := sha256.Sum256(content)
	return &features{f, hex.EncodeToString(sum[:])}, nil
}

func readFeatures(source string) ([]byte, error) {
	name, shipped := strings.CutPrefix(source, builtinPrefix)
	if !shipped {
		return readAtMost(source, maxFeatures)
	}
	content, err := fs.ReadFile(builtin, "bases/"+name+"/"+featuresFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, fmt.Errorf("no features are shipped with %s; give a file by 'dploda features'", source)
	}
	return content, err
}

// frechet compares the synthetic images with real held-out ones, and as many real
// training images with the same; nil without features.
func (r *run) frechet(ctx context.Context) (*FrechetReport, error) {
	if r.features == nil {
		return nil, nil
	}
	r.obs.Stage("compare features")
	training := first(r.train, r.synthetic.Len())
	report := &FrechetReport{
		SyntheticImages: r.synthetic.Len(), RealImages: r.test.Len(), TrainingImages: training.Len(),
		Features: "a CNN trained on " + r.features.PublicData, FeaturesHash: r.features.hash, Dimensions: r.features.Dimensions(),
	}
	var fitted [3]*classifier.Gaussian
	for i, images := range []classifier.Images{r.test, r.synthetic, training} {
		var err error
		if fitted[i], err = r.features.Gaussian(ctx, r.dev, runtime.NumCPU(), images); err != nil {
			return nil, err
		}
	}
	var err error
	if report.Distance, err = classifier.Frechet(fitted[0], fitted[1]); err != nil {
		return nil, err
	}
	report.RealDistance, err = classifier.Frechet(fitted[0], fitted[2])
	return report, err
}
