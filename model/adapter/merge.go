package adapter

import (
	"fmt"

	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/unet"
)

// Merge returns the base with the adapter in its own weights: a network without
// adapters that predicts what base and adapter do together, up to rounding. A
// linear adapter becomes part of its layer, W + (alpha/rank)·B·A (Hu et al.
// 2021, section 4.1); the fresh class embedding takes the place of the base's.
// One with a nonlinearity cannot be merged.
func (a *Adapter) Merge(base *unet.Base) (*unet.Base, error) {
	s := a.Spec
	adapters := s.Kind == LoDA || s.Kind == LoRA
	if adapters && s.Nonlinearity != Identity && s.Nonlinearity != "" {
		return nil, fmt.Errorf("an adapter of kind %s with nonlinearity %s is not linear and cannot be merged into the base's weights", s.Kind, s.Nonlinearity)
	}
	config := base.Config
	if s.Classes > 0 {
		config.NumClassEmbeds = s.Classes + 1
	}
	params, err := config.Parameters()
	if err != nil {
		return nil, err
	}
	tensors := make([]safetensors.Tensor, len(params))
	for i, p := range params {
		values := base.Tensor(p.Name)
		if own := a.Tensor(p.Name); own != nil {
			values = own
		}
		merged := make([]float32, len(values))
		copy(merged, values)
		tensors[i] = safetensors.Tensor{Name: p.Name, Dims: p.Dims, Data: merged}
	}
	b, err := unet.FromTensors(config, tensors)
	if err != nil || !adapters {
		return b, err
	}
	modules, err := base.Config.Modules()
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		if down := a.Tensor(m.Name + suffixA); down != nil {
			addProduct(b.Tensor(m.Name+".weight"), a.Tensor(m.Name+suffixB), down, s.Rank, float64(s.scale()))
		}
	}
	return b, nil
}

// addProduct adds scale·B·A to w: B [out, rank], A [rank, n], w [out, n], where n
// is all of a layer's input, kernel included.
func addProduct(w, b, a []float32, rank int, scale float64) {
	n := len(a) / rank
	for o := range len(w) / n {
		for i := range n {
			sum := 0.0
			for r := range rank {
				sum += float64(b[o*rank+r]) * float64(a[r*n+i])
			}
			w[o*n+i] = float32(float64(w[o*n+i]) + scale*sum)
		}
	}
}
