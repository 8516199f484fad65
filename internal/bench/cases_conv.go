package bench

import (
	"fmt"
	"slices"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// The shares of peak that the engine is meant to reach.
const (
	barConvolution     = 0.80 // 3x3, forward and by data
	barWeights         = 0.70 // 3x3, by weights
	barNarrow          = 0.70 // 1x1 and adapters
	barAdapterGradient = 0.55 // per example
	barAttention       = 0.60 // products
	barMemory          = 0.60 // of copy: group norm, residual, concatenation
)

// conv is a convolution of side x side pixels.
type conv struct {
	in, out, side, kernel int
	geometry              device.Conv
}

func (c conv) shape() string {
	channels := fmt.Sprintf("%d>%d", c.in, c.out)
	if c.in == c.out {
		channels = fmt.Sprint(c.in)
	}
	return fmt.Sprintf("%s@%dx%d", channels, c.side, c.side)
}

// weightName is the parameter whose ops a row keeps.
const weightName = "w"

// apply records the convolution of x.
func (c conv) apply(b *device.Builder, x device.Value, w device.ParamID) device.Value {
	return b.Conv2D(x, w, device.NoParam, c.geometry)
}

func (c conv) weight(b *device.Builder, trainable bool) device.ParamID {
	return b.Param(weightName, trainable, c.out, c.in, c.kernel, c.kernel)
}

func (c conv) input(b *device.Builder) device.Value {
	return b.Input("x", device.Shape{C: c.in, H: c.side, W: c.side})
}

// forward, data and weights are the rows of one convolution; w is the first
// parameter that each declares.
func (c conv) forward(op string, bar float64) kernelCase {
	return listCase{op: op, dir: "forward", shape: c.shape(), bar: bar,
		build: func(b *device.Builder) device.Value {
			w := c.weight(b, false)
			return c.apply(b, c.input(b), w)
		},
		keep: only(func(o *device.Convolution) bool { return o.W == 0 }),
	}.kernelCase()
}

func (c conv) data(op string, bar float64) kernelCase {
	return listCase{op: op, dir: "data", shape: c.shape(), bar: bar, mode: device.Summed,
		build: func(b *device.Builder) device.Value {
			w := c.weight(b, false)
			return c.apply(b, trained(b, c.input(b)), w)
		},
		keep: only(func(o *device.ConvolutionData) bool { return o.W == 0 }),
	}.kernelCase()
}

func (c conv) weights(op, dir string, mode device.GradMode, bar float64) kernelCase {
	return listCase{op: op, dir: dir, shape: c.shape(), bar: bar, mode: mode,
		build: func(b *device.Builder) device.Value {
			w := c.weight(b, true)
			return c.apply(b, c.input(b), w)
		},
		keep: only(func(o *device.ConvolutionWeights) bool { return o.W == 0 }),
	}.kernelCase()
}

// all are a convolution's rows; a bar of 0 is none.
func (c conv) all(op string, bar, weightBar float64) []kernelCase {
	return []kernelCase{
		c.forward(op, bar), c.data(op, bar),
		c.weights(op, "weights per example", device.PerExample, weightBar),
		c.weights(op, "weights summed", device.Summed, weightBar),
	}
}

// direct is the row of the kernel that computes a 3x3 convolution as it is
// defined, where the device may choose another algorithm.
func (c conv) direct(dir string, flipped bool) kernelCase {
	row := (c.side + 2) * kernel.Lanes // a halo of one pixel
	plane := (c.side + 2) * row
	g := kernel.ConvGeometry{
		Cin: c.in, Cout: c.out, Rows: c.side, Cols: c.side, XChan: plane, XRow: row, XPix: kernel.Lanes,
		DstBase: row + kernel.Lanes, DstChan: plane, DstRow: row, DstPix: kernel.Lanes,
	}
	for i := range 9 {
		g.Taps = append(g.Taps, int32(i/3*row+i%3*kernel.Lanes))
	}
	order := []int32{0, 1, 2, 3, 4, 5, 6, 7, 8}
	if flipped {
		slices.Reverse(order)
	}
	return kernelCase{op: "conv3x3 direct", dir: dir, shape: c.shape(), bar: barConvolution, prepare: func() (func() (func(), error), work, error) {
		spec, packed := kernel.NewConvSpec(g), make([]float32, kernel.PackedLen(c.out, c.in, 9))
		kernel.PackConv(packed, pattern(9*c.in*c.out, 1), c.out, c.in, order, 9, flipped)
		flops, err := c.flops()
		newWork := func() (func(), error) {
			x, dst := lanesOf(c.in*plane, 2), lanesOf(c.out*plane, 3)
			return func() { kernel.Conv(dst, x, packed, nil, spec, false) }, nil
		}
		return newWork, work{algorithm: device.Direct, executed: flops, direct: flops}, err
	}}
}

// flops is the direct count on all lanes.
func (c conv) flops() (float64, error) {
	b := device.NewBuilder()
	b.Output("y", c.apply(b, c.input(b), c.weight(b, false)))
	l, err := b.Forward()
	if err != nil {
		return 0, err
	}
	return float64(l.FLOPs()) * kernel.Lanes, nil
}

func convolutionCases() []kernelCase {
	var cases []kernelCase
	for _, s := range []struct{ channels, side int }{{64, 32}, {128, 16}, {256, 8}, {32, 28}, {64, 14}} {
		c := conv{s.channels, s.channels, s.side, 3, device.Pad(1)}
		cases = append(cases, c.all("conv3x3", barConvolution, barWeights)...)
		cases = append(cases, c.direct("forward", false), c.direct("data", true))
	}
	half := device.Conv{Stride: 2, Top: 1, Left: 1, Bottom: 1, Right: 1}
	for _, s := range []struct{ channels, side int }{{64, 32}, {32, 28}} {
		cases = append(cases, conv{s.channels, s.channels, s.side, 3, half}.all("conv3x3 stride 2", 0, 0)...)
	}
	for _, s := range []struct{ in, out, side int }{{128, 64, 32}, {128, 128, 16}, {256, 128, 16}, {64, 32, 28}, {64, 64, 14}} {
		cases = append(cases, conv{s.in, s.out, s.side, 1, device.Pad(0)}.all("conv1x1", barNarrow, barNarrow)...)
	}
	// the linear layers of the time embedding
	for _, s := range []struct{ in, out int }{{64, 256}, {256, 256}} {
		cases = append(cases, conv{s.in, s.out, 1, 1, device.Pad(0)}.all("linear", 0, 0)...)
	}
	// the classifier's convolutions
	for _, s := range []struct{ in, out, side int }{{1, 32, 28}, {32, 64, 14}, {64, 128, 7}} {
		c := conv{s.in, s.out, s.side, 3, device.Pad(1)}
		cases = append(cases, c.forward("classifier conv3x3", 0), c.data("classifier conv3x3", 0),
			c.weights("classifier conv3x3", "weights summed", device.Summed, 0))
	}
	return cases
}

// adapterCases are the two convolutions of a LoDA adapter: down onto rank
// channels, of the layer's own kernel, and up, 1x1, added to the layer's
// result.
func adapterCases() []kernelCase {
	var cases []kernelCase
	for _, s := range []struct{ channels, side int }{{64, 32}, {128, 16}, {32, 28}, {64, 14}} {
		for _, rank := range []int{4, 8} {
			down := conv{s.channels, rank, s.side, 3, device.Pad(1)}
			up := conv{rank, s.channels, s.side, 1, device.Pad(0)}
			cases = append(cases,
				down.forward("adapter down", barNarrow), down.data("adapter down", barNarrow),
				down.weights("adapter down", "weights per example", device.PerExample, barAdapterGradient),
				up.added("adapter up", barNarrow), up.data("adapter up", barNarrow),
				up.weights("adapter up", "weights per example", device.PerExample, barAdapterGradient))
		}
	}
	return cases
}

// added is a convolution that adds to what another gave.
func (c conv) added(op string, bar float64) kernelCase {
	return listCase{op: op, dir: "forward", shape: c.shape(), bar: bar,
		build: func(b *device.Builder) device.Value {
			w := c.weight(b, false)
			x := c.input(b)
			first := b.Conv2D(x, b.Param("other", false, c.out, c.in, 1, 1), device.NoParam, device.Pad(0))
			return b.Add(first, c.apply(b, x, w))
		},
		keep: only(func(o *device.Convolution) bool { return o.W == 0 && o.Accumulate }),
	}.kernelCase()
}
