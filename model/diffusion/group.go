package diffusion

import (
	"context"
	"fmt"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
	"github.com/dploda/dploda/model/draws"
)

// group samples one image per lane on one goroutine.
type group struct {
	s       *Sampler
	d       *Denoiser
	steps   []Step
	draws   *draws.Draws
	stream  draws.Stream // scratch: one after another
	adapted device.Stream
	base    device.Stream // nil: adapted throughout
	lanes   []lane
	pixels  []float32
	bytes   []uint8
}

// lane is one image under way.
type lane struct {
	x           []float32 // in the grid's order, then the prototype's channels
	clean, last []float32
	prediction  []float32
	guide       []float32 // unconditional prediction
	z           []float32
}

func newGroup(s *Sampler, d *Denoiser, steps []Step) (*group, error) {
	n, grid := s.Codec.Size(), s.Codec.Grid()
	g := &group{
		s: s, d: d, steps: steps, draws: draws.New(s.Key), lanes: make([]lane, d.Lanes),
		pixels: make([]float32, n), bytes: make([]uint8, n),
	}
	for i := range g.lanes {
		g.lanes[i] = lane{
			x:     make([]float32, n+d.PrototypeChannels*grid.H*grid.W),
			clean: make([]float32, n), last: make([]float32, n),
			prediction: make([]float32, n), guide: make([]float32, n), z: make([]float32, n),
		}
	}
	var err error
	if g.adapted, err = d.Adapted.NewStream(); err != nil {
		return nil, err
	}
	if d.Base != nil {
		g.base, err = d.Base.NewStream()
	}
	return g, err
}

// sample draws the images of at most one request per lane.
func (g *group) sample(ctx context.Context, requests []Request, out func(lane int, image []uint8)) error {
	n := g.s.Codec.Size()
	for i, r := range requests {
		g.draws.Open(&g.stream, r.Index, 0, draws.Start).Normals(g.lanes[i].x[:n])
	}
	for i, step := range g.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.predict(step, requests); err != nil {
			return err
		}
		for j, r := range requests {
			if err := g.advance(&g.lanes[j], r, i); err != nil {
				return err
			}
		}
	}
	for i := range requests {
		g.s.Codec.Shuffle(g.pixels, g.lanes[i].x[:n])
		Bytes(g.bytes, g.pixels)
		out(i, g.bytes)
	}
	return nil
}

// predict leaves each lane's guided prediction at the step's timestep.
func (g *group) predict(step Step, requests []Request) error {
	stream := g.adapted
	if g.base != nil && !g.d.Times.Contains(step.Timestep) {
		stream = g.base
	}
	if err := g.evaluate(stream, step.Timestep, requests, true); err != nil || g.s.Guidance == 0 {
		return err
	}
	for i := range requests {
		l := &g.lanes[i]
		l.guide, l.prediction = l.prediction, l.guide
	}
	if err := g.evaluate(stream, step.Timestep, requests, false); err != nil {
		return err
	}
	w := g.s.Guidance
	for i := range requests {
		l := &g.lanes[i]
		kernel.Combine(l.prediction, 1+w, l.guide, -w, l.prediction)
	}
	return nil
}

// evaluate runs the network with the requests' conditions or with none.
func (g *group) evaluate(stream device.Stream, timestep int, requests []Request, conditional bool) error {
	n := g.s.Codec.Size()
	for i, r := range requests {
		l := &g.lanes[i]
		class := g.d.NoLabel
		clear(l.x[n:])
		if conditional {
			class = r.Class
			copy(l.x[n:], r.Prototype)
		}
		if err := g.setInputs(stream, i, timestep, class); err != nil {
			return err
		}
	}
	if err := stream.Run(); err != nil {
		return err
	}
	for i := range requests {
		if err := stream.Output(OutputName, i, g.lanes[i].prediction); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) setInputs(stream device.Stream, lane, timestep, class int) error {
	if err := stream.SetInput(SampleInput, lane, g.lanes[lane].x); err != nil {
		return err
	}
	if err := stream.SetInput(TimeInput, lane, g.d.Time[timestep]); err != nil || g.d.Unconditional {
		return err
	}
	return stream.SetIndex(ClassIndex, lane, class)
}

// advance takes step i of one lane from its prediction.
func (g *group) advance(l *lane, r Request, i int) error {
	step, x := g.steps[i], l.x[:g.s.Codec.Size()]
	l.clean, l.last = l.last, l.clean
	t := step.Timestep
	g.s.Prediction.Clean(l.clean, x, l.prediction, g.s.Tables.Signal[t], g.s.Tables.Noise[t])
	if !kernel.Clamp(l.clean, 1) {
		return fmt.Errorf("the network's prediction at timestep %d holds values that are not numbers; its weights are damaged or it diverged in training", t)
	}
	if step.Noise != 0 {
		g.draws.Open(&g.stream, r.Index, uint16(i), draws.Step).Normals(l.z)
	}
	step.Advance(x, l.clean, l.last, l.z)
	return nil
}
