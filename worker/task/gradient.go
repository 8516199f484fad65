package task

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/clip"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/safeguard"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
)

// The further inputs of a training list; the denoiser's own are named in
// package diffusion.
const (
	TargetInput = "target"
	WeightInput = "weight" // of the example's loss: 1, or 0 in an unused lane
)

// Gradient computes, for each example of a step (a unit of protection with all
// its images), the gradient of the denoising loss summed over its copies, clips
// it and adds it to the sum as integers.
type Gradient struct {
	Mechanism   plan.Mechanism
	Executable  device.Executable // gradient list, device.PerExample
	Lanes       int
	Preparation *diffusion.Preparation
	Time        [][]float32 // time input of each timestep
	Data        dataset.Dataset
	Units       *dataset.Units     // of Data; ids count them
	Copies      int                // K: noise draws of an example, averaged before clipping
	Centers     *prototype.Centers // nil without prototypes
	Threads     int
	MicroBatch  int // examples computed together, 1..Lanes; changes no bit

	weights []float32
	threads []*gradientThread
}

// gradientThread is what one goroutine needs, allocated once.
type gradientThread struct {
	stream   device.Stream
	examples []*diffusion.Example
	channel  []float32 // a prototype as the network takes it
	norms    []float64
	scale    []float64
	sum      []int32
	count    int32 // of the examples in sum
}

// Prepare allocates the streams. It must be called once, before the first step.
func (g *Gradient) Prepare() error {
	if g.MicroBatch < 1 || g.MicroBatch > g.Lanes {
		return fmt.Errorf("workers.micro_batch must be 1 to %d on this device, not %d", g.Lanes, g.MicroBatch)
	}
	g.weights = make([]float32, g.Mechanism.Dim)
	for range max(1, g.Threads) {
		stream, err := g.Executable.NewStream()
		if err != nil {
			return err
		}
		t := &gradientThread{stream: stream, norms: make([]float64, g.Lanes), scale: make([]float64, g.Lanes), sum: make([]int32, g.Mechanism.Dim)}
		for range g.Lanes {
			t.examples = append(t.examples, g.Preparation.NewExample())
		}
		if grid := g.Preparation.Codec.Grid(); g.Preparation.PrototypeChannels > 0 {
			// Without prototypes the channels stay zero, as in sampling.
			t.channel = make([]float32, g.Preparation.PrototypeChannels*grid.H*grid.W)
		}
		for lane := range g.Lanes {
			if err := stream.SetInput(WeightInput, lane, []float32{1}); err != nil {
				return err
			}
		}
		g.threads = append(g.threads, t)
	}
	return nil
}

// SetParameters implements worker.Task.
func (g *Gradient) SetParameters(state []byte) error {
	centers, err := DecodeParameters(state, g.weights)
	if err != nil {
		return err
	}
	if g.Centers != nil {
		if err := g.Centers.UnmarshalBinary(centers); err != nil {
			return err
		}
	}
	return g.Executable.SetTrainable(g.weights)
}

// Accumulate implements worker.Task.
func (g *Gradient) Accumulate(ctx context.Context, _ uint64, key [32]byte, ids []uint32, sum []int32) error {
	dim := g.Mechanism.Dim
	if len(sum) != dim+1 {
		return fmt.Errorf("a sum of %d coordinates for a gradient of %d", len(sum), dim)
	}
	d := draws.New(draws.Key(key))
	groups := make(chan []uint32)
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error {
		defer close(groups)
		for len(ids) > 0 {
			n := min(g.MicroBatch, len(ids))
			select {
			case groups <- ids[:n]:
			case <-ctx.Done():
				return ctx.Err()
			}
			ids = ids[n:]
		}
		return nil
	})
	for _, t := range g.threads {
		eg.Go(func() error {
			return safeguard.Contain(func() error { return g.consume(ctx, t, d, groups) })
		})
	}
	err := eg.Wait()
	for _, t := range g.threads {
		if err == nil {
			for i, v := range t.sum {
				sum[i] += v
			}
			sum[dim] += t.count
		}
		clear(t.sum) // nothing un-noised rests
		t.count = 0
		t.stream.ZeroGradient()
	}
	return err
}

// consume is one thread's part of a share.
func (g *Gradient) consume(ctx context.Context, t *gradientThread, d *draws.Draws, groups <-chan []uint32) error {
	for group := range groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.group(t, d, group); err != nil {
			return err
		}
		t.count += int32(len(group))
	}
	return nil
}

// group adds the contributions of the examples of one micro-batch to t.sum.
func (g *Gradient) group(t *gradientThread, d *draws.Draws, ids []uint32) error {
	t.stream.ZeroGradient()
	for k := range g.Copies {
		for lane, id := range ids {
			if err := g.load(t, d, lane, id, k); err != nil {
				return err
			}
		}
		if err := t.stream.Run(); err != nil {
			return err
		}
	}
	if err := t.stream.SquaredNorms(t.norms); err != nil {
		return err
	}
	for lane := range ids {
		t.scale[lane] = clip.Factor(t.norms[lane], g.Copies, g.Mechanism)
	}
	return t.stream.Accumulate(len(ids), t.scale, g.Mechanism.DeltaSq(), t.sum)
}

// load puts copy k of an example into a lane.
func (g *Gradient) load(t *gradientThread, d *draws.Draws, lane int, id uint32, k int) error {
	images, err := imagesOf(g.Units, id)
	if err != nil {
		return err
	}
	i := int(images[turn(d, id, k, len(images))])
	image, label := g.Data.Image(i), g.Data.Label(i)
	if g.Centers != nil {
		c, h, w := g.Data.Shape()
		pooled := prototype.Pool(image, c, h, w, g.Centers.Spec.Side)
		prototype.Channel(t.channel, g.Centers.Center(label, g.Centers.Nearest(pooled, label)))
	}
	e := t.examples[lane]
	if err := g.Preparation.Prepare(e, d, uint64(id), k, image, label, t.channel); err != nil {
		return err
	}
	return LoadExample(t.stream, lane, e, g.Time)
}

// LoadExample puts a prepared training example into a lane of a training list.
func LoadExample(s device.Stream, lane int, e *diffusion.Example, time [][]float32) error {
	if err := s.SetInput(diffusion.SampleInput, lane, e.Sample); err != nil {
		return err
	}
	if err := s.SetInput(diffusion.TimeInput, lane, time[e.Timestep]); err != nil {
		return err
	}
	if err := s.SetInput(TargetInput, lane, e.Target); err != nil {
		return err
	}
	return s.SetIndex(diffusion.ClassIndex, lane, e.Class)
}
