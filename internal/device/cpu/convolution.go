package cpu

import (
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// axis is one direction of a convolution: of n input and out output positions,
// kernel taps, with the given stride and padding before the first position.
type axis struct{ n, out, kernel, stride, pad int }

func axes(x, y device.Shape, k [2]int, c device.Conv) (rows, cols axis) {
	return axis{x.H, y.H, k[0], c.Stride, c.Top}, axis{x.W, y.W, k[1], c.Stride, c.Left}
}

// border returns how far the taps reach before and after the input.
func (a axis) border() (before, after int) {
	return a.pad, max(0, (a.out-1)*a.stride-a.pad+a.kernel-a.n)
}

// parity is a sub-convolution of the backward pass by data. Input positions
// first, first+stride, … (count of them) get contributions from the kernel
// positions in taps; tap j of the m-th one reads output position start+m-j.
//
// In a forward convolution, output q reads input r = stride·q - pad + k through
// kernel position k. Hence r gets contributions from the k congruent to r+pad
// modulo the stride, from q = (r+pad-k)/stride.
type parity struct {
	first, count, start int
	taps                []int
}

func (a axis) parities() []parity {
	stride := a.backwardStride()
	var ps []parity
	for class := range stride {
		p := parity{start: max(0, (a.pad-class+stride-1)/stride)}
		p.first = stride*p.start + class - a.pad
		for k := class; k < a.kernel; k += stride {
			p.taps = append(p.taps, k)
		}
		if p.first < a.n {
			p.count = (a.n - p.first + stride - 1) / stride
			ps = append(ps, p)
		}
	}
	return ps
}

// backwardStride: with a single output, any stride gives the same convolution,
// and the kernel's own one leaves a single tap to each input position.
func (a axis) backwardStride() int {
	if a.out == 1 {
		return max(a.stride, a.kernel)
	}
	return a.stride
}

// backwardBorder returns how far the taps of the backward pass reach before
// and after the output.
func (a axis) backwardBorder() (before, after int) {
	for _, p := range a.parities() {
		if len(p.taps) > 0 {
			before = max(before, len(p.taps)-1-p.start)
			after = max(after, p.start+p.count-a.out)
		}
	}
	return before, after
}

// convolutionHalo is what the input of a convolution needs.
func convolutionHalo(x, y device.Shape, k [2]int, c device.Conv) (h halo) {
	rows, cols := axes(x, y, k, c)
	h.top, h.bottom = rows.border()
	h.left, h.right = cols.border()
	return h
}

// backwardHalo is what the gradient of a convolution's result needs.
func backwardHalo(x, y device.Shape, k [2]int, c device.Conv) (h halo) {
	rows, cols := axes(x, y, k, c)
	h.top, h.bottom = rows.backwardBorder()
	h.left, h.right = cols.backwardBorder()
	return h
}

// inputTaps lists the offsets of the taps from the first, and the offset of
// the first tap of output pixel (0,0) in the buffer of x.
func inputTaps(x *layout, k [2]int, c device.Conv) (taps []int32, base int) {
	for i := range k[0] {
		for j := range k[1] {
			taps = append(taps, int32(i*x.row+j*lanes))
		}
	}
	return taps, x.pixel(-c.Top, -c.Left)
}

func (c *compiler) convolution(o *device.Convolution) step {
	x, y := c.layout(o.X), c.layout(o.Y)
	if winogradPays(x.C, y.C, y.Shape, o.Kernel, o.Conv) {
		base := x.pixel(-o.Conv.Top, -o.Conv.Left)
		return c.transformed(y, x, base, packing{param: o.W, cout: y.C, cin: x.C, winograd: true}, c.raw(o.Bias), o.Accumulate)
	}
	taps, base := inputTaps(x, o.Kernel, o.Conv)
	spec := kernel.NewConvSpec(kernel.ConvGeometry{
		Cin: x.C, Cout: y.C, Taps: taps, Rows: y.H, Cols: y.W,
		XBase: base, XChan: x.plane, XRow: o.Conv.Stride * x.row, XPix: o.Conv.Stride * lanes,
		DstBase: y.base, DstChan: y.plane, DstRow: y.row, DstPix: lanes,
	})
	w := c.pack(packing{param: o.W, cout: y.C, cin: x.C, taps: positions(len(taps)), kernel: len(taps)})
	bias, add := c.raw(o.Bias), o.Accumulate
	return func(s *stream) {
		kernel.Conv(y.buffer(s), x.buffer(s), w.of(s), bias.of(s), spec, add)
	}
}

// positions lists 0 to n-1.
func positions(n int) []int32 {
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(i)
	}
	return p
}

// convolutionData runs one sub-convolution for each parity of input rows and
// columns; the channels change places.
func (c *compiler) convolutionData(o *device.ConvolutionData) step {
	dx, dy := c.layout(o.DX), c.layout(o.DY)
	rows, cols := axes(dx.Shape, dy.Shape, o.Kernel, o.Conv)
	// A single row or column of results has a better direct way, see backwardStride.
	if min(dy.H, dy.W) > 1 && winogradPays(dy.C, dx.C, dx.Shape, o.Kernel, o.Conv) {
		base := dy.pixel(o.Conv.Top-2, o.Conv.Left-2)
		w := packing{param: o.W, cout: dx.C, cin: dy.C, winograd: true, transposed: true, flipped: true}
		return c.transformed(dx, dy, base, w, weights{}, o.Accumulate)
	}
	type part struct {
		spec *kernel.ConvSpec
		w    weights
	}
	var parts []part
	complete := true // every pixel of dx gets a contribution
	for _, r := range rows.parities() {
		for _, q := range cols.parities() {
			if len(r.taps) == 0 || len(q.taps) == 0 {
				complete = false
				continue
			}
			var taps, order []int32
			for i, ki := range r.taps {
				for j, kj := range q.taps {
					taps = append(taps, int32(-i*dy.row-j*lanes))
					order = append(order, int32(ki*o.Kernel[1]+kj))
				}
			}
			sr, sc := rows.backwardStride(), cols.backwardStride()
			spec := kernel.NewConvSpec(kernel.ConvGeometry{
				Cin: dy.C, Cout: dx.C, Taps: taps, Rows: r.count, Cols: q.count,
				XBase: dy.pixel(r.start, q.start), XChan: dy.plane, XRow: dy.row, XPix: lanes,
				DstBase: dx.pixel(r.first, q.first), DstChan: dx.plane, DstRow: sr * dx.row, DstPix: sc * lanes,
			})
			w := c.pack(packing{param: o.W, cout: dx.C, cin: dy.C, taps: order, kernel: o.Kernel[0] * o.Kernel[1], transposed: true})
			parts = append(parts, part{spec, w})
		}
	}
	add := o.Accumulate
	return func(s *stream) {
		if !complete && !add {
			kernel.Fill(dx.extent(), dx.view(s), 0)
		}
		for _, p := range parts {
			kernel.Conv(dx.buffer(s), dy.buffer(s), p.w.of(s), nil, p.spec, add)
		}
	}
}

// winogradPays: of the convolutions that package kernel has transforms for,
// those that they make faster. out is the plane that is written.
func winogradPays(cin, cout int, out device.Shape, k [2]int, c device.Conv) bool {
	return k == [2]int{3, 3} && c.Stride == 1 && kernel.WinogradPays(cin, cout, out.H, out.W)
}

// transformed writes or adds to y the convolution of x by transforms. base is the
// offset of the first tap of pixel (0, 0) in the buffer of x.
func (c *compiler) transformed(y, x *layout, base int, p packing, bias weights, add bool) step {
	spec := kernel.NewWinogradSpec(kernel.WinogradGeometry{
		Cin: x.C, Cout: y.C, Rows: y.H, Cols: y.W, XBase: base, XChan: x.plane, XRow: x.row,
		DstBase: y.base, DstChan: y.plane, DstRow: y.row,
	})
	c.scratch = max(c.scratch, spec.ScratchLen())
	c.winogradFLOPs[c.op] = 2 * spec.Products()
	w := c.pack(p)
	return func(s *stream) {
		kernel.Winograd(y.buffer(s), x.buffer(s), w.of(s), bias.of(s), s.scratch, spec, add)
	}
}

// maxWeightScratch bounds the lane gradients of one product in summed lists,
// in coordinates: 512 KiB stay in the second-level cache until they are summed.
const maxWeightScratch = 1 << 13

func (c *compiler) convolutionWeights(o *device.ConvolutionWeights) step {
	var steps steps
	if o.Bias != device.NoParam {
		dy := c.layout(o.DY)
		steps = append(steps, c.parameterGradient(o.Bias, 0, dy.C, func(s *stream, dst []float32, fresh bool) {
			if fresh {
				clear(dst)
			}
			kernel.PlaneSums(dy.extent(), dst, lanes, dy.view(s))
		}))
	}
	if o.W != device.NoParam {
		steps = append(steps, c.weightGradients(o)...)
	}
	return steps.run
}

// weightGradients cuts the output channels into pieces whose gradients fit the
// scratch of a summed list.
func (c *compiler) weightGradients(o *device.ConvolutionWeights) (out steps) {
	x, dy := c.layout(o.X), c.layout(o.DY)
	taps, base := inputTaps(x, o.Kernel, o.Conv)
	each := x.C * len(taps) // coordinates of an output channel
	piece := dy.C
	if c.list.Mode == device.Summed {
		piece = min(dy.C, max(4, maxWeightScratch/each))
	}
	for first := 0; first < dy.C; first += piece {
		n := min(piece, dy.C-first)
		spec := &kernel.ProductSpec{
			Rows: dy.H, Cols: dy.W, ARow: dy.row, APix: lanes,
			BRow: o.Conv.Stride * x.row, BPix: o.Conv.Stride * lanes,
		}
		for j := range n {
			spec.A = append(spec.A, int32(dy.base+(first+j)*dy.plane))
			spec.DstO = append(spec.DstO, int32(j*each*lanes))
		}
		for i := range x.C {
			for t, tap := range taps {
				spec.B = append(spec.B, int32(base+i*x.plane)+tap)
				spec.DstT = append(spec.DstT, int32((i*len(taps)+t)*lanes))
			}
		}
		out = append(out, c.parameterGradient(o.W, first*each, n*each, func(s *stream, dst []float32, fresh bool) {
			kernel.LaneProduct(dst, dy.buffer(s), x.buffer(s), spec, !fresh)
		}))
	}
	return out
}
