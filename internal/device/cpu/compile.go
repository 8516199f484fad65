package cpu

import (
	"fmt"
	"math"
	"slices"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// step executes one op on a stream.
type step func(*stream)

type steps []step

func (l steps) run(s *stream) {
	for _, f := range l {
		f(s)
	}
}

// compiler turns an op list into steps.
type compiler struct {
	list    *device.OpList
	layouts []*layout // by value
	spans   []device.Span
	inputs  int // floats at the start of the arena that hold the inputs
	arena   int // floats
	scratch int // floats that the neediest op works in
	store   weightStore
	steps   steps
	ops     []int // the op of each step
	op      int   // that is being compiled
	// winogradFLOPs has the operations of the products of each op that is
	// computed by Winograd's algorithm, for one example.
	winogradFLOPs map[int]int64
}

func newCompiler(l *device.OpList) (*compiler, error) {
	c := &compiler{list: l, spans: l.Spans(), winogradFLOPs: map[int]int64{}}
	c.store.params = l.Params()
	halos := halos(l)
	for v, s := range l.Shapes {
		n := newLayout(s, halos[v])
		c.layouts = append(c.layouts, &n)
	}
	if err := c.checkSizes(); err != nil {
		return nil, err
	}
	c.place()
	return c, nil
}

// checkSizes: the kernels' tables of offsets are of 32 bits.
func (c *compiler) checkSizes() error {
	for _, l := range c.layouts {
		if l.size > math.MaxInt32 {
			return fmt.Errorf("cpu: a value of %d channels of %dx%d is too large for one buffer; use smaller images or less attention", l.C, l.H, l.W)
		}
	}
	for _, p := range c.store.params {
		if p.Len() > math.MaxInt32/lanes {
			return fmt.Errorf("cpu: parameter %q of %d elements is too large", p.Name, p.Len())
		}
	}
	return nil
}

// halos returns the border that the convolutions of the list need around each
// value.
func halos(l *device.OpList) []halo {
	h := make([]halo, len(l.Shapes))
	for _, op := range l.Ops {
		switch o := op.(type) {
		case *device.Convolution:
			h[o.X] = h[o.X].union(convolutionHalo(l.Shapes[o.X], l.Shapes[o.Y], o.Kernel, o.Conv))
		case *device.ConvolutionWeights:
			h[o.X] = h[o.X].union(convolutionHalo(l.Shapes[o.X], l.Shapes[o.DY], o.Kernel, o.Conv))
		case *device.ConvolutionData:
			h[o.DY] = h[o.DY].union(backwardHalo(l.Shapes[o.DX], l.Shapes[o.DY], o.Kernel, o.Conv))
		case *device.Attention:
			h[o.P] = h[o.P].union(scoresHalo(l.Shapes[o.P]))
		case *device.AttentionBackward:
			h[o.P], h[o.DP] = h[o.P].union(scoresHalo(l.Shapes[o.P])), h[o.DP].union(scoresHalo(l.Shapes[o.DP]))
		}
	}
	return h
}

// place lays out the arena: the inputs first, for they stay from run to run,
// then everything else by lifetime.
func (c *compiler) place() {
	spans := slices.Clone(c.spans)
	sizes := make([]int, len(spans))
	for _, in := range c.list.Inputs {
		l := c.layouts[in.Value]
		l.offset = c.inputs
		c.inputs += l.size
		spans[in.Value] = device.Span{First: 0, Last: -1} // placed
	}
	for v, l := range c.layouts {
		sizes[v] = l.size
	}
	buffers, total := device.PlaceBuffers(spans, sizes)
	for v, b := range buffers {
		if spans[v].Last >= spans[v].First {
			c.layouts[v].offset = c.inputs + b.Offset
		}
	}
	c.arena = c.inputs + total
}

func (c *compiler) layout(v device.Value) *layout { return c.layouts[v] }

// compile appends the steps of op i. A value born here lies on memory that held
// another, so its halo is cleared.
func (c *compiler) compile(i int, op device.Op) error {
	c.op = i
	for _, v := range op.Writes() {
		if v == device.NoValue || c.spans[v].First != i {
			continue
		}
		if l := c.layout(v); l.halo != (halo{}) {
			c.add(l.clearHalo)
		}
	}
	s := c.step(op)
	if s == nil {
		return fmt.Errorf("cpu: no kernel for the op %T", op)
	}
	c.add(s)
	return nil
}

// add appends a step of the op that is being compiled.
func (c *compiler) add(s step) {
	c.steps, c.ops = append(c.steps, s), append(c.ops, c.op)
}

func (c *compiler) step(op device.Op) step {
	switch o := op.(type) {
	case *device.Convolution:
		return c.convolution(o)
	case *device.ConvolutionData:
		return c.convolutionData(o)
	case *device.ConvolutionWeights:
		return c.convolutionWeights(o)
	case *device.GroupNorm:
		return c.groupNorm(o)
	case *device.GroupNormBackward:
		return c.groupNormBackward(o)
	case *device.Attention:
		return c.attention(o)
	case *device.AttentionBackward:
		return c.attentionBackward(o)
	case *device.Embedding:
		return c.embedding(o)
	case *device.EmbeddingBackward:
		return c.embeddingBackward(o)
	case *device.SquaredError:
		return c.squaredError(o)
	case *device.SquaredErrorBackward:
		return c.squaredErrorBackward(o)
	case *device.CrossEntropy:
		return c.crossEntropy(o)
	case *device.CrossEntropyBackward:
		return c.crossEntropyBackward(o)
	}
	return c.elementwise(op)
}

// parameterGradient makes the step that adds coordinates [first, first+n) of
// a parameter's gradient. compute adds to the lane gradients dst[n][16] or,
// if fresh is set, sets them.
func (c *compiler) parameterGradient(p device.ParamID, first, n int, compute func(s *stream, dst []float32, fresh bool)) step {
	first += c.store.params[p].Offset
	if c.list.Mode == device.PerExample {
		return func(s *stream) { compute(s, s.gradient[first*lanes:(first+n)*lanes], false) }
	}
	c.scratch = max(c.scratch, n*lanes)
	return func(s *stream) {
		dst := s.scratch[:n*lanes]
		compute(s, dst, true)
		kernel.SumLanes(s.gradient[first:first+n], dst)
	}
}
