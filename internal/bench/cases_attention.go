package bench

import (
	"fmt"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// tokens is one head of attention over side x side pixels.
type tokens struct{ side, width int }

func (t tokens) count() int { return t.side * t.side }

func (t tokens) shape() string { return fmt.Sprintf("%d tokens of %d", t.count(), t.width) }

// strided lists n offsets.
func strided(n, stride int) []int32 {
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(i * stride)
	}
	return p
}

// The matrices are scores [T][T][16] and values [d][T][16], with the gaps that
// the cpu device leaves so that a column spreads over the caches; the products
// are those of its attention.

// row is the stride between the rows of scores: an odd number of pixels.
func (t tokens) row() int { return (t.count() | 1) * kernel.Lanes }

// plane is the stride between the channels of values.
func (t tokens) plane() int {
	n := t.count()
	if n%8 == 0 {
		n++
	}
	return n * kernel.Lanes
}

func (t tokens) scores() *kernel.ProductSpec {
	n, plane := t.count(), t.plane()
	return &kernel.ProductSpec{
		A: strided(n, kernel.Lanes), DstO: strided(n, t.row()), B: strided(n, kernel.Lanes), DstT: strided(n, kernel.Lanes),
		Rows: t.width, Cols: 1, ARow: plane, BRow: plane,
	}
}

// rows is dst[d][i] = Σ_j S[i][j]·v[d][j], columns the same with S[j][i].
func (t tokens) rows() *kernel.ProductSpec    { return t.mix(t.row(), kernel.Lanes) }
func (t tokens) columns() *kernel.ProductSpec { return t.mix(kernel.Lanes, t.row()) }

func (t tokens) mix(token, other int) *kernel.ProductSpec {
	n, plane := t.count(), t.plane()
	return &kernel.ProductSpec{
		A: strided(n, token), DstO: strided(n, kernel.Lanes), B: strided(t.width, plane), DstT: strided(t.width, plane),
		Rows: 1, Cols: n, APix: other, BPix: kernel.Lanes,
	}
}

// product is a row of one of them.
func (t tokens) product(dir string, spec *kernel.ProductSpec, left, right, result int) kernelCase {
	flops := 2 * float64(kernel.Lanes*t.count()*t.count()*t.width)
	return kernelCase{op: "attention product", dir: dir, shape: t.shape(), bar: barAttention, prepare: func() (func() (func(), error), work, error) {
		newWork := func() (func(), error) {
			a, b, dst := lanesOf(left, 1), lanesOf(right, 2), lanesOf(result, 3)
			return func() { kernel.LaneProduct(dst, a, b, spec, false) }, nil
		}
		return newWork, work{algorithm: device.Direct, executed: flops, direct: flops}, nil
	}}
}

func (t tokens) cases() []kernelCase {
	square, values := t.count()*t.row(), t.width*t.plane()
	return []kernelCase{
		t.product("scores", t.scores(), values, values, square),
		t.product("mix", t.rows(), square, values, values),
		t.product("mix of the scores' columns", t.columns(), square, values, values),
		t.softmax("forward", 2, func(s, _ []float32) { kernel.Softmax(s, t.count(), t.count(), t.row(), 0.125) }),
		t.softmax("backward", 3, func(s, p []float32) {
			kernel.SoftmaxBackward(s, p, t.count(), t.count(), t.row(), 0.125)
		}),
		t.whole("forward", device.NoGradient, only[*device.Attention](nil)),
		t.whole("backward", device.Summed, only[*device.AttentionBackward](nil)),
	}
}

// softmax is a row by bytes, of passes over the scores.
func (t tokens) softmax(dir string, passes int, run func(s, p []float32)) kernelCase {
	n := t.count() * t.count() * kernel.Lanes
	bytes := 4 * passes * n
	return kernelCase{op: "softmax", dir: dir, shape: t.shape(), prepare: func() (func() (func(), error), work, error) {
		return cycled(bytes, func(seed int) func() {
			s, p := lanesOf(t.count()*t.row(), seed), lanesOf(t.count()*t.row(), seed+1)
			return func() { run(s, p) }
		}), work{bytes: float64(bytes), inPlace: true}, nil
	}}
}

// whole is the op as models have it, softmax included.
func (t tokens) whole(dir string, mode device.GradMode, keep func(device.Op) bool) kernelCase {
	return listCase{op: "attention", dir: dir, shape: t.shape(), mode: mode, keep: keep, build: func(b *device.Builder) device.Value {
		shape := device.Shape{C: t.width, H: t.side, W: t.side}
		x := b.Input("x", shape)
		if mode != device.NoGradient {
			x = trained(b, x)
		}
		return b.Attention(x, x, x, 1)
	}}.kernelCase()
}

func attentionCases() []kernelCase {
	var cases []kernelCase
	for _, t := range []tokens{{16, 64}, {14, 64}, {8, 64}, {7, 64}} {
		cases = append(cases, t.cases()...)
	}
	return cases
}

// cycled makes enough buffers for calls of the given traffic to miss the
// caches, and goes round them.
func cycled(bytes int, newCall func(seed int) func()) func() (func(), error) {
	return func() (func(), error) {
		var calls []func()
		for i := range min(maxStreams, 1+memoryFootprint/bytes) {
			call := newCall(i)
			call() // touches all memory
			calls = append(calls, call)
		}
		next := 0
		return func() {
			calls[next]()
			if next++; next == len(calls) {
				next = 0
			}
		}, nil
	}
}
