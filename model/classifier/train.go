package classifier

import (
	"context"
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/optim"
	"github.com/dploda/dploda/model/augment"
	"github.com/dploda/dploda/model/batch"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
)

// Images are labelled images: bytes in CHW order, labels from 0.
type Images interface {
	Len() int
	Shape() (c, h, w int)
	Image(i int) []uint8
	Label(i int) int
}

// Config says how to train. The CNN is trained with Adam, whose rate falls to zero
// along a cosine, WRN with AdamW at a rate of its own (wrnRate).
type Config struct {
	Network Network
	Classes int
	Epochs  int
	Batch   int
	LR      float64        // of the CNN
	Augment augment.Affine // the zero value: none
	// HoldOut is the share of the training images that is kept apart: the epoch
	// whose weights classify most of them rightly is chosen, the later one of two
	// equal ones.
	HoldOut float64
	// Last takes the last epoch all the same.
	Last    bool
	Seed    uint64
	Threads int
	// Observe, if not nil, is told of each step done.
	Observe func(step, steps int)
}

// DefaultConfig is what a few thousand small images need.
func DefaultConfig(classes, threads int) Config {
	return Config{Network: CNN, Classes: classes, Epochs: 10, Batch: 64, LR: 2e-3, Augment: augment.Digits(), Threads: threads}
}

func (c Config) validate(images Images) error {
	switch {
	case c.Epochs < 1, c.Epochs > math.MaxUint16, c.Batch < 1, !(c.LR > 0), c.Threads < 1:
		return fmt.Errorf("classifier training needs 1 to 65535 epochs, batch, rate and threads above 0, but has %d, %d, %v and %d", c.Epochs, c.Batch, c.LR, c.Threads)
	case !(c.HoldOut >= 0 && c.HoldOut < 1):
		return fmt.Errorf("the held-out share of the training images must lie in [0, 1), but is %v", c.HoldOut)
	}
	for i := range images.Len() {
		if l := images.Label(i); l < 0 || l >= c.Classes {
			return fmt.Errorf("a training image has a label beyond the classifier's %d classes", c.Classes)
		}
	}
	return c.Augment.Validate()
}

// Train returns a classifier trained on the images. The same images, settings
// and kind of device give the same bits for any number of threads.
func Train(ctx context.Context, dev device.Device, images Images, c Config) (*Classifier, error) {
	if err := c.validate(images); err != nil {
		return nil, err
	}
	t, err := newTrainer(dev, images, c)
	if err != nil {
		return nil, err
	}
	chosen, best := t.weights, -1
	t.classifier.Epoch, t.classifier.HeldOut = c.Epochs, t.heldOut
	for epoch := range c.Epochs {
		if err := t.epoch(ctx, epoch); err != nil {
			return nil, err
		}
		if len(t.heldOut) == 0 || c.Last {
			continue
		}
		right, err := t.heldOutRight(ctx)
		if err != nil {
			return nil, err
		}
		if right >= best { // later weights were trained at a lower rate
			chosen, best = append([]float32(nil), t.weights...), right
			t.classifier.Epoch = epoch + 1
		}
	}
	for _, w := range chosen {
		if math.IsNaN(float64(w)) || math.IsInf(float64(w), 0) {
			return nil, fmt.Errorf("the classifier diverged in training; its learning rate of %v is too high", c.LR)
		}
	}
	return t.classifier, t.classifier.set(chosen)
}

// trainer holds one training run.
type trainer struct {
	c          Config
	images     Images
	net        *net
	exe        device.Executable // of the gradient
	runner     *batch.Runner
	adam       *optim.Adam
	rates      []float32
	draws      *draws.Draws
	weights    []float32
	gradient   []float32
	trained    []int // indices of images, and those held out
	heldOut    []int
	pixels     [][]float32 // scratch of each example of a batch
	augmented  [][]float32
	streams    []draws.Stream
	classifier *Classifier
	step       int
}

func newTrainer(dev device.Device, images Images, c Config) (*trainer, error) {
	ch, h, w := images.Shape()
	n, err := newNet(c.Network, device.Shape{C: ch, H: h, W: w}, c.Classes)
	if err != nil {
		return nil, err
	}
	t := &trainer{c: c, images: images, net: n, draws: draws.New(draws.SeedKey(c.Seed, "classifier"))}
	order := t.draws.Stream(math.MaxUint64, 0, draws.Shuffle).Perm(images.Len())
	held := int(c.HoldOut * float64(len(order)))
	t.heldOut, t.trained = order[:held], order[held:]
	if len(t.trained) == 0 {
		return nil, fmt.Errorf("no images to train a classifier on")
	}
	if t.exe, err = dev.Compile(n.gradient); err != nil {
		return nil, err
	}
	if t.runner, err = batch.New(t.exe, dev.Lanes(), c.Threads); err != nil {
		return nil, err
	}
	if t.classifier, err = newClassifier(dev, n, c.Threads); err != nil {
		return nil, err
	}
	t.weights = n.initial(t.draws)
	t.gradient = make([]float32, len(t.weights))
	adam, rates := optim.DefaultAdam(), optim.Schedule{
		Shape: optim.Cosine, Peak: c.LR, Steps: c.Epochs * ((len(t.trained) + c.Batch - 1) / c.Batch),
	}
	if c.Network == WRN {
		adam.WeightDecay, rates.Peak, rates.WarmUp = wrnDecay, wrnRate, rates.Steps/wrnWarmUp
	}
	if t.adam, err = optim.NewAdam(len(t.weights), adam); err != nil {
		return nil, err
	}
	t.rates, err = rates.Table()
	t.streams = make([]draws.Stream, c.Batch)
	for range c.Batch {
		t.pixels = append(t.pixels, make([]float32, n.shape.Len()))
		t.augmented = append(t.augmented, make([]float32, n.shape.Len()))
	}
	return t, err
}

func (t *trainer) epoch(ctx context.Context, epoch int) error {
	order := t.draws.Stream(uint64(epoch), 0, draws.Shuffle).Perm(len(t.trained))
	for len(order) > 0 {
		n := min(t.c.Batch, len(order))
		if err := t.descend(ctx, epoch, order[:n]); err != nil {
			return err
		}
		order = order[n:]
		t.step++
		if t.c.Observe != nil {
			t.c.Observe(t.step, len(t.rates))
		}
	}
	return nil
}

// descend takes one step on the mean loss of a batch, given as places in
// t.trained.
func (t *trainer) descend(ctx context.Context, epoch int, places []int) error {
	if err := t.exe.SetTrainable(t.weights); err != nil {
		return err
	}
	weight := []float32{1 / float32(len(places))}
	load := func(s device.Stream, lane, i int) error {
		id := t.trained[places[i]]
		if err := s.SetInput(imageInput, lane, t.input(i, id, epoch)); err != nil {
			return err
		}
		if err := s.SetIndex(labelIndex, lane, t.images.Label(id)); err != nil {
			return err
		}
		return s.SetInput(weightInput, lane, weight)
	}
	idle := func(s device.Stream, lane int) error { return s.SetInput(weightInput, lane, []float32{0}) }
	if err := t.runner.Gradient(ctx, t.gradient, len(places), load, idle, nil); err != nil {
		return err
	}
	return t.adam.Step(t.weights, t.gradient, t.rates[t.step])
}

// input is image id as the network sees it in an epoch, in the scratch of the
// batch's example i.
func (t *trainer) input(i, id, epoch int) []float32 {
	diffusion.Levels(t.pixels[i], t.images.Image(id))
	if t.c.Augment == (augment.Affine{}) {
		return t.pixels[i]
	}
	s := t.draws.Open(&t.streams[i], uint64(id), uint16(epoch), draws.Augment)
	t.c.Augment.Apply(t.augmented[i], t.pixels[i], t.net.shape, s)
	return t.augmented[i]
}

// heldOutRight is the number of held-out images that the present weights
// classify rightly.
func (t *trainer) heldOutRight(ctx context.Context) (right int, err error) {
	if err := t.classifier.set(t.weights); err != nil {
		return 0, err
	}
	predicted, err := t.classifier.predict(ctx, t.images, t.heldOut)
	if err != nil {
		return 0, err
	}
	for i, p := range predicted {
		if p == t.images.Label(t.heldOut[i]) {
			right++
		}
	}
	return right, nil
}
