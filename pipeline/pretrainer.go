package pipeline

import (
	"context"
	"math"
	"math/bits"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/optim"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/batch"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/model/unet"
	"github.com/dploda/dploda/worker/task"
)

// pretrainer trains all weights of a network on public images. Step i is a
// function of the weights, the grid of its gradient, the draws and i alone: a
// resumed training gives the bits of an undisturbed one, for any number of
// threads and workers.
type pretrainer struct {
	base        *Base
	hash        string // of what the training computes; its checkpoints carry it
	grids       int
	dev         device.Device
	threads     int
	data        dataset.Dataset
	preparation *diffusion.Preparation
	time        [][]float32
	draws       *draws.Draws
	batch       int
	rates       []float32
	flow        *publicPrototypes // nil without a prototype channel

	weights, gradient []float32
	sum               []int32 // of the batch's gradient, in units of 2^exponent
	exponent          int
	optimizer         *optim.Adam
	average           *optim.EMA
	list              *device.OpList
	executable        device.Executable
	ring              *pretrainRing // nil: this process computes alone
	runner            *batch.Runner
	examples          []*diffusion.Example // by place in the batch
	channels          [][]float32
	streams           []draws.Stream // scratch of each
}

// compile allocates what the steps need.
func (p *pretrainer) compile(dev device.Device, threads int) error {
	var err error
	p.dev, p.threads = dev, threads
	if p.list, err = pretrainList(p.base.Config); err != nil {
		return err
	}
	if p.executable, err = dev.Compile(p.list); err != nil {
		return err
	}
	if p.runner, err = batch.New(p.executable, dev.Lanes(), threads); err != nil {
		return err
	}
	p.streams = make([]draws.Stream, p.batch)
	for range p.batch {
		p.examples = append(p.examples, p.preparation.NewExample())
		var channel []float32
		if p.flow != nil {
			channel = make([]float32, p.flow.pixels)
		}
		p.channels = append(p.channels, channel)
	}
	return nil
}

// step computes one batch's mean gradient and moves the weights against it.
func (p *pretrainer) step(ctx context.Context, i int) error {
	sum := p.differentiate
	if p.ring != nil {
		sum = p.ring.differentiate
	}
	if err := sum(ctx, i); err != nil {
		return err
	}
	return p.descend(i)
}

// groups is the number of groups of lanes of a batch, the parts in which its
// gradient can be divided.
func (p *pretrainer) groups() int {
	lanes := p.dev.Lanes()
	return (p.batch + lanes - 1) / lanes
}

// differentiate computes the sum of the gradients of step i's whole batch.
func (p *pretrainer) differentiate(ctx context.Context, i int) error {
	if err := p.executable.SetTrainable(p.weights); err != nil {
		return err
	}
	all := make([]uint32, p.groups())
	for g := range all {
		all[g] = uint32(g)
	}
	clear(p.sum)
	return p.accumulate(ctx, i, all, p.sum)
}

// accumulate adds the mean gradient's part of some groups of step i's batch to
// sum, on the grid of 2^exponent.
func (p *pretrainer) accumulate(ctx context.Context, i int, groups []uint32, sum []int32) error {
	load, idle := p.loader(i)
	unit, limit := float32(math.Ldexp(1, p.exponent)), int32(math.MaxInt32/p.groups())
	return p.runner.AccumulateIntegers(ctx, sum, groups, p.batch, unit, limit, load, idle)
}

// loader puts step i's examples into lanes, weighted for the mean.
func (p *pretrainer) loader(i int) (batch.Load, batch.Idle) {
	weight := []float32{1 / float32(p.batch)}
	load := func(s device.Stream, lane, j int) error {
		e := p.examples[j]
		if err := p.prepare(e, &p.streams[j], p.channels[j], uint64(i)*uint64(p.batch)+uint64(j)); err != nil {
			return err
		}
		if err := s.SetInput(task.WeightInput, lane, weight); err != nil {
			return err
		}
		return task.LoadExample(s, lane, e, p.time)
	}
	idle := func(s device.Stream, lane int) error {
		return s.SetInput(task.WeightInput, lane, []float32{0})
	}
	return load, idle
}

// The grid of the gradient's sum. Its unit is a power of two that keeps the
// largest coordinate of the last step's sum at gridBits bits, so that a sum may
// grow 64-fold from one step to the next before its groups are clipped to what
// an int32 holds; the first step has room for 128.
const (
	gridBits      = 25
	firstExponent = -24
)

// descend moves the weights and their average against step i's sum, and fits
// the grid of the next step to it.
func (p *pretrainer) descend(i int) error {
	unit, largest := float32(math.Ldexp(1, p.exponent)), uint32(0)
	for k, v := range p.sum {
		p.gradient[k] = float32(v) * unit
		largest = max(largest, uint32(max(v, -v)))
	}
	if largest > 0 {
		p.exponent = min(max(p.exponent+bits.Len32(largest)-gridBits, -100), 0)
	}
	if err := p.optimizer.Step(p.weights, p.gradient, p.rates[i]); err != nil {
		return err
	}
	return p.average.Update(p.weights)
}

// prepare makes the n-th training example of the run: a drawn image, its
// prototype, its noise and timestep.
func (p *pretrainer) prepare(e *diffusion.Example, s *draws.Stream, channel []float32, n uint64) error {
	at := p.draws.Open(s, n, 0, draws.Shuffle).Intn(p.data.Len())
	label := p.data.Label(at)
	if p.flow != nil {
		p.flow.draw(channel, p.draws.Open(s, n, 0, draws.Prototype), at, label)
	}
	return p.preparation.Prepare(e, p.draws, n, 0, p.data.Image(at), label, channel)
}

// averaged is the base with the moving average as its weights.
func (p *pretrainer) averaged() (*Base, error) {
	var tensors []safetensors.Tensor
	for _, q := range p.base.Parameters() {
		tensors = append(tensors, safetensors.Tensor{Name: q.Name, Dims: q.Dims, Data: make([]float32, q.Len())})
	}
	network, err := unet.FromTensors(p.base.Config, tensors)
	if err != nil {
		return nil, err
	}
	if err := network.SetFlat(p.average.Average()); err != nil {
		return nil, err
	}
	b := *p.base
	b.Base = network
	b.Hash, err = network.Hash()
	return &b, err
}

// publicPrototypes draws training prototypes: the pooled mean of a few other
// drawings of the example's class, with some noise, so that the network learns
// to read the noisy cluster means that a private run will give it.
type publicPrototypes struct {
	pooled  [][]float32 // by example
	members [][]int     // by class
	pixels  int
}

// Bounds of what a private run's centres are like.
const (
	fewestMembers, mostMembers = 2, 19
	mostPrototypeNoise         = 0.15
)

func newPublicPrototypes(d dataset.Dataset, side int) *publicPrototypes {
	f := &publicPrototypes{members: make([][]int, len(d.Classes())), pixels: side * side}
	c, h, w := d.Shape()
	for i := range d.Len() {
		f.pooled = append(f.pooled, prototype.Pool(d.Image(i), c, h, w, side))
		f.members[d.Label(i)] = append(f.members[d.Label(i)], i)
	}
	return f
}

// draw fills dst with a prototype for example at of the class label.
func (f *publicPrototypes) draw(dst []float32, s *draws.Stream, at, label int) {
	clear(dst)
	members := f.members[label]
	count, taken := fewestMembers+s.Intn(mostMembers-fewestMembers+1), 0
	for range count {
		// The example itself would hand the network its answer.
		if m := members[s.Intn(len(members))]; m != at {
			for i, v := range f.pooled[m] {
				dst[i] += v
			}
			taken++
		}
	}
	noise := float32(s.Uniform(0, mostPrototypeNoise))
	for i := range dst {
		mean := dst[i] / float32(max(1, taken))
		dst[i] = min(1, max(0, mean+float32(noise*float32(s.Normal()))))
	}
	prototype.Channel(dst, dst)
}
