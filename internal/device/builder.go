package device

import "fmt"

// A Builder records the computation of one example. Its methods return the
// result's handle; misuse is reported once, by [Builder.Forward] or
// [Builder.Gradient], with the first mistake.
type Builder struct {
	shapes  []Shape // by Value
	ops     []forwardOp
	params  []Param
	names   map[string]bool
	inputs  []NamedValue
	indexes []NamedIndex
	outputs []NamedValue
	size    int // trainable coordinates so far
	err     error
}

// NamedValue is an input or an output of an op list.
type NamedValue struct {
	Name  string
	Value Value
}

// NamedIndex is an integer input in [0, N) of an op list.
type NamedIndex struct {
	Name string
	N    int
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder { return &Builder{names: map[string]bool{}} }

// Param declares a parameter. The flat vector of trainable parameters follows
// the order of declaration.
func (b *Builder) Param(name string, trainable bool, dims ...int) ParamID {
	p := Param{Name: name, Dims: append([]int(nil), dims...), Trainable: trainable, Offset: -1}
	for _, d := range dims {
		if d < 1 {
			b.fail("parameter %q has the empty dimensions %v", name, dims)
		}
	}
	b.declare("parameter", name)
	if trainable {
		p.Offset = b.size
		b.size += p.Len()
	}
	b.params = append(b.params, p)
	return ParamID(len(b.params) - 1)
}

// Input declares an input of float32 data.
func (b *Builder) Input(name string, s Shape) Value {
	b.declare("input", name)
	v := b.value(s)
	b.inputs = append(b.inputs, NamedValue{name, v})
	return v
}

// Index declares an integer input in [0, n).
func (b *Builder) Index(name string, n int) Index {
	b.declare("input", name)
	if n < 1 {
		b.fail("index %q has no values", name)
	}
	b.indexes = append(b.indexes, NamedIndex{name, n})
	return Index(len(b.indexes) - 1)
}

// Output names a value that a stream can read after a Run.
func (b *Builder) Output(name string, v Value) {
	b.declare("output", name)
	b.outputs = append(b.outputs, NamedValue{name, v})
}

// Shape returns the shape of a value.
func (b *Builder) Shape(v Value) Shape {
	if v < 0 || int(v) >= len(b.shapes) {
		b.fail("value %d does not exist", v)
		return Shape{1, 1, 1}
	}
	return b.shapes[v]
}

// Conv2D convolves x {C,H,W} with w [out, C, kh, kw]; bias [out] may be
// [NoParam].
func (b *Builder) Conv2D(x Value, w, bias ParamID, c Conv) Value {
	s, d := b.Shape(x), b.dims(w, 4)
	if c.Stride == 0 {
		c.Stride = 1
	}
	if d[1] != s.C {
		b.fail("convolution %q has %d input channels, its input %d", b.name(w), d[1], s.C)
	}
	if c.Stride < 1 || min(c.Top, c.Left, c.Bottom, c.Right) < 0 ||
		max(c.Top, c.Bottom) >= d[2] || max(c.Left, c.Right) >= d[3] {
		b.fail("convolution %q of size %dx%d cannot have the stride and padding %+v", b.name(w), d[2], d[3], c)
	}
	h, width := s.H+c.Top+c.Bottom-d[2], s.W+c.Left+c.Right-d[3]
	if h < 0 || width < 0 {
		b.fail("convolution %q of size %dx%d is larger than its padded input %dx%d", b.name(w), d[2], d[3], s.H, s.W)
	}
	if b.err != nil {
		return 0
	}
	b.checkVector("bias", bias, d[0])
	y := b.value(Shape{d[0], h/c.Stride + 1, width/c.Stride + 1})
	return b.record(y, &Convolution{Y: y, X: x, W: w, Bias: bias, Conv: c, Kernel: [2]int{d[2], d[3]}})
}

// Linear multiplies the channels of every pixel of x by w [out, in]; bias
// [out] may be [NoParam].
func (b *Builder) Linear(x Value, w, bias ParamID) Value {
	s, d := b.Shape(x), b.dims(w, 2)
	if d[1] != s.C {
		b.fail("linear map %q has %d input channels, its input %d", b.name(w), d[1], s.C)
	}
	b.checkVector("bias", bias, d[0])
	y := b.value(Shape{d[0], s.H, s.W})
	return b.record(y, &Convolution{Y: y, X: x, W: w, Bias: bias, Conv: Pad(0), Kernel: [2]int{1, 1}})
}

// GroupNorm normalises over groups of adjacent channels (Wu, He 2018, arXiv
// 1803.08494), then applies SiLU if silu is set.
func (b *Builder) GroupNorm(x Value, gamma, beta ParamID, groups int, eps float32, silu bool) Value {
	s := b.Shape(x)
	if groups < 1 || s.C%groups != 0 {
		b.fail("group norm %q: %d groups do not divide %d channels", b.name(gamma), groups, s.C)
		return x
	}
	if gamma == NoParam || beta == NoParam {
		b.fail("a group norm needs gamma and beta")
	}
	b.checkVector("gamma", gamma, s.C)
	b.checkVector("beta", beta, s.C)
	y, stats := b.value(s), b.value(Shape{2 * groups, 1, 1})
	return b.record(y, &GroupNorm{Y: y, Stats: stats, X: x, Gamma: gamma, Beta: beta, Groups: groups, Eps: eps, SiLU: silu})
}

// SiLU is x·sigmoid(x).
func (b *Builder) SiLU(x Value) Value {
	y := b.value(b.Shape(x))
	return b.record(y, &SiLU{Y: y, X: x})
}

// ReLU is max(x, 0).
func (b *Builder) ReLU(x Value) Value {
	y := b.value(b.Shape(x))
	return b.record(y, &ReLU{Y: y, X: x})
}

// Add is x + y, of equal shapes.
func (b *Builder) Add(x, y Value) Value {
	b.checkSame("add", x, y)
	z := b.value(b.Shape(x))
	return b.record(z, &Add{Z: z, X: x, Y: y})
}

// Scale is s·x.
func (b *Builder) Scale(x Value, s float32) Value {
	y := b.value(b.Shape(x))
	return b.record(y, &Scale{Y: y, X: x, S: s})
}

// AddChannels adds the vector v {C,1,1} to every pixel of x.
func (b *Builder) AddChannels(x, v Value) Value {
	s := b.Shape(x)
	if b.Shape(v) != (Shape{s.C, 1, 1}) {
		b.fail("cannot add the channels %v to %v", b.Shape(v), s)
	}
	y := b.value(s)
	return b.record(y, &AddChannels{Y: y, X: x, V: v})
}

// SumPixels is the sum over the pixels of each channel of x, as {C,1,1}. Scaled by
// one over their number it is a global average pool.
func (b *Builder) SumPixels(x Value) Value {
	v := b.value(Shape{b.Shape(x).C, 1, 1})
	return b.record(v, &SumPixels{V: v, X: x})
}

// Concat puts the channels of y after those of x.
func (b *Builder) Concat(x, y Value) Value {
	sx, sy := b.Shape(x), b.Shape(y)
	if sx.H != sy.H || sx.W != sy.W {
		b.fail("cannot concatenate %v and %v", sx, sy)
	}
	z := b.value(Shape{sx.C + sy.C, sx.H, sx.W})
	return b.record(z, &Concat{Z: z, X: x, Y: y})
}

// Attention is softmax(qᵀk/√d)·v over the pixels, in each of the heads of d =
// C/heads channels (Vaswani et al. 2017, equation 1).
func (b *Builder) Attention(q, k, v Value, heads int) Value {
	s := b.Shape(q)
	b.checkSame("attend with", q, k)
	b.checkSame("attend with", q, v)
	if heads < 1 || s.C%heads != 0 {
		b.fail("%d heads do not divide %d channels", heads, s.C)
		return q
	}
	y := b.value(s)
	tokens := s.H * s.W
	kept := heads
	if int64(heads)*int64(tokens)*int64(tokens) > maxKeptScores {
		kept = 1
	}
	p := b.value(Shape{kept, tokens, tokens})
	return b.record(y, &Attention{Y: y, P: p, Q: q, K: k, V: v, Heads: heads, Keep: kept == heads})
}

// maxKeptScores bounds the attention probabilities that are kept for the
// backward pass, per example; beyond it they are computed again. 65536 are
// 4 MiB for a group of 16.
const maxKeptScores = 1 << 16

// Upsample2x repeats every pixel twice in both directions.
func (b *Builder) Upsample2x(x Value) Value {
	s := b.Shape(x)
	y := b.value(Shape{s.C, 2 * s.H, 2 * s.W})
	return b.record(y, &Upsample{Y: y, X: x})
}

// MaxPool2 is the maximum of each 2x2 pixels; an odd last row or column is
// left out.
func (b *Builder) MaxPool2(x Value) Value {
	s := b.Shape(x)
	if s.H < 2 || s.W < 2 {
		b.fail("cannot pool %v", s)
		return x
	}
	y := b.value(Shape{s.C, s.H / 2, s.W / 2})
	return b.record(y, &MaxPool{Y: y, X: x})
}

// Embedding is the given row of table [rows, d], as {d,1,1}.
func (b *Builder) Embedding(table ParamID, row Index) Value {
	d := b.dims(table, 2)
	if n := b.index(row).N; n > d[0] {
		b.fail("index %q reaches %d, embedding %q has %d rows", b.index(row).Name, n, b.name(table), d[0])
	}
	y := b.value(Shape{d[1], 1, 1})
	return b.record(y, &Embedding{Y: y, Table: table, Row: row})
}

// MSE is weight·mean((pred-target)²), all means over one example's elements;
// weight is {1,1,1}.
func (b *Builder) MSE(pred, target, weight Value) Value {
	b.checkSame("compare", pred, target)
	b.checkNumber(weight)
	loss := b.value(Shape{1, 1, 1})
	return b.record(loss, &SquaredError{Loss: loss, Pred: pred, Target: target, Weight: weight})
}

// CrossEntropy is -weight·log softmax(logits)[label]; logits are {n,1,1}.
func (b *Builder) CrossEntropy(logits Value, label Index, weight Value) Value {
	s := b.Shape(logits)
	if s.H != 1 || s.W != 1 || b.index(label).N > s.C {
		b.fail("index %q of %d values does not fit logits %v", b.index(label).Name, b.index(label).N, s)
	}
	b.checkNumber(weight)
	loss, p := b.value(Shape{1, 1, 1}), b.value(s)
	return b.record(loss, &CrossEntropy{Loss: loss, P: p, Logits: logits, Label: label, Weight: weight})
}

func (b *Builder) value(s Shape) Value {
	if s.C < 1 || s.H < 1 || s.W < 1 {
		b.fail("a value cannot have the shape %v", s)
	}
	b.shapes = append(b.shapes, s)
	return Value(len(b.shapes) - 1)
}

func (b *Builder) record(v Value, op forwardOp) Value {
	if b.err == nil {
		b.ops = append(b.ops, op)
	}
	return v
}

func (b *Builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("device: "+format, args...)
	}
}

// declare refuses a second use of a name within its kind.
func (b *Builder) declare(kind, name string) {
	if b.names[kind+" "+name] {
		b.fail("%s %q is declared twice", kind, name)
	}
	b.names[kind+" "+name] = true
}

func (b *Builder) name(p ParamID) string {
	if p < 0 || int(p) >= len(b.params) {
		return "(none)"
	}
	return b.params[p].Name
}

func (b *Builder) index(i Index) NamedIndex {
	if i < 0 || int(i) >= len(b.indexes) {
		b.fail("index %d does not exist", i)
		return NamedIndex{}
	}
	return b.indexes[i]
}

// dims returns the n dimensions of a parameter, ones on misuse.
func (b *Builder) dims(p ParamID, n int) []int {
	if p < 0 || int(p) >= len(b.params) || len(b.params[p].Dims) != n {
		b.fail("parameter %q is not a tensor of %d dimensions", b.name(p), n)
		return []int{1, 1, 1, 1}[:n]
	}
	return b.params[p].Dims
}

func (b *Builder) checkVector(role string, p ParamID, n int) {
	if p == NoParam {
		return
	}
	if d := b.dims(p, 1); d[0] != n {
		b.fail("%s %q has %d elements, not %d", role, b.name(p), d[0], n)
	}
}

func (b *Builder) checkSame(verb string, x, y Value) {
	if b.Shape(x) != b.Shape(y) {
		b.fail("cannot %s %v and %v", verb, b.Shape(x), b.Shape(y))
	}
}

func (b *Builder) checkNumber(weight Value) {
	if b.Shape(weight) != (Shape{1, 1, 1}) {
		b.fail("the weight of a loss is one number, not %v", b.Shape(weight))
	}
}
