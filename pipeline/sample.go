package pipeline

import (
	"context"
	"runtime"
	"strconv"
	"time"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/images"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
)

// generator samples from what the run has made of the base.
func (r *run) generator(a *adapter.Adapter, m *model) *generator {
	g := &generator{
		base: r.base, adapter: a, times: r.times, classes: r.train.Classes(),
		settings: r.spec.Sample,
		key:      sampleKey(r.identity.RunID, nil), threads: runtime.NumCPU(), dev: r.dev,
	}
	if m != nil {
		g.centers = m.centers
	}
	return g
}

// publicGenerator samples from the base under its own public classes, of which
// there must be some.
func (r *run) publicGenerator() *generator {
	g := r.generator(nil, nil)
	if !r.base.Traits.NoLabelRow {
		g.settings.Guidance = 0
	}
	g.classes = make([]string, r.base.PublicClasses())
	for i := range g.classes {
		g.classes[i] = strconv.Itoa(i)
	}
	g.times = diffusion.Range{From: 0, To: r.base.Traits.Timesteps}
	return g
}

// sampleImages draws n images and reports progress.
func (r *run) sampleImages(ctx context.Context, g *generator, n int, what string) (*dataset.Memory, error) {
	r.obs.Stage("sample " + what)
	m := newMeter(time.Now, 0)
	g.onProgress = func(done, total int) {
		p := Progress{Stage: "sample", Done: done, Total: total, Unit: "images"}
		if perImage := m.advance(done); perImage > 0 {
			p.Rate = 1 / perImage
			p.Left = time.Duration(float64(total-done) * perImage * float64(time.Second))
		}
		r.obs.Progress(p)
	}
	return g.sample(ctx, n)
}

// sampleStage draws the synthetic images and writes them into share/. They are
// a function of the released model: a report that is resumed draws them again
// instead of reading them back.
func (r *run) sampleStage(ctx context.Context, m *model) error {
	done := r.timings.measure(stageSample)
	synthetic, err := r.sampleImages(ctx, r.generator(m.adapter, m), r.spec.Sample.Images, "synthetic images")
	if err != nil {
		return err
	}
	if err := images.WriteNPZ(r.folder.Share("samples.npz"), synthetic); err != nil {
		return err
	}
	if err := images.WriteFolder(r.folder.Share("images"), synthetic); err != nil {
		return err
	}
	done()
	r.synthetic = synthetic
	return r.folder.MarkDone(stageSample)
}
