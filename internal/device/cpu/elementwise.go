package cpu

import (
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// elementwise returns nil for an op that it does not know.
func (c *compiler) elementwise(op device.Op) step {
	switch o := op.(type) {
	case *device.SiLU:
		y, x := c.layout(o.Y), c.layout(o.X)
		return func(s *stream) { kernel.SiLU(x.extent(), y.view(s), x.view(s)) }
	case *device.SiLUBackward:
		dx, dy, x := c.layout(o.DX), c.layout(o.DY), c.layout(o.X)
		return func(s *stream) { kernel.SiLUBackward(x.extent(), dx.view(s), dy.view(s), x.view(s), o.Accumulate) }
	case *device.ReLU:
		y, x := c.layout(o.Y), c.layout(o.X)
		return func(s *stream) { kernel.ReLU(x.extent(), y.view(s), x.view(s)) }
	case *device.ReLUBackward:
		dx, dy, y := c.layout(o.DX), c.layout(o.DY), c.layout(o.Y)
		return func(s *stream) { kernel.ReLUBackward(y.extent(), dx.view(s), dy.view(s), y.view(s), o.Accumulate) }
	case *device.Add:
		z, x, y := c.layout(o.Z), c.layout(o.X), c.layout(o.Y)
		return func(s *stream) { kernel.Add(z.extent(), z.view(s), x.view(s), y.view(s)) }
	case *device.Scale:
		return c.scale(o)
	case *device.Fill:
		y := c.layout(o.Y)
		return func(s *stream) { kernel.Fill(y.extent(), y.view(s), o.S) }
	case *device.AddChannels:
		y, x, v := c.layout(o.Y), c.layout(o.X), c.layout(o.V)
		return func(s *stream) { kernel.AddChannels(x.extent(), y.view(s), x.view(s), v.interior(s), v.plane) }
	case *device.SumPixels:
		v, x := c.layout(o.V), c.layout(o.X)
		return func(s *stream) {
			if !o.Accumulate {
				kernel.Fill(v.extent(), v.view(s), 0)
			}
			kernel.PlaneSums(x.extent(), v.interior(s), v.plane, x.view(s))
		}
	}
	return c.spatial(op)
}

func (c *compiler) scale(o *device.Scale) step {
	y, x, e := c.layout(o.Y), c.layout(o.X), c.layout(o.X).extent()
	switch {
	case o.Accumulate && o.S == 1:
		return func(s *stream) { kernel.Add(e, y.view(s), y.view(s), x.view(s)) }
	case o.Accumulate:
		return func(s *stream) { kernel.Axpy(e, y.view(s), o.S, x.view(s)) }
	case o.S == 1:
		return func(s *stream) { kernel.Copy(e, y.view(s), x.view(s)) }
	}
	return func(s *stream) { kernel.Scale(e, y.view(s), o.S, x.view(s)) }
}

func (c *compiler) spatial(op device.Op) step {
	switch o := op.(type) {
	case *device.Concat:
		z, x, y := c.layout(o.Z), c.layout(o.X), c.layout(o.Y)
		return func(s *stream) {
			kernel.Copy(x.extent(), z.view(s), x.view(s))
			kernel.Copy(y.extent(), z.slice(s, x.C), y.view(s))
		}
	case *device.SliceChannels:
		x, y, e := c.layout(o.X), c.layout(o.Y), c.layout(o.X).extent()
		if o.Accumulate {
			return func(s *stream) { kernel.Add(e, x.view(s), x.view(s), y.slice(s, o.From)) }
		}
		return func(s *stream) { kernel.Copy(e, x.view(s), y.slice(s, o.From)) }
	case *device.Upsample:
		y, x := c.layout(o.Y), c.layout(o.X)
		return func(s *stream) { kernel.Upsample2x(x.extent(), y.view(s), x.view(s)) }
	case *device.UpsampleBackward:
		dx, dy := c.layout(o.DX), c.layout(o.DY)
		return func(s *stream) { kernel.Upsample2xBackward(dx.extent(), dx.view(s), dy.view(s), o.Accumulate) }
	case *device.MaxPool:
		y, x := c.layout(o.Y), c.layout(o.X)
		return func(s *stream) { kernel.MaxPool2(y.extent(), y.view(s), x.view(s)) }
	case *device.MaxPoolBackward:
		dx, dy, x := c.layout(o.DX), c.layout(o.DY), c.layout(o.X)
		return func(s *stream) { kernel.MaxPool2Backward(dy.extent(), dx.view(s), dy.view(s), x.view(s)) }
	}
	return nil
}

func (c *compiler) groupNorm(o *device.GroupNorm) step {
	y, x, stats := c.layout(o.Y), c.layout(o.X), c.layout(o.Stats)
	gamma, beta := c.raw(o.Gamma), c.raw(o.Beta)
	n := kernel.GroupNorm{Extent: x.extent(), Groups: o.Groups, Eps: o.Eps, SiLU: o.SiLU}
	return func(s *stream) {
		n.Forward(y.view(s), x.view(s), gamma.of(s), beta.of(s), stats.buffer(s))
	}
}

func (c *compiler) groupNormBackward(o *device.GroupNormBackward) step {
	dx, dz, dy, x, stats := c.layout(o.DX), c.layout(o.DZ), c.layout(o.DY), c.layout(o.X), c.layout(o.Stats)
	gamma, beta := c.raw(o.Gamma), c.raw(o.Beta)
	n := kernel.GroupNorm{Extent: x.extent(), Groups: o.Groups, Eps: o.Eps, SiLU: o.SiLU}
	g, b := c.vectorGradient(o.Gamma, 0), c.vectorGradient(o.Beta, 1)
	return func(s *stream) {
		n.Backward(dx.view(s), dz.view(s), dy.view(s), x.view(s), gamma.of(s), beta.of(s), stats.buffer(s),
			g.lanes(s), b.lanes(s), o.Accumulate)
		g.finish(s)
		b.finish(s)
	}
}

// vectorGradient is the gradient of a whole parameter that a kernel adds to
// together with others.
type vectorGradient struct {
	offset, size int
	scratch      int // its place in the scratch of a summed list
	trained      bool
	summed       bool
}

// vectorGradient places the slot-th gradient of one op.
func (c *compiler) vectorGradient(p device.ParamID, slot int) vectorGradient {
	param := c.store.params[p]
	g := vectorGradient{
		offset: param.Offset, size: param.Len(), scratch: slot * param.Len() * lanes,
		trained: param.Trainable, summed: c.list.Mode == device.Summed,
	}
	if g.trained && g.summed {
		c.scratch = max(c.scratch, g.scratch+g.size*lanes)
	}
	return g
}

// lanes returns where the kernel adds; nil if the parameter is frozen.
func (g vectorGradient) lanes(s *stream) []float32 {
	switch {
	case !g.trained:
		return nil
	case !g.summed:
		return s.gradient[g.offset*lanes : (g.offset+g.size)*lanes]
	}
	dst := s.scratch[g.scratch:][:g.size*lanes]
	clear(dst)
	return dst
}

// finish sums the lanes in a summed list.
func (g vectorGradient) finish(s *stream) {
	if g.trained && g.summed {
		kernel.SumLanes(s.gradient[g.offset:g.offset+g.size], s.scratch[g.scratch:][:g.size*lanes])
	}
}
