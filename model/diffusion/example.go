package diffusion

import (
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
)

// Augmenter changes an image of values in [-1, 1], CHW, by draws of s.
type Augmenter interface {
	Apply(dst, src []float32, shape device.Shape, s *draws.Stream)
}

// Range is a range of timesteps [From, To).
type Range struct{ From, To int }

// Fractions returns the range of timesteps of T that lie in [lo, hi) of time,
// 0 <= lo < hi <= 1.
func Fractions(lo, hi float64, timesteps int) Range {
	return Range{int(math.Round(lo * float64(timesteps))), int(math.Round(hi * float64(timesteps)))}
}

// Contains says whether t lies in the range.
func (r Range) Contains(t int) bool { return r.From <= t && t < r.To }

// Mix gives the probabilities with which a training example keeps its
// conditions; they sum to one. A network trained with some of each can be
// sampled with any, and guided.
type Mix struct {
	None      float64 // neither class nor prototype
	Class     float64 // class only
	Both      float64
	Prototype float64 // prototype only
}

// LabelDrop is the mix of a class-conditional model without prototypes that
// forgets the label with probability p.
func LabelDrop(p float64) Mix { return Mix{None: p, Class: 1 - p} }

func (m Mix) validate(prototypes bool) error {
	sum := 0.0
	for _, p := range []float64{m.None, m.Class, m.Both, m.Prototype} {
		if !(p >= 0) {
			return fmt.Errorf("the probabilities of conditions must not be negative: %+v", m)
		}
		sum += p
	}
	if math.Abs(sum-1) > 1e-9 {
		return fmt.Errorf("the probabilities of conditions must sum to 1, but sum to %v", sum)
	}
	if !prototypes && m.Both+m.Prototype > 0 {
		return fmt.Errorf("a network without prototype channels cannot keep a prototype: %+v", m)
	}
	return nil
}

// draw says which conditions an example keeps.
func (m Mix) draw(s *draws.Stream) (class, prototype bool) {
	u := s.Float64()
	switch {
	case u < m.Class:
		return true, false
	case u < m.Class+m.Both:
		return true, true
	case u < m.Class+m.Both+m.Prototype:
		return false, true
	}
	return false, false
}

// Preparation turns images into training examples. It is read-only once
// checked and may be shared by goroutines.
type Preparation struct {
	Tables            *Tables
	Prediction        Prediction
	Codec             Codec
	Times             Range // timesteps are uniform in it
	Mix               Mix
	NoLabel           int // the class embedding's row for "no label"; -1: the network takes no class
	PrototypeChannels int // appended to the sample's channels; 0: none
	Augment           Augmenter
}

// Validate refuses a preparation that cannot work.
func (p *Preparation) Validate() error {
	if err := p.Codec.Validate(); err != nil {
		return err
	}
	if err := p.Prediction.Validate(); err != nil {
		return err
	}
	if t := p.Times; t.From < 0 || t.From >= t.To || t.To > p.Tables.Timesteps() {
		return fmt.Errorf("the timesteps to train must be a range within 0..%d, but are %d..%d", p.Tables.Timesteps(), t.From, t.To)
	}
	if p.NoLabel == -1 && p.Mix.Class+p.Mix.Both > 0 {
		return fmt.Errorf("a network that takes no class cannot keep one: %+v", p.Mix)
	}
	if p.PrototypeChannels < 0 || p.NoLabel < -1 {
		return fmt.Errorf("the number of prototype channels (%d) and the no-label row (%d) must not be negative", p.PrototypeChannels, p.NoLabel)
	}
	return p.Mix.validate(p.PrototypeChannels > 0)
}

// Example is one training example as the network takes it.
type Example struct {
	Sample   []float32 // x_t in the grid's order, then the prototype channels (zeros when dropped)
	Target   []float32
	Timestep int
	Class    int // the label, or Preparation.NoLabel; below 0 there is none to set

	image, augmented, clean, noise []float32
	draws                          draws.Stream // scratch: one after another
}

// NewExample allocates an example, to be prepared again and again.
func (p *Preparation) NewExample() *Example {
	n, g := p.Codec.Size(), p.Codec.Grid()
	return &Example{
		Sample: make([]float32, n+p.PrototypeChannels*g.H*g.W),
		Target: make([]float32, n),
		image:  make([]float32, n), augmented: make([]float32, n),
		clean: make([]float32, n), noise: make([]float32, n),
	}
}

// Prepare fills e with copy k of the example with the given id: its image
// (CHW bytes), label and prototype (PrototypeChannels x grid, nil when the
// network has none). All that is random is a function of d's key, id and k.
func (p *Preparation) Prepare(e *Example, d *draws.Draws, id uint64, k int, image []uint8, label int, prototype []float32) error {
	n := p.Codec.Size()
	if len(image) != n || len(prototype) != len(e.Sample)-n {
		return fmt.Errorf("an example needs %d bytes of image and %d values of prototype, but has %d and %d", n, len(e.Sample)-n, len(image), len(prototype))
	}
	if k < 0 || k > math.MaxUint16 {
		return fmt.Errorf("copy %d of an example is out of range", k)
	}
	p.load(e, d, id, k, image)
	d.Open(&e.draws, id, uint16(k), draws.Noise).Normals(e.noise)
	e.Timestep = p.Times.From + d.Open(&e.draws, id, uint16(k), draws.Time).Intn(p.Times.To-p.Times.From)
	a, s := p.Tables.Signal[e.Timestep], p.Tables.Noise[e.Timestep]
	AddNoise(e.Sample[:n], e.clean, e.noise, a, s)
	p.Prediction.Target(e.Target, e.clean, e.noise, a, s)
	p.condition(e, d.Open(&e.draws, id, uint16(k), draws.Condition), label, prototype)
	return nil
}

// load fills e.clean with the image, augmented.
func (p *Preparation) load(e *Example, d *draws.Draws, id uint64, k int, image []uint8) {
	Levels(e.image, image)
	pixels := e.image
	if p.Augment != nil {
		p.Augment.Apply(e.augmented, e.image, p.Codec.Image, d.Open(&e.draws, id, uint16(k), draws.Augment))
		pixels = e.augmented
	}
	p.Codec.Unshuffle(e.clean, pixels)
}

func (p *Preparation) condition(e *Example, s *draws.Stream, label int, prototype []float32) {
	keepClass, keepPrototype := p.Mix.draw(s)
	e.Class = p.NoLabel
	if keepClass {
		e.Class = label
	}
	channels := e.Sample[len(e.Target):]
	clear(channels)
	if keepPrototype {
		copy(channels, prototype)
	}
}
