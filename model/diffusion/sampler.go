package diffusion

import (
	"context"
	"fmt"
	"sync"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
	"golang.org/x/sync/errgroup"
)

// The names of a denoiser's inputs and output.
const (
	SampleInput = "sample"     // x_t in the grid's order, then the prototype channels
	TimeInput   = "time"       // the embedding of the timestep
	ClassIndex  = "class"      // the class embedding's row
	OutputName  = "prediction" // as Prediction says
)

// Denoiser is the network that a sampler evaluates.
type Denoiser struct {
	Adapted device.Executable // forward list of base and adapters
	// Base replaces Adapted at timesteps outside Times; nil when the adapters
	// are used throughout.
	Base  device.Executable
	Times Range
	Lanes int
	// Time holds the time input of each timestep.
	Time              [][]float32
	Unconditional     bool // the network takes no class
	NoLabel           int  // the class embedding's row for "no label"; without one there is no guidance
	PrototypeChannels int
}

// Request asks for one image.
type Request struct {
	Index     uint64    // names the image's random numbers
	Class     int       // row of the class embedding
	Prototype []float32 // PrototypeChannels x grid; nil for none
}

// Sampler draws images from a denoiser.
type Sampler struct {
	Tables     *Tables
	Prediction Prediction
	Codec      Codec
	Kind       Kind
	Steps      int
	Eta        float64
	// Guidance is w of classifier-free guidance (Ho and Salimans 2021, equation
	// 6): (1+w)·conditional - w·unconditional. 0 is the conditional prediction
	// alone and costs one evaluation a step instead of two.
	Guidance float32
	Key      draws.Key
	Threads  int
}

// Sample draws the requested images and hands each, as bytes in CHW order, to
// out with its place in requests: from any goroutine, in any order, but never
// two at once; out must copy what it keeps. An image depends on the key, its
// request and the network alone, not on its company or on Threads. The first
// error, or ctx's end, stops the work.
func (s *Sampler) Sample(ctx context.Context, d *Denoiser, requests []Request, out func(i int, image []uint8)) error {
	steps, err := s.check(d, requests)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	deliver := func(i int, image []uint8) {
		mu.Lock()
		defer mu.Unlock()
		out(i, image)
	}
	groups := make(chan int)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(groups)
		for first := 0; first < len(requests); first += d.Lanes {
			select {
			case groups <- first:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	needed := (len(requests) + d.Lanes - 1) / d.Lanes
	for range min(max(s.Threads, 1), needed) {
		g.Go(func() error {
			group, err := newGroup(s, d, steps)
			if err != nil {
				return err
			}
			for first := range groups {
				last := min(first+d.Lanes, len(requests))
				if err := group.sample(ctx, requests[first:last], func(lane int, image []uint8) { deliver(first+lane, image) }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *Sampler) check(d *Denoiser, requests []Request) ([]Step, error) {
	if err := s.Codec.Validate(); err != nil {
		return nil, err
	}
	if err := s.Prediction.Validate(); err != nil {
		return nil, err
	}
	if d.Lanes < 1 || len(d.Time) != s.Tables.Timesteps() {
		return nil, fmt.Errorf("a denoiser needs at least one lane and a time input for each of %d timesteps, but has %d and %d", s.Tables.Timesteps(), d.Lanes, len(d.Time))
	}
	if s.Guidance != 0 && (d.Unconditional || d.NoLabel < 0) {
		return nil, fmt.Errorf("guidance needs a network that knows classes and a row for \"no label\"")
	}
	grid := s.Codec.Grid()
	for i, r := range requests {
		if want := d.PrototypeChannels * grid.H * grid.W; r.Prototype != nil && len(r.Prototype) != want {
			return nil, fmt.Errorf("request %d has %d values of prototype, but the denoiser needs %d", i, len(r.Prototype), want)
		}
	}
	return Steps(s.Tables, s.Kind, s.Steps, s.Eta)
}
