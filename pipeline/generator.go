package pipeline

import (
	"context"
	"fmt"

	"github.com/dploda/dploda/dataset"
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

	sampler    diffusion.Kind
	steps      int
	eta        float64
	guidance   float32
	key        draws.Key // an image is a function of it, its index and the model
	threads    int
	dev        device.Device
	onProgress func(done, total int)
}

// sample returns n images, of the classes in turn.
func (g *generator) sample(ctx context.Context, n int) (*dataset.Memory, error) {
	denoiser, err := g.denoiser()
	if err != nil {
		return nil, err
	}
	s, err := g.newSampler()
	if err != nil {
		return nil, err
	}
	codec := s.Codec
	pixels, labels := make([]uint8, n*codec.Size()), make([]uint16, n)
	requests := g.requests(n, labels)
	done := 0
	err = s.Sample(ctx, denoiser, requests, func(i int, image []uint8) {
		copy(pixels[i*codec.Size():], image)
		done++
		if g.onProgress != nil {
			g.onProgress(done, n)
		}
	})
	if err != nil {
		return nil, err
	}
	i := codec.Image
	return dataset.NewMemory(i.C, i.H, i.W, g.classes, pixels, labels)
}

func (g *generator) newSampler() (*diffusion.Sampler, error) {
	tables, err := g.base.Traits.tables()
	if err != nil {
		return nil, err
	}
	return &diffusion.Sampler{
		Tables: tables, Prediction: g.base.Traits.Prediction, Codec: g.base.Codec(),
		Kind: g.sampler, Steps: g.steps, Eta: g.eta, Guidance: g.guidance, Key: g.key, Threads: g.threads,
	}, nil
}

// requests asks for n images; a class's prototypes are chosen by their weight.
func (g *generator) requests(n int, labels []uint16) []diffusion.Request {
	requests := make([]diffusion.Request, n)
	choice := draws.New(g.key)
	for i := range requests {
		class := i % len(g.classes)
		labels[i] = uint16(class)
		requests[i] = diffusion.Request{Index: uint64(i), Class: class}
		if g.centers == nil {
			continue
		}
		channel := make([]float32, g.centers.Spec.Pixels())
		k := chooseCluster(g.centers, class, choice.Stream(uint64(i), 0, draws.Prototype).Float64())
		prototype.Channel(channel, g.centers.Center(class, k))
		requests[i].Prototype = channel
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
	if d.Adapted, err = g.compile(g.adapter.Spec); err != nil {
		return nil, err
	}
	if whole := (diffusion.Range{From: 0, To: g.base.Traits.Timesteps}); g.times != whole {
		d.Base, err = g.compile(adapter.Spec{Kind: adapter.None, Classes: g.adapter.Spec.Classes})
	}
	return d, err
}

func (g *generator) compile(spec adapter.Spec) (device.Executable, error) {
	list, err := denoiseList(g.base.Config, spec)
	if err != nil {
		return nil, err
	}
	exe, err := g.dev.Compile(list)
	if err != nil {
		return nil, err
	}
	return exe, g.adapter.SetParams(exe, list, g.base.Base)
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
