package device

import "fmt"

// OpList is a static program for one group of examples. It is read-only: a
// device reads its fields, a model's code only its methods.
type OpList struct {
	Mode    GradMode
	Ops     []Op
	Shapes  []Shape // by Value
	Inputs  []NamedValue
	Indexes []NamedIndex
	Outputs []NamedValue

	params []Param
	size   int
}

// Params returns all declared parameters, in order of declaration; a ParamID
// is an index of it.
func (l *OpList) Params() []Param { return l.params }

// Trainable is the number of trainable coordinates.
func (l *OpList) Trainable() int { return l.size }

// Forward returns the list that computes the outputs.
func (b *Builder) Forward() (*OpList, error) {
	if b.err != nil {
		return nil, b.err
	}
	l := b.list(NoGradient)
	l.Ops = plain(needed(b.ops, b.outputValues()))
	l.fuse()
	return l, l.check()
}

// Gradient returns the list that computes the outputs and the gradient of loss
// {1,1,1} with respect to the trainable parameters.
func (b *Builder) Gradient(loss Value, mode GradMode) (*OpList, error) {
	if b.err == nil && b.Shape(loss) != (Shape{1, 1, 1}) {
		b.fail("a loss is one number, not %v", b.Shape(loss))
	}
	if mode != PerExample && mode != Summed {
		b.fail("%d is not a mode of gradient", mode)
	}
	if b.err != nil {
		return nil, b.err
	}
	l := b.list(mode)
	forward := needed(b.ops, append(b.outputValues(), loss))
	backward, shapes, err := differentiate(forward, l.Shapes, b.params, loss)
	if err != nil {
		return nil, err
	}
	l.Ops, l.Shapes = append(plain(forward), backward...), shapes
	l.fuse()
	return l, l.check()
}

func (b *Builder) list(mode GradMode) *OpList {
	return &OpList{
		Mode: mode, Shapes: append([]Shape(nil), b.shapes...),
		Inputs: append([]NamedValue(nil), b.inputs...), Indexes: append([]NamedIndex(nil), b.indexes...),
		Outputs: append([]NamedValue(nil), b.outputs...),
		params:  append([]Param(nil), b.params...), size: b.size,
	}
}

func (b *Builder) outputValues() []Value {
	var v []Value
	for _, o := range b.outputs {
		v = append(v, o.Value)
	}
	return v
}

// needed returns the ops that the roots depend on, in order.
func needed(ops []forwardOp, roots []Value) []forwardOp {
	use := map[Value]bool{}
	for _, v := range roots {
		use[v] = true
	}
	keep := make([]bool, len(ops))
	n := 0
	for i := len(ops) - 1; i >= 0; i-- {
		if keep[i] = use[ops[i].result()]; keep[i] {
			n++
			for _, v := range ops[i].Reads() {
				use[v] = true
			}
		}
	}
	out := make([]forwardOp, 0, n)
	for i, op := range ops {
		if keep[i] {
			out = append(out, op)
		}
	}
	return out
}

func plain(ops []forwardOp) []Op {
	out := make([]Op, len(ops))
	for i, op := range ops {
		out[i] = op
	}
	return out
}

// check refuses a list in which a value is read before it is written: a mistake
// in a rule.
func (l *OpList) check() error {
	written := make([]bool, len(l.Shapes))
	for _, in := range l.Inputs {
		written[in.Value] = true
	}
	for i, op := range l.Ops {
		for _, v := range op.Reads() {
			if v != NoValue && !written[v] {
				return fmt.Errorf("device: op %d, %T, reads a value that nothing wrote", i, op)
			}
		}
		for _, v := range op.Writes() {
			if v != NoValue {
				written[v] = true
			}
		}
	}
	for _, out := range l.Outputs {
		if !written[out.Value] {
			return fmt.Errorf("device: nothing writes output %q", out.Name)
		}
	}
	return nil
}

// FLOPs is the analytic number of floating-point operations of one example in
// one run: that of all ops.
func (l *OpList) FLOPs() int64 {
	var n int64
	for _, op := range l.Ops {
		n += l.OpFLOPs(op)
	}
	return n
}

// OpFLOPs is the least number of floating-point operations that the definition
// of an op asks for, for one example: two for each multiply-add of
// convolutions, linear maps and attention. Taps that fall on padding do not
// count, nor does element-wise work.
func (l *OpList) OpFLOPs(op Op) int64 {
	switch o := op.(type) {
	case *Convolution:
		return l.convolutionFLOPs(o.X, o.Y, o.Kernel, o.Conv)
	case *ConvolutionData:
		return l.convolutionFLOPs(o.DX, o.DY, o.Kernel, o.Conv)
	case *ConvolutionWeights:
		if o.W != NoParam {
			return l.convolutionFLOPs(o.X, o.DY, o.Kernel, o.Conv)
		}
	case *Attention:
		return 2 * l.attentionFLOPs(o.Q)
	case *AttentionBackward:
		n := l.attentionFLOPs(o.Q) // of the probabilities
		for _, v := range []Value{o.DQ, o.DK, o.DV} {
			if v != NoValue {
				n += l.attentionFLOPs(o.Q)
			}
		}
		return n
	}
	return 0
}

// convolutionFLOPs counts the pairs of an input and an output pixel that a
// kernel position joins: the same for the convolution and both its gradients.
func (l *OpList) convolutionFLOPs(x, y Value, kernel [2]int, c Conv) int64 {
	in, out := l.Shapes[x], l.Shapes[y]
	pairs := int64(joined(in.H, out.H, kernel[0], c.Stride, c.Top)) * int64(joined(in.W, out.W, kernel[1], c.Stride, c.Left))
	return 2 * int64(in.C) * int64(out.C) * pairs
}

// joined counts, in one direction, the output positions and taps that meet an
// input position and not padding.
func joined(in, out, kernel, stride, pad int) int {
	n := 0
	for q := range out {
		first := q*stride - pad
		n += max(0, min(in, first+kernel)-max(0, first))
	}
	return n
}

// attentionFLOPs is one product of queries and keys or of probabilities and
// values, over all heads.
func (l *OpList) attentionFLOPs(q Value) int64 {
	s := l.Shapes[q]
	return 2 * int64(s.Len()) * int64(s.H*s.W)
}
