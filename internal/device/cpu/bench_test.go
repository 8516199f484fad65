package cpu

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// benchNet is a diffusion U-Net for 28x28 images cut into 4 channels of 14x14:
// width channels there, twice that at 7x7, attention at 7x7.
type benchNet struct {
	*device.Builder
	n     int
	width int  // channels at 14x14
	rank  int  // of the adapters, 0 for none
	all   bool // train everything
}

func (b *benchNet) param(trainable bool, dims ...int) device.ParamID {
	b.n++
	return b.Param(fmt.Sprint(b.n), trainable, dims...)
}

func (b *benchNet) conv(x device.Value, out, k int, c device.Conv) device.Value {
	in := b.Shape(x).C
	y := b.Conv2D(x, b.param(b.all, out, in, k, k), b.param(b.all, out), c)
	if b.rank == 0 {
		return y
	}
	h := b.Conv2D(x, b.param(true, b.rank, in, k, k), device.NoParam, c)
	return b.Add(y, b.Conv2D(b.Scale(b.SiLU(h), 0.5), b.param(true, out, b.rank, 1, 1), device.NoParam, device.Pad(0)))
}

func (b *benchNet) norm(x device.Value, silu bool) device.Value {
	c := b.Shape(x).C
	return b.GroupNorm(x, b.param(b.all, c), b.param(b.all, c), 8, 1e-5, silu)
}

func (b *benchNet) linear(x device.Value, out int) device.Value {
	return b.Linear(x, b.param(b.all, out, b.Shape(x).C), b.param(b.all, out))
}

func (b *benchNet) block(x, emb device.Value, out int) device.Value {
	h := b.conv(b.norm(x, true), out, 3, device.Pad(1))
	h = b.AddChannels(h, b.linear(emb, out))
	h = b.conv(b.norm(h, true), out, 3, device.Pad(1))
	if b.Shape(x).C != out {
		x = b.conv(x, out, 1, device.Pad(0))
	}
	return b.Add(x, h)
}

func (b *benchNet) attend(x device.Value) device.Value {
	h := b.norm(x, false)
	c := b.Shape(x).C
	return b.Add(x, b.linear(b.Attention(b.linear(h, c), b.linear(h, c), b.linear(h, c), 4), c))
}

func (b *benchNet) build() (y, loss device.Value) {
	w := b.width
	emb := b.SiLU(b.Add(b.linear(b.SiLU(b.linear(b.Input("time", device.Shape{C: w, H: 1, W: 1}), 4*w)), 4*w),
		b.Embedding(b.param(true, 11, 4*w), b.Index("class", 11))))
	image := device.Shape{C: 4, H: 14, W: 14}
	x0 := b.conv(b.Input("image", image), w, 3, device.Pad(1))
	x1 := b.block(x0, emb, w)
	x2 := b.conv(x1, w, 3, device.Conv{Stride: 2, Bottom: 1, Right: 1})
	x3 := b.attend(b.block(x2, emb, 2*w))
	h := b.block(b.attend(b.block(x3, emb, 2*w)), emb, 2*w)
	h = b.attend(b.block(b.Concat(h, x3), emb, 2*w))
	h = b.attend(b.block(b.Concat(h, x2), emb, 2*w))
	h = b.conv(b.Upsample2x(h), 2*w, 3, device.Pad(1))
	h = b.block(b.Concat(h, x1), emb, w)
	h = b.block(b.Concat(h, x0), emb, w)
	y = b.conv(b.norm(h, true), 4, 3, device.Pad(1))
	b.Output("y", y)
	return y, b.MSE(y, b.Input("target", image), b.Input("weight", device.Shape{C: 1, H: 1, W: 1}))
}

// BenchmarkStep runs the net on one goroutine. %conv is the rate of its
// convolutions and products as a share of that of one convolution in cache,
// 64 channels at 14x14, in the same run. Rates are per second of processor time
// of the thread, so that a shared machine does not blur them.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name string
		mode device.GradMode
		rank int
		all  bool
	}{{"adapters", device.PerExample, 4, false}, {"pretrain", device.Summed, 0, true}, {"forward", device.NoGradient, 4, false}} {
		b.Run(c.name, func(b *testing.B) {
			net := &benchNet{Builder: device.NewBuilder(), width: 32, rank: c.rank, all: c.all}
			_, loss := net.build()
			var l *device.OpList
			var err error
			if c.mode == device.NoGradient {
				l, err = net.Forward()
			} else {
				l, err = net.Gradient(loss, c.mode)
			}
			if err != nil {
				b.Fatal(err)
			}
			s := readyStream(b, l)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := threadTime()
			for b.Loop() {
				if err := s.Run(); err != nil {
					b.Fatal(err)
				}
			}
			seconds := (threadTime() - start).Seconds()
			rate := float64(l.FLOPs()) * lanes * float64(b.N) / seconds
			b.ReportMetric(lanes*float64(b.N)/seconds, "images/s")
			b.ReportMetric(float64(l.FLOPs())/1e6, "MFLOP/image")
			b.ReportMetric(rate/1e9, "GFLOP/s")
			b.ReportMetric(100*rate/convolutionRate(), "%conv")
			b.ReportMetric(float64(s.executable.Memory().ArenaPerStream)/1e6, "arena-MB")
		})
	}
}

// convolutionRate measures the yardstick, in operations per second.
func convolutionRate() float64 {
	const ch, size = 64, 14
	b := device.NewBuilder()
	x := b.Input("x", device.Shape{C: ch, H: size, W: size})
	b.Output("y", b.Conv2D(x, b.Param("w", false, ch, ch, 3, 3), device.NoParam, device.Pad(1)))
	l, _ := b.Forward()
	e, _ := New().Compile(l)
	_ = e.SetParam("w", make([]float32, ch*ch*9))
	s, _ := e.NewStream()
	const runs = 60 // the kernel counts threads' time in ticks
	start := threadTime()
	for range runs {
		_ = s.Run()
	}
	return runs * float64(l.FLOPs()) * kernel.Lanes / (threadTime() - start).Seconds()
}

func readyStream(tb testing.TB, l *device.OpList) *stream {
	tb.Helper()
	e, err := New().Compile(l)
	if err != nil {
		tb.Fatal(err)
	}
	for i, p := range l.Params() {
		values := make([]float32, p.Len())
		for j := range values {
			values[j] = float32((i+7*j)%13-6) / 60
		}
		if err := e.SetParam(p.Name, values); err != nil {
			tb.Fatal(err)
		}
	}
	s, err := e.NewStream()
	if err != nil {
		tb.Fatal(err)
	}
	loadInputs(tb, s, l)
	return s.(*stream)
}

func loadInputs(tb testing.TB, s device.Stream, l *device.OpList) {
	tb.Helper()
	for _, in := range l.Inputs {
		data := make([]float32, l.Shapes[in.Value].Len())
		for lane := range lanes {
			for j := range data {
				data[j] = float32((lane+3*j)%11-5) / 5
			}
			if err := s.SetInput(in.Name, lane, data); err != nil {
				tb.Fatal(err)
			}
		}
	}
}
