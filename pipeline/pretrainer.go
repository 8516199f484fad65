package pipeline

import (
	"context"

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
// function of the weights, the draws and i alone: a resumed training gives the
// bits of an undisturbed one, for any number of threads.
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
	optimizer         *optim.Adam
	average           *optim.EMA
	list              *device.OpList
	executable        device.Executable
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
	p.gradient = make([]float32, len(p.weights))
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
	if err := p.differentiate(ctx, i); err != nil {
		return err
	}
	return p.descend(i)
}

// differentiate computes the mean gradient of step i's batch.
func (p *pretrainer) differentiate(ctx context.Context, i int) error {
	if err := p.executable.SetTrainable(p.weights); err != nil {
		return err
	}
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
	return p.runner.Gradient(ctx, p.gradient, p.batch, load, idle, nil)
}

// descend moves the weights and their average against step i's gradient.
func (p *pretrainer) descend(i int) error {
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
