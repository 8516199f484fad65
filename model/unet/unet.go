// Package unet is diffusers' UNet2DModel: the denoising network of DDPM (Ho et
// al. 2020, arXiv 2006.11239) with residual blocks, attention and a class
// embedding, as a static op list. Config, parameter names and folder layout are
// diffusers' own, so that a public checkpoint loads here and what dploda writes
// loads in Python.
package unet

import (
	"fmt"

	"github.com/dploda/dploda/internal/device"
)

// The names of the network's inputs and output in its op list.
const (
	InputSample = "sample" // {InChannels, SampleHeight, SampleWidth}
	InputTime   = "time"   // {BlockOutChannels[0], 1, 1}, a row of TimeTable
	InputClass  = "class"  // an index; absent in an unconditional network
)

// Role says what a module is for.
type Role int

const (
	RoleConv      Role = iota // a convolution
	RoleAttention             // a linear layer of attention
	RoleTime                  // a linear layer of the time embedding, or its projection in a residual block
	RoleNorm                  // a group norm
	RoleClass                 // the class embedding
)

// A Module is a layer with weights, under its name in diffusers.
type Module struct {
	Name    string
	Role    Role
	In, Out int         // channels; rows and width of an embedding
	Kernel  int         // side of a convolution's kernel, 1 elsewhere
	Conv    device.Conv // of a convolution
}

// Parameters lists a module's tensors in diffusers' names and PyTorch's
// dimensions.
func (m Module) Parameters() []Parameter {
	weight := Parameter{Name: m.Name + ".weight", Module: m}
	bias := Parameter{Name: m.Name + ".bias", Dims: []int{m.Out}, Module: m}
	switch m.Role {
	case RoleConv:
		weight.Dims = []int{m.Out, m.In, m.Kernel, m.Kernel}
	case RoleNorm:
		weight.Dims = []int{m.Out}
	case RoleClass:
		weight.Dims = []int{m.In, m.Out}
		return []Parameter{weight}
	default:
		weight.Dims = []int{m.Out, m.In}
	}
	return []Parameter{weight, bias}
}

// A Parameter is one tensor of the network.
type Parameter struct {
	Name   string
	Dims   []int
	Module Module
}

// Len is the number of elements.
func (p Parameter) Len() int { return device.Param{Dims: p.Dims}.Len() }

// Options say what is trained and what is attached to the network.
type Options struct {
	// Trainable says which modules' own tensors are trained; nil: none.
	Trainable func(Module) bool
	// Adapt is given every convolution and linear layer with its input x and
	// output y and returns what takes y's place; nil: nothing is attached.
	Adapt func(b *device.Builder, m Module, x, y device.Value) device.Value
	// ClassRows > 0 puts a fresh trainable class embedding of that many rows
	// in the place of the config's own.
	ClassRows int
}

// Net is a network in a Builder.
type Net struct {
	Prediction  device.Value // {OutChannels, SampleHeight, SampleWidth}
	Class       device.Index // if Conditional
	Conditional bool
	Modules     []Module // in the order of their declaration, without what Adapt attached
}

// Parameters lists the tensors of the network itself in the order of their
// declaration, which with everything trainable is that of the flat vector.
func (n *Net) Parameters() []Parameter {
	var all []Parameter
	for _, m := range n.Modules {
		all = append(all, m.Parameters()...)
	}
	return all
}

// Build records the network's forward pass in b. Its inputs are InputSample,
// InputTime and, where it is conditional, InputClass.
func Build(b *device.Builder, c Config, opts Options) (*Net, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if opts.ClassRows < 0 || opts.ClassRows > maxRows {
		return nil, fmt.Errorf("a class embedding of %d rows is outside 1 to %d", opts.ClassRows, maxRows)
	}
	g := &graph{b: b, config: c, opts: opts, net: &Net{}}
	g.embed()
	x := b.Input(InputSample, device.Shape{C: c.InChannels, H: c.SampleHeight, W: c.SampleWidth})
	x = g.conv("conv_in", x, c.BlockOutChannels[0], 3, device.Pad(1))
	x, skips := g.down(x)
	x = g.middle(x)
	x = g.up(x, skips)
	x = g.norm("conv_norm_out", x, c.NormNumGroups, true)
	g.net.Prediction = g.conv("conv_out", x, c.OutChannels, 3, device.Pad(1))
	return g.net, nil
}

// Parameters lists the tensors of a config's base model.
func (c Config) Parameters() ([]Parameter, error) {
	net, err := Build(device.NewBuilder(), c, Options{})
	if err != nil {
		return nil, err
	}
	return net.Parameters(), nil
}

// Modules lists the layers of a config's base model.
func (c Config) Modules() ([]Module, error) {
	net, err := Build(device.NewBuilder(), c, Options{})
	if err != nil {
		return nil, err
	}
	return net.Modules, nil
}
