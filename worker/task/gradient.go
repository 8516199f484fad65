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
	LossOutput  = "loss"   // of each lane, times its weight
)

// Gradient computes, for each example of a step (a unit of protection with all
// its images), the gradient of the denoising loss summed over its copies, clips
// it and adds it to the sum as integers, with the side coordinates of the
// mechanism.
type Gradient struct {
	Mechanism   plan.Mechanism    // its ClipNorm is the newest parameters'
	Executable  device.Executable // gradient list with LossOutput, device.PerExample
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
	sides    []side
	kept     []bool
	sum      []int32
	count    int32 // of the examples in sum
}

// side is what an example's side coordinates tell, private until it is summed
// and noised.
type side struct {
	loss    float64 // summed over the copies in their order, then their mean
	units   int32   // on the grid
	clipped bool
}

// Prepare allocates the streams. It must be called once, before the first step.
func (g *Gradient) Prepare() error {
	if g.MicroBatch < 1 || g.MicroBatch > g.Lanes {
		return fmt.Errorf("workers.micro_batch must be 1 to %d on this device, not %d", g.Lanes, g.MicroBatch)
	}
	g.weights = make([]float32, g.Mechanism.GradientDim())
	for range max(1, g.Threads) {
		stream, err := g.Executable.NewStream()
		if err != nil {
			return err
		}
		t := &gradientThread{
			stream: stream, norms: make([]float64, g.Lanes), scale: make([]float64, g.Lanes),
			sides: make([]side, g.Lanes), kept: make([]bool, g.Lanes), sum: make([]int32, g.Mechanism.Dim),
		}
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
	clipNorm, centers, err := DecodeParameters(state, g.weights)
	if err != nil {
		return err
	}
	now := g.Mechanism
	now.ClipNorm = clipNorm
	if err := now.Validate(); err != nil {
		return err
	}
	g.Mechanism = now
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
		clear(t.norms)
		clear(t.scale)
		clear(t.sides)
		clear(t.kept)
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
	clear(t.sides)
	for k := range g.Copies {
		for lane, id := range ids {
			if err := g.load(t, d, lane, id, k); err != nil {
				return err
			}
		}
		if err := t.stream.Run(); err != nil {
			return err
		}
		if err := t.addLosses(len(ids)); err != nil {
			return err
		}
	}
	if err := t.stream.SquaredNorms(t.norms); err != nil {
		return err
	}
	return g.contribute(t, len(ids))
}

// addLosses adds the losses of the last Run to those of the copies before it.
func (t *gradientThread) addLosses(n int) error {
	var loss [1]float32
	for lane := range n {
		if err := t.stream.Output(LossOutput, lane, loss[:]); err != nil {
			return err
		}
		t.sides[lane].loss += float64(loss[0])
	}
	return nil
}

// contribute adds the contributions of the lanes below n to t.sum, as
// clip.Contribution has them: a lane contributes all of its vector or nothing.
func (g *Gradient) contribute(t *gradientThread, n int) error {
	m := g.Mechanism
	for lane := range n {
		s, ok := &t.sides[lane], false
		t.scale[lane], s.clipped = clip.Factor(t.norms[lane], g.Copies, m)
		if s.units, ok = clip.Loss(s.loss/float64(g.Copies), m); !ok {
			t.scale[lane] = 0
		}
	}
	delta := uint64(m.GradientDelta())
	if err := t.stream.Accumulate(n, t.scale, delta*delta, t.sum[:m.GradientDim()], t.kept); err != nil {
		return err
	}
	for lane, kept := range t.kept[:n] {
		if s := t.sides[lane]; kept {
			clip.Side(t.sum, s.units, s.clipped, m)
		}
	}
	return nil
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
	if e.Class < 0 {
		return nil
	}
	return s.SetIndex(diffusion.ClassIndex, lane, e.Class)
}
