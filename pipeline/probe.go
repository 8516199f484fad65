package pipeline

import (
	"context"
	"fmt"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
)

// probeExamples is the number of random public images of a probe's step.
const probeExamples = 16

// probe takes two noiseless steps on public random images, on the device and
// through the very task that the workers run. Every trainable tensor must get
// a gradient by the second step (an up-projection starts at zero, and only
// then does its down-projection get one), and no frozen one may change. It
// catches adapters that would never train.
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
	dim := r.finetune().Dim
	moved := make([]bool, dim)
	for step := range uint64(2) {
		if err := gradient.SetParameters(learner.Parameters()); err != nil {
			return err
		}
		sum := make([]int32, dim+1)
		if err := gradient.Accumulate(ctx, step, draws.SeedKey(step, "probe"), ids, sum); err != nil {
			return err
		}
		for i, v := range sum[:dim] {
			moved[i] = moved[i] || v != 0
		}
		if err := learner.Apply(0, sum[:dim]); err != nil {
			return err
		}
	}
	return r.checkProbe(a, moved)
}

// checkProbe looks at every tensor after the probe.
func (r *run) checkProbe(a *adapter.Adapter, moved []bool) error {
	for _, p := range a.Parameters() {
		any := false
		for _, m := range moved[p.Offset : p.Offset+p.Len()] {
			any = any || m
		}
		if !any {
			return fmt.Errorf("the probe found that %s gets no gradient on device %s: the adapter would never train; nothing private was touched", p.Name, r.dev.Kind())
		}
	}
	hash, err := r.base.Base.Hash()
	if err == nil && hash != r.base.Hash {
		err = fmt.Errorf("the probe found that the frozen base changes on device %s; nothing private was touched", r.dev.Kind())
	}
	return err
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
