package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/worker/task"
)

// probeExamples is the number of random public images of a probe's step.
const probeExamples = 16

// probe takes two noiseless steps on public random images, on the device and
// through the very task that the workers run. Every trainable tensor must get
// a gradient by the second step (an up-projection starts at zero, and only
// then does its down-projection get one), and no frozen one may change: the
// first step, taken again from where it began, must give the same integers. It
// catches adapters that would never train, and a device that keeps a trace of
// the steps before.
func (r *run) probe(ctx context.Context) error {
	images, err := randomImages(r.base.Traits.Image, classNames(r.spec.Data))
	if err != nil {
		return err
	}
	a, err := r.startAdapter()
	if err != nil {
		return err
	}
	factory := &taskFactory{resolved: r.resolved, data: images, units: dataset.EachImage(images.Len()), dev: r.dev, threads: 1}
	gradient, err := factory.gradient()
	if err != nil {
		return err
	}
	var centers []byte // empty ones: nothing was released yet
	if r.prototypes != nil {
		if centers, err = prototype.New(*r.prototypes).MarshalBinary(); err != nil {
			return err
		}
	}
	ids := make([]uint32, probeExamples)
	for i := range ids {
		ids[i] = uint32(i)
	}
	step := func(n uint64, weights []float32) ([]int32, error) {
		sum := make([]int32, r.finetune().Dim+1)
		if err := gradient.SetParameters(task.EncodeParameters(r.finetune().ClipNorm, centers, weights)); err != nil {
			return nil, err
		}
		err := gradient.Accumulate(ctx, n, draws.SeedKey(n, "probe"), ids, sum)
		return sum[:len(weights)], err
	}
	start := a.Flat()
	first, err := step(0, start)
	if err != nil {
		return err
	}
	second, err := step(1, downhill(start, first))
	if err != nil {
		return err
	}
	again, err := step(0, start)
	if err != nil {
		return err
	}
	if !slices.Equal(again, first) {
		return fmt.Errorf("the probe found that the frozen base changes on device %s, or that its steps are not reproducible; nothing private was touched", r.dev.Kind())
	}
	return checkProbe(a, first, second, r.dev)
}

// probeStep is how far the probe moves each weight, whatever optimizer and
// learning rate the run has.
const probeStep = 0.03

// downhill is the weights after a step of one size against the gradient's
// signs.
func downhill(weights []float32, gradient []int32) []float32 {
	out := slices.Clone(weights)
	for i, g := range gradient {
		out[i] -= probeStep * float32(cmp.Compare(g, 0))
	}
	return out
}

// checkProbe looks for a gradient in every trainable tensor.
func checkProbe(a *adapter.Adapter, first, second []int32, dev device.Device) error {
	moves := func(v int32) bool { return v != 0 }
	for _, p := range a.Parameters() {
		// A bias on all keys moves all of a query's scores alike, which softmax
		// does not see: its gradient is zero on any sound device.
		if strings.HasSuffix(p.Name, ".to_k.bias") {
			continue
		}
		from, to := p.Offset, p.Offset+p.Len()
		if !slices.ContainsFunc(first[from:to], moves) && !slices.ContainsFunc(second[from:to], moves) {
			return fmt.Errorf("the probe found that %s gets no gradient on device %s: the adapter would never train; nothing private was touched", p.Name, dev.Kind())
		}
	}
	return nil
}

// randomImages are public: uniform noise from a fixed key.
func randomImages(shape [3]int, classes []string) (dataset.Dataset, error) {
	c, h, w := shape[0], shape[1], shape[2]
	pixels, labels := make([]uint8, probeExamples*c*h*w), make([]uint16, probeExamples)
	s := draws.New(draws.SeedKey(0, "probe images")).Stream(0, 0, draws.Noise)
	for i := range pixels {
		pixels[i] = uint8(s.Intn(256))
	}
	for i := range labels {
		labels[i] = uint16(i % len(classes))
	}
	return dataset.NewMemory(c, h, w, classes, pixels, labels)
}
