package bench

import (
	"fmt"
	"unsafe"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
	"github.com/dploda/dploda/internal/optim"
	"github.com/dploda/dploda/model/diffusion"
)

// aligned reports whether v begins a cache line.
func aligned(v []float32) bool { return uintptr(unsafe.Pointer(&v[0]))%64 == 0 }

// plane is a value of the element-wise rows.
type plane struct{ channels, side int }

func (p plane) value() device.Shape { return device.Shape{C: p.channels, H: p.side, W: p.side} }
func (p plane) shape() string       { return fmt.Sprintf("%d@%dx%d", p.channels, p.side, p.side) }

// row is an element-wise op whose inputs and outputs have the given shapes.
func (p plane) row(op, dir string, bar float64, mode device.GradMode, build func(*device.Builder) device.Value, keep func(device.Op) bool, moved ...device.Shape) kernelCase {
	return listCase{op: op, dir: dir, shape: p.shape(), bar: bar, mode: mode, build: build, keep: keep, bytes: laneBytes(moved...)}.kernelCase()
}

// norm records a group norm of frozen parameters.
func norm(b *device.Builder, x device.Value, silu bool) device.Value {
	c := b.Shape(x).C
	return b.GroupNorm(x, b.Param("gamma", false, c), b.Param("beta", false, c), 8, 1e-5, silu)
}

func (p plane) cases() []kernelCase {
	s := p.value()
	big := device.Shape{C: s.C, H: 2 * s.H, W: 2 * s.W}
	vector := device.Shape{C: s.C, H: 1, W: 1}
	x := func(b *device.Builder) device.Value { return b.Input("x", s) }
	y := func(b *device.Builder) device.Value { return b.Input("y", s) }
	up := func(b *device.Builder) device.Value { return trained(b, x(b)) }
	type builder = func(b *device.Builder) device.Value
	forward := func(op string, bar float64, build builder, keep func(device.Op) bool, moved ...device.Shape) kernelCase {
		return p.row(op, "forward", bar, device.NoGradient, build, keep, moved...)
	}
	backward := func(op string, bar float64, build builder, keep func(device.Op) bool, moved ...device.Shape) kernelCase {
		return p.row(op, "backward", bar, device.Summed, build, keep, moved...)
	}
	return []kernelCase{
		forward("group norm + silu", barMemory, func(b *device.Builder) device.Value { return norm(b, x(b), true) }, only[*device.GroupNorm](nil), s, s),
		backward("group norm + silu", barMemory, func(b *device.Builder) device.Value { return norm(b, up(b), true) }, only[*device.GroupNormBackward](nil), s, s, s),
		forward("group norm", 0, func(b *device.Builder) device.Value { return norm(b, x(b), false) }, only[*device.GroupNorm](nil), s, s),
		forward("residual", barMemory, func(b *device.Builder) device.Value { return b.Add(x(b), y(b)) }, only[*device.Add](nil), s, s, s),
		forward("concat", barMemory, func(b *device.Builder) device.Value { return b.Concat(x(b), y(b)) }, only[*device.Concat](nil), s, s, s, s),
		backward("concat", 0, func(b *device.Builder) device.Value { return b.Concat(y(b), up(b)) }, only(func(o *device.SliceChannels) bool { return !o.Accumulate }), s, s),
		forward("add channels", 0, up, only[*device.AddChannels](nil), s, s, vector),
		backward("add channels", 0, up, only[*device.SumPixels](nil), s, vector),
		forward("silu", 0, func(b *device.Builder) device.Value { return b.SiLU(x(b)) }, only[*device.SiLU](nil), s, s),
		backward("silu", 0, func(b *device.Builder) device.Value { return b.SiLU(up(b)) }, only[*device.SiLUBackward](nil), s, s, s),
		forward("scale", 0, func(b *device.Builder) device.Value { return b.Scale(x(b), 0.5) }, only[*device.Scale](nil), s, s),
		forward("upsample", 0, func(b *device.Builder) device.Value { return b.Upsample2x(x(b)) }, only[*device.Upsample](nil), s, big),
		backward("upsample", 0, func(b *device.Builder) device.Value { return b.Upsample2x(up(b)) }, only[*device.UpsampleBackward](nil), s, big),
	}
}

// classifierCases are the classifier's layers without weights, and the loss of
// the denoiser.
func classifierCases() []kernelCase {
	p := plane{32, 28}
	s, half := p.value(), device.Shape{C: 32, H: 14, W: 14}
	x := func(b *device.Builder) device.Value { return b.Input("x", s) }
	up := func(b *device.Builder) device.Value { return trained(b, x(b)) }
	return []kernelCase{
		p.row("relu", "forward", 0, device.NoGradient, func(b *device.Builder) device.Value { return b.ReLU(x(b)) }, only[*device.ReLU](nil), s, s),
		p.row("relu", "backward", 0, device.Summed, func(b *device.Builder) device.Value { return b.ReLU(up(b)) }, only[*device.ReLUBackward](nil), s, s, s),
		p.row("max pool", "forward", 0, device.NoGradient, func(b *device.Builder) device.Value { return b.MaxPool2(x(b)) }, only[*device.MaxPool](nil), s, half),
		p.row("max pool", "backward", 0, device.Summed, func(b *device.Builder) device.Value { return b.MaxPool2(up(b)) }, only[*device.MaxPoolBackward](nil), s, s, half),
		p.row("squared error", "forward", 0, device.Summed, up, only[*device.SquaredError](nil), s, s),
		p.row("squared error", "backward", 0, device.Summed, up, only[*device.SquaredErrorBackward](nil), s, s, s),
	}
}

func memoryCases() []kernelCase {
	return concat(plane{64, 32}.cases(), plane{32, 28}.cases(), plane{128, 16}.cases(), classifierCases(), embeddingCases())
}

func embeddingCases() []kernelCase {
	const rows, width = 1001, 256
	y := device.Shape{C: width, H: 1, W: 1}
	build := func(b *device.Builder) device.Value {
		return b.Embedding(b.Param("table", true, rows, width), b.Index("row", rows))
	}
	shape := fmt.Sprintf("%d rows of %d", rows, width)
	return []kernelCase{
		listCase{op: "embedding", dir: "forward", shape: shape, build: build, keep: only[*device.Embedding](nil), bytes: laneBytes(y, y)}.kernelCase(),
		listCase{op: "embedding", dir: "backward", shape: shape, mode: device.Summed, build: build,
			keep: only[*device.EmbeddingBackward](nil), bytes: laneBytes(y, y, y)}.kernelCase(),
	}
}

// gradientCoordinates is the size of a trained vector: its lane gradients
// exceed the caches.
const gradientCoordinates = 4 << 20

// perExampleStream is a stream with that many per-example gradients.
func perExampleStream() (device.Stream, error) {
	const in = 1 << 11
	b := device.NewBuilder()
	y := b.Linear(b.Input("x", device.Shape{C: in, H: 1, W: 1}), b.Param("w", true, gradientCoordinates/in, in), device.NoParam)
	target := b.Input("target", b.Shape(y))
	l, err := b.Gradient(b.MSE(y, target, b.Input("weight", device.Shape{C: 1, H: 1, W: 1})), device.PerExample)
	if err != nil {
		return nil, err
	}
	dev := cpu.New()
	exe, err := dev.Compile(l)
	if err != nil {
		return nil, err
	}
	if err := exe.SetTrainable(pattern(gradientCoordinates, 1)); err != nil {
		return nil, err
	}
	s, err := exe.NewStream()
	if err != nil {
		return nil, err
	}
	if err := fillInputs(s, l, dev.Lanes()); err != nil {
		return nil, err
	}
	return s, s.Run()
}

// gradientCases are what happens to gradients.
func gradientCases() []kernelCase {
	shape := fmt.Sprintf("%d coordinates", gradientCoordinates)
	const g = 4 * kernel.Lanes * gradientCoordinates // bytes of the lanes' gradients
	stream := func(run func(s device.Stream) func()) func() (func(), error) {
		return func() (func(), error) {
			s, err := perExampleStream()
			if err != nil {
				return nil, err
			}
			return run(s), nil
		}
	}
	row := func(op string, bytes int, newWork func() (func(), error)) kernelCase {
		return kernelCase{op: op, dir: "gradient", shape: shape, prepare: func() (func() (func(), error), work, error) {
			return newWork, work{bytes: float64(bytes), inPlace: true}, nil
		}}
	}
	return []kernelCase{
		row("squared norms", g, stream(func(s device.Stream) func() {
			dst := make([]float64, kernel.Lanes)
			return func() { must(s.SquaredNorms(dst)) }
		})),
		row("clip and accumulate", g+8*gradientCoordinates, stream(func(s device.Stream) func() {
			sum, scale, kept := make([]int32, gradientCoordinates), make([]float64, kernel.Lanes), make([]bool, kernel.Lanes)
			for i := range scale {
				scale[i] = 1e3
			}
			return func() { must(s.Accumulate(kernel.Lanes, scale, 1<<62, sum, kept)) }
		})),
		row("sum lanes", g+8*gradientCoordinates, func() (func(), error) {
			dst, lanes := make([]float32, gradientCoordinates), lanesOf(kernel.Lanes*gradientCoordinates, 1)
			return func() { kernel.SumLanes(dst, lanes) }, nil
		}),
	}
}

// must is for calls whose arguments are right by construction.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// optimizerCases are the element-wise loops around a step, in plain Go.
func optimizerCases() []kernelCase {
	const n = copyFloats // a cache that held a part would lift the row above copy
	shape := fmt.Sprintf("%d parameters", n)
	return []kernelCase{
		{op: "adam", dir: "step", shape: shape, prepare: func() (func() (func(), error), work, error) {
			return func() (func(), error) {
				a, err := optim.NewAdam(n, optim.DefaultAdam())
				params, gradient := pattern(n, 1), pattern(n, 2)
				return func() { must(a.Step(params, gradient, 1e-3)) }, err
			}, work{bytes: 7 * 4 * n, inPlace: true}, nil // reads parameters, gradient and two moments, writes all but the gradient
		}},
		{op: "moving average", dir: "step", shape: shape, prepare: func() (func() (func(), error), work, error) {
			return func() (func(), error) {
				params := pattern(n, 1)
				e, err := optim.NewEMA(params, 0.999)
				return func() { must(e.Update(params)) }, err
			}, work{bytes: 3 * 4 * n, inPlace: true}, nil
		}},
		{op: "sampler", dir: "step", shape: shape, prepare: func() (func() (func(), error), work, error) {
			return func() (func(), error) {
				x, clean, last := pattern(n, 1), pattern(n, 2), pattern(n, 3)
				// contracts, as DPM-Solver++(2M)'s steps do
				step := diffusion.Step{FromX: 0.5, FromClean: 0.75, FromLast: -0.25}
				return func() { step.Advance(x, clean, last, nil) }, nil
			}, work{bytes: 4 * 4 * n, inPlace: true}, nil
		}},
	}
}

// kernelCases lists all rows.
func kernelCases() []kernelCase {
	return concat(convolutionCases(), adapterCases(), attentionCases(), memoryCases(), gradientCases(), optimizerCases())
}
