// Package cpu runs op lists on the processor, 16 examples side by side in the
// lanes of SIMD registers. It plans buffers and precomputes offsets; the
// arithmetic is in package kernel, and with it the promise that every machine
// gives the same bits.
//
// A stream is one goroutine's arena. Streams share the weights, which are
// packed for the kernels when they are set.
package cpu

import "github.com/dploda/dploda/internal/device"

// New returns the processor as a device.
func New() device.Device { return processor{} }

type processor struct{}

// Kind names the arithmetic: float32, fused multiply-adds in the order of
// package kernel. The number grows whenever the bits of an op change.
func (processor) Kind() string { return "cpu-f32-2" }

func (processor) Lanes() int { return lanes }

// Compile plans the arena and precomputes the offsets of every op.
func (processor) Compile(l *device.OpList) (device.Executable, error) {
	c, err := newCompiler(l)
	if err != nil {
		return nil, err
	}
	for i, op := range l.Ops {
		if err := c.compile(i, op); err != nil {
			return nil, err
		}
	}
	return c.executable(), nil
}
