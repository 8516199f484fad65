package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
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
	factory := &taskFactory{resolved: r.resolved, data: images, dev: r.dev, threads: 1}
	gradient, err := factory.gradient()
	if err != nil {
		return err
	}
	var centers *prototype.Centers // empty ones: nothing was released yet
	if r.prototypes != nil {
		centers = prototype.New(*r.prototypes)
	}
	learner, err := r.newAdapterLearner(a, centers)
	if err != nil {
		return err
	}
	ids := make([]uint32, probeExamples)
	for i := range ids {
		ids[i] = uint32(i)
	}
	moved := make([]bool, r.finetune().Dim)
	start := learner.Parameters()
	step := func(n uint64, parameters []byte) ([]int32, error) {
		sum := make([]int32, len(moved)+1)
		if err := gradient.SetParameters(parameters); err != nil {
			return nil, err
		}
		err := gradient.Accumulate(ctx, n, draws.SeedKey(n, "probe"), ids, sum)
		return sum[:len(moved)], err
	}
	var first []int32
	for n := range uint64(2) {
		sum, err := step(n, learner.Parameters())
		if err != nil {
			return err
		}
		for i, v := range sum {
			moved[i] = moved[i] || v != 0
		}
		if n == 0 {
			first = sum
		}
		if err := learner.Apply(0, sum); err != nil {
			return err
		}
	}
	again, err := step(0, start)
	if err != nil {
		return err
	}
	if !slices.Equal(again, first) {
		return fmt.Errorf("the probe found that the frozen base changes on device %s, or that its steps are not reproducible; nothing private was touched", r.dev.Kind())
	}
	return checkProbe(a, moved, r.dev)
}

// checkProbe looks for a gradient in every trainable tensor.
func checkProbe(a *adapter.Adapter, moved []bool, dev device.Device) error {
	for _, p := range a.Parameters() {
		if !slices.Contains(moved[p.Offset:p.Offset+p.Len()], true) {
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
