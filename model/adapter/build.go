package adapter

import (
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/unet"
)

// Build records in b the base's network with what the spec attaches to it.
// What the spec trains is declared trainable, everything else frozen.
func Build(b *device.Builder, base unet.Config, s Spec) (*unet.Net, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	modules, err := base.Modules()
	if err != nil {
		return nil, err
	}
	if err := s.checkTargets(modules); err != nil {
		return nil, err
	}
	var opts unet.Options
	if s.Classes > 0 {
		opts.ClassRows = s.Classes + 1
	}
	switch s.Kind {
	case LoDA, LoRA:
		opts.Adapt = s.adapt
	case Full:
		opts.Trainable = s.targeted
	}
	return unet.Build(b, base, opts)
}

// The parameters of an adapter, after its module's name.
const (
	suffixA = ".lora_A.weight" // [rank, in, k, k] or [rank, in]
	suffixB = ".lora_B.weight" // [out, rank, 1, 1] or [out, rank]
)

// adapt returns y + (alpha/rank)·B(g(A(x))) for a targeted module. The scale
// is applied between g and B, where there are fewest channels.
func (s Spec) adapt(b *device.Builder, m unet.Module, x, y device.Value) device.Value {
	if !s.targeted(m) {
		return y
	}
	var h device.Value
	if m.Role == unet.RoleConv {
		a := b.Param(m.Name+suffixA, true, s.Rank, m.In, m.Kernel, m.Kernel)
		h = b.Conv2D(x, a, device.NoParam, m.Conv)
	} else {
		h = b.Linear(x, b.Param(m.Name+suffixA, true, s.Rank, m.In), device.NoParam)
	}
	switch s.Nonlinearity {
	case SiLU:
		h = b.SiLU(h)
	case ReLU:
		h = b.ReLU(h)
	}
	if scale := s.scale(); scale != 1 {
		h = b.Scale(h, scale)
	}
	if m.Role == unet.RoleConv {
		h = b.Conv2D(h, b.Param(m.Name+suffixB, true, m.Out, s.Rank, 1, 1), device.NoParam, device.Pad(0))
	} else {
		h = b.Linear(h, b.Param(m.Name+suffixB, true, m.Out, s.Rank), device.NoParam)
	}
	return b.Add(y, h)
}

// Parameters lists what the spec trains on a base, in the order of the flat
// vector.
func (s Spec) Parameters(base unet.Config) ([]device.Param, error) {
	b := device.NewBuilder()
	if _, err := Build(b, base, s); err != nil {
		return nil, err
	}
	list, err := b.Forward()
	if err != nil {
		return nil, err
	}
	var trained []device.Param
	for _, p := range list.Params() {
		if p.Trainable {
			trained = append(trained, p)
		}
	}
	return trained, nil
}
