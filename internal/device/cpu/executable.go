package cpu

import (
	"fmt"
	"unsafe"

	"github.com/dploda/dploda/internal/device"
)

// executable is a compiled list. Only the parameters change after Compile.
type executable struct {
	list     *device.OpList
	steps    []step
	ops      []int // the op of each step
	winograd map[int]int64
	layouts  []*layout
	inputs   map[string]*layout
	outputs  map[string]*layout
	params   map[string]device.ParamID
	set      []bool // by parameter
	indexes  map[string]int
	store    weightStore
	arena    int // floats, of which the first are inputs
	persist  int
	scratch  int
	gradient int
}

func (c *compiler) executable() *executable {
	e := &executable{
		list: c.list, steps: c.steps, ops: c.ops, winograd: c.winogradFLOPs, layouts: c.layouts, store: c.store,
		inputs: map[string]*layout{}, outputs: map[string]*layout{},
		params: map[string]device.ParamID{}, indexes: map[string]int{},
		arena: c.arena, persist: c.inputs, scratch: c.scratch,
	}
	for _, in := range c.list.Inputs {
		e.inputs[in.Name] = c.layout(in.Value)
	}
	for _, out := range c.list.Outputs {
		e.outputs[out.Name] = c.layout(out.Value)
	}
	for i, p := range c.store.params {
		e.params[p.Name] = device.ParamID(i)
	}
	for i, n := range c.list.Indexes {
		e.indexes[n.Name] = i
	}
	switch c.list.Mode {
	case device.PerExample:
		e.gradient = c.list.Trainable() * lanes
	case device.Summed:
		e.gradient = c.list.Trainable()
	}
	e.set = make([]bool, len(c.store.params))
	e.store.data = alignedFloats(e.store.size)
	return e
}

// alignedFloats returns n zeros that start on a cache line, so that no load of
// 16 lanes crosses one.
func alignedFloats(n int) []float32 {
	if n == 0 {
		return nil
	}
	s := make([]float32, n+lanes)
	skip := 0
	for uintptr(unsafe.Pointer(&s[skip]))%64 != 0 {
		skip++
	}
	return s[skip : skip+n : skip+n]
}

func (e *executable) SetParam(name string, values []float32) error {
	p, ok := e.params[name]
	if !ok {
		return fmt.Errorf("cpu: the op list has no parameter %q", name)
	}
	if err := e.store.set(p, values); err != nil {
		return err
	}
	e.set[p] = true
	return nil
}

func (e *executable) SetTrainable(flat []float32) error {
	if len(flat) != e.list.Trainable() {
		return fmt.Errorf("cpu: %d trainable values given, the op list has %d", len(flat), e.list.Trainable())
	}
	for i, p := range e.store.params {
		if !p.Trainable {
			continue
		}
		if err := e.store.set(device.ParamID(i), flat[p.Offset:p.Offset+p.Len()]); err != nil {
			return err
		}
		e.set[i] = true
	}
	return nil
}

// checkParams refuses to run with parameters that were never set.
func (e *executable) checkParams() error {
	for i, ok := range e.set {
		if !ok {
			return fmt.Errorf("cpu: parameter %q was never set", e.store.params[i].Name)
		}
	}
	return nil
}

func (e *executable) NewStream() (device.Stream, error) {
	return &stream{
		executable: e,
		weights:    e.store.data,
		arena:      alignedFloats(e.arena),
		gradient:   alignedFloats(e.gradient),
		scratch:    alignedFloats(e.scratch),
		indexes:    make([][lanes]int, len(e.indexes)),
	}, nil
}

func (e *executable) Memory() device.Memory {
	const float = 4
	return device.Memory{
		Weights:           float * int64(len(e.store.data)),
		ArenaPerStream:    float * int64(e.arena+e.scratch),
		GradientPerStream: float * int64(e.gradient),
	}
}
