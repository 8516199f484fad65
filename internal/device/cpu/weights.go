package cpu

import (
	"fmt"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// packing is one order of a convolution's weights, see [kernel.PackConv] and
// [kernel.PackWinograd].
type packing struct {
	param             device.ParamID
	cout, cin, kernel int
	taps              []int32 // kernel positions; nil for the values as they are
	transposed        bool
	winograd, flipped bool // see [kernel.PackWinograd]
}

func (p *packing) len() int {
	if p.winograd {
		return kernel.WinogradPackedLen(p.cout, p.cin)
	}
	return kernel.PackedLen(p.cout, p.cin, len(p.taps))
}

// weightStore holds every parameter in each of the orders that the list's
// kernels read.
type weightStore struct {
	params []device.Param
	uses   []packedUse
	byKey  map[string]weights
	data   []float32
	size   int
}

type packedUse struct {
	packing
	at weights
}

// weights is a place in a weightStore; the zero value is an absent parameter.
type weights struct{ offset, size int }

func (w weights) of(s *stream) []float32 {
	if w.size == 0 {
		return nil
	}
	return s.weights[w.offset : w.offset+w.size]
}

// pack reserves room for an order of weights; equal orders share it.
func (c *compiler) pack(p packing) weights {
	return c.store.reserve(p, p.len())
}

// raw reserves room for a parameter as it is.
func (c *compiler) raw(p device.ParamID) weights {
	if p == device.NoParam {
		return weights{}
	}
	return c.store.reserve(packing{param: p}, c.store.params[p].Len())
}

func (w *weightStore) reserve(p packing, n int) weights {
	key := fmt.Sprintf("%+v", p)
	if at, ok := w.byKey[key]; ok {
		return at
	}
	if w.byKey == nil {
		w.byKey = map[string]weights{}
	}
	at := weights{w.size, n}
	w.size += (n + lanes - 1) / lanes * lanes // aligned like a cache line
	w.byKey[key] = at
	w.uses = append(w.uses, packedUse{p, at})
	return at
}

// set stores a parameter in all its orders.
func (w *weightStore) set(p device.ParamID, values []float32) error {
	if want := w.params[p].Len(); len(values) != want {
		return fmt.Errorf("cpu: parameter %q has %d values, not %d", w.params[p].Name, want, len(values))
	}
	for _, u := range w.uses {
		if u.param != p {
			continue
		}
		dst := w.data[u.at.offset : u.at.offset+u.at.size]
		switch {
		case u.winograd:
			kernel.PackWinograd(dst, values, u.cout, u.cin, u.transposed, u.flipped)
		case u.taps == nil:
			copy(dst, values)
		default:
			kernel.PackConv(dst, values, u.cout, u.cin, u.taps, u.kernel, u.transposed)
		}
	}
	return nil
}
