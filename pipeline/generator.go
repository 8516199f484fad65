package pipeline

import (
	"context"
	"fmt"
	"iter"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/model/unet"
)

// generator samples images from a base with what a run has put on it.
type generator struct {
	base    *Base
	adapter *adapter.Adapter   // nil: the base under its own public classes
	centers *prototype.Centers // nil: no prototypes
	times   diffusion.Range    // where the adapters are on
	classes []string

	turn []int // the classes of the images, in turn; nil: all classes

	settings   config.Sample // the number of images aside
	key        draws.Key     // an image is a function of it, its index and the model
	threads    int
	dev        device.Device
	onProgress func(done, total int)
}

// sample returns n images, of the classes in turn.
func (g *generator) sample(ctx context.Context, n int) (*dataset.Memory, error) {
	d, err := g.compileAll()
	if err != nil {
		return nil, err
	}
	codec := g.base.Codec()
	pixels, labels := make([]uint8, n*codec.Size()), make([]uint16, n)
	for i := range labels {
		labels[i] = uint16(g.class(i))
	}
	done := 0
	err = d.draw(ctx, upTo(n), func(i int, image []uint8) error {
		copy(pixels[i*codec.Size():], image)
		done++
		if g.onProgress != nil {
			g.onProgress(done, n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	i := codec.Image
	return dataset.NewMemory(i.C, i.H, i.W, g.classes, pixels, labels)
}

// class is that of image i.
func (g *generator) class(i int) int {
	if g.turn != nil {
		return g.turn[i%len(g.turn)]
	}
	return i % len(g.classes)
}

// drawer is a generator whose network is compiled.
type drawer struct {
	*generator
	sampler  *diffusion.Sampler
	denoiser *diffusion.Denoiser
}

func (g *generator) compileAll() (*drawer, error) {
	denoiser, err := g.denoiser()
	if err != nil {
		return nil, err
	}
	tables, err := g.base.Traits.tables()
	if err != nil {
		return nil, err
	}
	return &drawer{generator: g, denoiser: denoiser, sampler: &diffusion.Sampler{
		Tables: tables, Prediction: g.base.Traits.Prediction, Codec: g.base.Codec(),
		Kind: samplerKind(g.settings.Sampler), Steps: g.settings.Steps, Eta: g.settings.Eta,
		Guidance: float32(g.settings.Guidance), Key: g.key, Threads: g.threads,
	}}, nil
}

// windowGroups is how many groups of lanes each thread samples between two
// moments at which threads wait for one another: so many that the wait is
// nothing, so few that what they ask for takes no memory.
const windowGroups = 64

// draw samples the images of the given indices and hands each to out, as bytes
// in CHW order: in any order, but never two at once; out must copy what it
// keeps. Its first error ends the work.
func (d *drawer) draw(ctx context.Context, indices iter.Seq[int], out func(index int, image []uint8) error) error {
	next, stop := iter.Pull(indices)
	defer stop()
	window := make([]int, 0, windowGroups*max(d.threads, 1)*d.denoiser.Lanes)
	for {
		window = window[:0]
		for len(window) < cap(window) {
			i, ok := next()
			if !ok {
				break
			}
			window = append(window, i)
		}
		if len(window) == 0 {
			return nil
		}
		if err := d.drawWindow(ctx, window, out); err != nil {
			return err
		}
	}
}

func (d *drawer) drawWindow(ctx context.Context, indices []int, out func(index int, image []uint8) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	err := d.sampler.Sample(ctx, d.denoiser, d.requests(indices), func(i int, image []uint8) {
		if failed != nil {
			return
		}
		if failed = out(indices[i], image); failed != nil {
			cancel()
		}
	})
	if failed != nil {
		return failed // what ended the sampling
	}
	return err
}

// upTo yields 0 to n-1.
func upTo(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// requests asks for images; a class's prototypes are chosen by their weight.
func (g *generator) requests(indices []int) []diffusion.Request {
	requests := make([]diffusion.Request, len(indices))
	choice := draws.New(g.key)
	channels := map[[2]int][]float32{}
	for at, i := range indices {
		class := g.class(i)
		requests[at] = diffusion.Request{Index: uint64(i), Class: class}
		if g.centers == nil {
			continue
		}
		k := chooseCluster(g.centers, class, choice.Stream(uint64(i), 0, draws.Prototype).Float64())
		channel := channels[[2]int{class, k}]
		if channel == nil {
			channel = make([]float32, g.centers.Spec.Pixels())
			prototype.Channel(channel, g.centers.Center(class, k))
			channels[[2]int{class, k}] = channel
		}
		requests[at].Prototype = channel
	}
	return requests
}

// chooseCluster maps a uniform number to a cluster of the class by weight.
func chooseCluster(c *prototype.Centers, class int, u float64) int {
	k := 0
	for ; k < c.Spec.Clusters-1; k++ {
		if u -= float64(c.Weights[class*c.Spec.Clusters+k]); u < 0 {
			break
		}
	}
	return k
}

// denoiser compiles the network with and, where they are switched off in a
// part of time, without the adapters.
func (g *generator) denoiser() (*diffusion.Denoiser, error) {
	d := &diffusion.Denoiser{
		Times: g.times, Lanes: g.dev.Lanes(), NoLabel: len(g.classes),
		Time:              unet.TimeTable(g.base.Config, g.base.Traits.Timesteps),
		PrototypeChannels: g.base.PrototypeChannels(),
	}
	var err error
	if g.adapter == nil {
		d.Unconditional = g.base.Config.NumClassEmbeds == 0
		if !g.base.Traits.NoLabelRow {
			d.NoLabel = -1
		}
		d.Adapted, err = g.compilePlain()
		return d, err
	}
	if d.Adapted, err = g.compile(g.adapter.Spec, g.adapter.SetParams); err != nil {
		return nil, err
	}
	if whole := (diffusion.Range{From: 0, To: g.base.Traits.Timesteps}); g.times != whole {
		d.Base, err = g.compile(adapter.Spec{Kind: adapter.None, Classes: g.adapter.Spec.Classes}, g.adapter.SetOffParams)
	}
	return d, err
}

func (g *generator) compile(spec adapter.Spec, set func(device.Executable, *device.OpList, *unet.Base) error) (device.Executable, error) {
	list, err := denoiseList(g.base.Config, spec)
	if err != nil {
		return nil, err
	}
	exe, err := g.dev.Compile(list)
	if err != nil {
		return nil, err
	}
	return exe, set(exe, list, g.base.Base)
}

// compilePlain is the network as it was pre-trained, with its public classes;
// an unconditional one takes any single name for all its images.
func (g *generator) compilePlain() (device.Executable, error) {
	if known := max(1, g.base.PublicClasses()); known != len(g.classes) {
		return nil, fmt.Errorf("the base has %d public classes, not %d", known, len(g.classes))
	}
	list, err := denoiseList(g.base.Config, adapter.Spec{Kind: adapter.None})
	if err != nil {
		return nil, err
	}
	exe, err := g.dev.Compile(list)
	if err != nil {
		return nil, err
	}
	return exe, g.base.SetParams(exe, list)
}
