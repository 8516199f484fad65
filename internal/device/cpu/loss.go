package cpu

import (
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// The ops of this file touch a few numbers per lane; they are plain Go. Every
// product is converted to float32 before it is added, so that no compiler fuses.

// number returns the 16 lanes of a {1,1,1} value.
func (l *layout) number(s *stream) *[lanes]float32 { return (*[lanes]float32)(l.interior(s)) }

// vector returns the 16 lanes of element c of a {C,1,1} value.
func (l *layout) vector(s *stream, c int) *[lanes]float32 {
	return (*[lanes]float32)(l.interior(s)[c*l.plane:])
}

func (c *compiler) embedding(o *device.Embedding) step {
	y, table := c.layout(o.Y), c.raw(o.Table)
	return func(s *stream) {
		t, rows := table.of(s), &s.indexes[o.Row]
		for i := range y.C {
			v := y.vector(s, i)
			for l := range v {
				v[l] = t[rows[l]*y.C+i]
			}
		}
	}
}

// embeddingBackward adds to one row per lane; in a summed list the lanes add
// to the row in order.
func (c *compiler) embeddingBackward(o *device.EmbeddingBackward) step {
	dy, first := c.layout(o.DY), c.store.params[o.Table].Offset
	stride, lane := lanes, 1
	if c.list.Mode == device.Summed {
		stride, lane = 1, 0
	}
	return func(s *stream) {
		rows := &s.indexes[o.Row]
		for i := range dy.C {
			for l, g := range dy.vector(s, i) {
				s.gradient[(first+rows[l]*dy.C+i)*stride+l*lane] += g
			}
		}
	}
}

func (c *compiler) squaredError(o *device.SquaredError) step {
	loss, pred, target, weight := c.layout(o.Loss), c.layout(o.Pred), c.layout(o.Target), c.layout(o.Weight)
	n := float32(pred.Len())
	return func(s *stream) {
		var sum [lanes]float32
		kernel.SquaredDifference(pred.extent(), sum[:], pred.view(s), target.view(s))
		w := *weight.number(s)
		for l, v := range sum {
			loss.number(s)[l] = w[l] * (v / n)
		}
	}
}

func (c *compiler) squaredErrorBackward(o *device.SquaredErrorBackward) step {
	dx, dloss, x, y, weight := c.layout(o.DX), c.layout(o.DLoss), c.layout(o.X), c.layout(o.Y), c.layout(o.Weight)
	twoOverN := 2 / float32(x.Len())
	return func(s *stream) {
		factor := *weight.number(s)
		for l, g := range dloss.number(s) {
			factor[l] = float32(factor[l]*g) * twoOverN
		}
		kernel.ScaledDifference(x.extent(), dx.view(s), x.view(s), y.view(s), factor[:], o.Accumulate)
	}
}

func (c *compiler) crossEntropy(o *device.CrossEntropy) step {
	loss, p, logits, weight := c.layout(o.Loss), c.layout(o.P), c.layout(o.Logits), c.layout(o.Weight)
	return func(s *stream) {
		w, label := *weight.number(s), &s.indexes[o.Label]
		for l := range lanes {
			top := logits.vector(s, 0)[l]
			for i := range logits.C {
				top = max(top, logits.vector(s, i)[l])
			}
			var sum float32
			for i := range logits.C {
				e := kernel.Exp(logits.vector(s, i)[l] - top)
				p.vector(s, i)[l] = e
				sum += e
			}
			for i := range p.C {
				p.vector(s, i)[l] /= sum
			}
			chosen := logits.vector(s, label[l])[l] - top
			loss.number(s)[l] = w[l] * (kernel.Log(sum) - chosen)
		}
	}
}

func (c *compiler) crossEntropyBackward(o *device.CrossEntropyBackward) step {
	dlogits, dloss, p, weight := c.layout(o.DLogits), c.layout(o.DLoss), c.layout(o.P), c.layout(o.Weight)
	return func(s *stream) {
		factor, label := *weight.number(s), &s.indexes[o.Label]
		for l, g := range dloss.number(s) {
			factor[l] *= g
		}
		for i := range p.C {
			d, prob := dlogits.vector(s, i), p.vector(s, i)
			for l := range d {
				v := prob[l]
				if label[l] == i {
					v--
				}
				v *= factor[l]
				if o.Accumulate {
					v = float32(v) + d[l]
				}
				d[l] = v
			}
		}
	}
}
