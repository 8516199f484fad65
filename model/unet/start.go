package unet

import (
	"math"

	"github.com/dploda/dploda/model/draws"
)

// NewBase returns a base model with PyTorch's initial weights, as diffusers
// leaves them: convolutions and linear layers uniform within 1/√fan_in (He et
// al. 2015 with a=√5), their biases likewise, norms 1 and 0, embeddings
// standard normal. Equal draws give equal bits.
func NewBase(c Config, d *draws.Draws) (*Base, error) {
	params, err := c.Parameters()
	if err != nil {
		return nil, err
	}
	tensors := map[string][]float32{}
	for i, p := range params {
		values := make([]float32, p.Len())
		initialise(values, p, d.Stream(uint64(i), 0, draws.Init))
		tensors[p.Name] = values
	}
	return &Base{Config: c, params: params, tensors: tensors}, nil
}

func initialise(dst []float32, p Parameter, s *draws.Stream) {
	switch m := p.Module; m.Role {
	case RoleNorm:
		if p.Name == m.Name+".weight" {
			fill(dst, 1)
		}
	case RoleClass:
		s.Normals(dst)
	default:
		KaimingUniform(dst, m.In*m.Kernel*m.Kernel, s)
	}
}

// KaimingUniform fills dst with uniform numbers within 1/√fanIn, PyTorch's
// kaiming_uniform_ with a=√5.
func KaimingUniform(dst []float32, fanIn int, s *draws.Stream) {
	bound := 1 / math.Sqrt(float64(fanIn))
	for i := range dst {
		dst[i] = float32(s.Uniform(-bound, bound))
	}
}

func fill(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}
