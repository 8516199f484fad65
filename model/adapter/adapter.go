package adapter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
)

// Adapter is what a run trains, with its values.
type Adapter struct {
	Header
	params []device.Param
	flat   []float32
}

// classWeight is the class embedding's tensor.
const classWeight = unet.ClassEmbedding + ".weight"

// Start returns the adapter with which training begins. It depends on public
// things only, the base and the draws: A is uniform as PEFT starts it
// (kaiming_uniform_ with a=√5), B zero, every row of the class embedding the
// base's row for no label (its last; zero where the base has no classes), and
// the weights of full fine-tuning are the base's.
func Start(base *unet.Base, s Spec, d *draws.Draws) (*Adapter, error) {
	params, err := s.Parameters(base.Config)
	if err != nil {
		return nil, err
	}
	hash, err := base.Hash()
	if err != nil {
		return nil, err
	}
	a := &Adapter{Header: Header{Spec: s, BaseHash: hash}, params: params, flat: make([]float32, size(params))}
	for i, p := range params {
		dst := a.values(p)
		switch {
		case strings.HasSuffix(p.Name, suffixA):
			fanIn := p.Len() / p.Dims[0]
			unet.KaimingUniform(dst, fanIn, d.Stream(uint64(i), 0, draws.Init))
		case strings.HasSuffix(p.Name, suffixB):
		case p.Name == classWeight && s.Classes > 0:
			repeatLastRow(dst, base.Tensor(classWeight), p.Dims[1])
		default:
			copy(dst, base.Tensor(p.Name))
		}
	}
	return a, nil
}

// repeatLastRow sets every row of dst to the last row of table.
func repeatLastRow(dst, table []float32, width int) {
	if len(table) < width {
		return
	}
	row := table[len(table)-width:]
	for ; len(dst) > 0; dst = dst[width:] {
		copy(dst, row)
	}
}

func size(params []device.Param) int {
	n := 0
	for _, p := range params {
		n += p.Len()
	}
	return n
}

// values is the part of the flat vector that holds p.
func (a *Adapter) values(p device.Param) []float32 {
	return a.flat[p.Offset : p.Offset+p.Len()]
}

// Parameters lists the tensors in the order of the flat vector.
func (a *Adapter) Parameters() []device.Param { return a.params }

// Flat returns a copy of the flat vector, in the order in which an executable
// takes and gives it.
func (a *Adapter) Flat() []float32 { return slices.Clone(a.flat) }

// SetFlat copies new values in.
func (a *Adapter) SetFlat(flat []float32) error {
	if len(flat) != len(a.flat) {
		return fmt.Errorf("adapter: a vector of %d values for an adapter of %d", len(flat), len(a.flat))
	}
	copy(a.flat, flat)
	return nil
}

// Tensor returns the values of a tensor, nil if the adapter has none of the
// name.
func (a *Adapter) Tensor(name string) []float32 {
	for _, p := range a.params {
		if p.Name == name {
			return a.values(p)
		}
	}
	return nil
}

// SetParams sets all parameters of an executable of list: the adapter's where
// it has them, else the base's.
func (a *Adapter) SetParams(exe device.Executable, list *device.OpList, base *unet.Base) error {
	return unet.SetParams(exe, list, a.Tensor, base.Tensor)
}

// SetOffParams is SetParams for sampling where the adapter is switched off, on a
// list of Kind None with the same Classes: of the adapter only a fresh class
// embedding, the rest is the base's, also what full fine-tuning trained.
func (a *Adapter) SetOffParams(exe device.Executable, list *device.OpList, base *unet.Base) error {
	classes := func(name string) []float32 {
		if name != classWeight || a.Spec.Classes == 0 {
			return nil
		}
		return a.Tensor(name)
	}
	return unet.SetParams(exe, list, classes, base.Tensor)
}
