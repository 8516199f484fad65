package pipeline

import (
	"testing"
	"time"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dataset/drawn"
	"github.com/dploda/dploda/dp/noise"
)

// BenchmarkNoiseOfAStep reports what exact noise for half a million coordinates
// costs beside one fine-tuning step of the demo, both on one thread. The demo's
// network is the smallest that anybody would train: elsewhere the share is
// smaller. In a run the noise is drawn while the workers compute.
func BenchmarkNoiseOfAStep(b *testing.B) {
	spec, err := DemoSpec()
	if err != nil {
		b.Fatal(err)
	}
	r, err := resolve(spec)
	if err != nil {
		b.Fatal(err)
	}
	g, err := (&taskFactory{resolved: r, data: drawn.Shapes(1, spec.Finetune.Batch), units: dataset.EachImage(spec.Finetune.Batch), dev: NewDevice(), threads: 1}).gradient()
	if err != nil {
		b.Fatal(err)
	}
	a, err := (&run{resolved: r}).startAdapter()
	if err != nil {
		b.Fatal(err)
	}
	learner, err := r.newAdapterLearner(a, g.Centers)
	if err != nil {
		b.Fatal(err)
	}
	if err := g.SetParameters(learner.Parameters()); err != nil {
		b.Fatal(err)
	}
	ids := make([]uint32, spec.Finetune.Batch)
	for i := range ids {
		ids[i] = uint32(i)
	}
	sum := make([]int32, r.finetune().Dim+1)
	m := r.finetune()
	m.Dim = 500_000
	var step, draw time.Duration
	for b.Loop() {
		begin := time.Now()
		if err := g.Accumulate(b.Context(), 0, [32]byte{}, ids, sum); err != nil {
			b.Fatal(err)
		}
		step += time.Since(begin)
		begin = time.Now()
		source := noise.NewSource(m)
		source.Prepare(1)
		draw += time.Since(begin)
		source.Wipe()
	}
	b.ReportMetric(float64(draw.Milliseconds())/float64(b.N), "ms-noise")
	b.ReportMetric(float64(step.Milliseconds())/float64(b.N), "ms-step")
	b.ReportMetric(100*draw.Seconds()/step.Seconds(), "%-of-step")
}
