// Package unettest runs networks on the batches of the golden files, for the
// tests of unet and adapter.
package unettest

import (
	"math"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/unet"
)

// Tolerance is the largest difference between a tensor and its golden value,
// relative to the golden tensor's largest element.
const Tolerance = 1e-4

// Lanes are where the three examples of a golden batch go: apart, so that
// empty lanes lie between them.
var Lanes = []int{2, 7, 13}

// Golden is the content of a golden file.
type Golden map[string]safetensors.Tensor

// Read reads a golden file.
func Read(t testing.TB, path string) Golden {
	t.Helper()
	tensors, _, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	g := Golden{}
	for _, tensor := range tensors {
		g[tensor.Name] = tensor
	}
	return g
}

// Example returns the n-th row of a tensor over the batch.
func (g Golden) Example(t testing.TB, name string, n int) []float32 {
	t.Helper()
	tensor, ok := g[name]
	if !ok {
		t.Fatalf("the golden file has no tensor %q", name)
	}
	width := len(tensor.Data) / tensor.Dims[0]
	return tensor.Data[n*width : (n+1)*width]
}

// Close fails the test where got is not want within Tolerance.
func Close(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	if e := RelativeError(got, want); !(e <= Tolerance) {
		t.Errorf("%s: relative error %.3g", what, e)
	}
}

// RelativeError is max|got-want| / max|want|; NaN where got holds one.
func RelativeError(got, want []float32) float64 {
	var diff float64
	for i := range want {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			return d
		}
		diff = max(diff, d)
	}
	if diff == 0 {
		return 0
	}
	return diff / largest(want)
}

func largest(values []float32) float64 {
	var m float64
	for _, v := range values {
		m = max(m, math.Abs(float64(v)))
	}
	return m
}

// vanishing is the size, relative to the largest gradient of the network,
// below which float64 gave nothing but rounding errors: the derivative is zero
// by symmetry, as that of attention's to_k.bias, to which softmax is blind.
const vanishing = 1e-12

// CloseGradients holds every gradient to the golden tensor under prefix+name,
// and both to the same names. A gradient that is zero by symmetry has to be
// below 1e-6 of the network's largest.
func CloseGradients(t testing.TB, got map[string][]float32, golden Golden, prefix string) {
	t.Helper()
	var scale float64
	for name, tensor := range golden {
		if short, ok := strings.CutPrefix(name, prefix); ok {
			scale = max(scale, largest(tensor.Data))
			if got[short] == nil {
				t.Errorf("no gradient of %s", short)
			}
		}
	}
	for name, g := range got {
		want, ok := golden[prefix+name]
		switch {
		case !ok:
			t.Errorf("torch has no gradient of %s", name)
		case largest(want.Data) > vanishing*scale:
			Close(t, prefix+name, g, want.Data)
		case !(largest(g) <= 1e-6*scale):
			t.Errorf("%s%s: %.3g, which should vanish beside %.3g", prefix, name, largest(g), scale)
		}
	}
}

// Program is a compiled network with its inputs' layout.
type Program struct {
	List   *device.OpList
	Exe    device.Executable
	net    *unet.Net
	config unet.Config
}

// Compile builds a network with the golden files' loss on the CPU. With
// device.NoGradient it computes the prediction only.
func Compile(t testing.TB, c unet.Config, mode device.GradMode, build func(*device.Builder) (*unet.Net, error)) *Program {
	t.Helper()
	b := device.NewBuilder()
	net, err := build(b)
	if err != nil {
		t.Fatal(err)
	}
	b.Output("prediction", net.Prediction)
	p := &Program{net: net, config: c}
	if mode == device.NoGradient {
		p.List, err = b.Forward()
	} else {
		target := b.Input("target", b.Shape(net.Prediction))
		loss := b.MSE(net.Prediction, target, b.Input("weight", device.Shape{C: 1, H: 1, W: 1}))
		b.Output("loss", loss)
		p.List, err = b.Gradient(loss, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
	if p.Exe, err = cpu.New().Compile(p.List); err != nil {
		t.Fatal(err)
	}
	return p
}

// Run runs the golden batch once, with the given labels where the network is
// conditional.
func (p *Program) Run(t testing.TB, batch, labels Golden) device.Stream {
	t.Helper()
	s, err := p.Exe.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	table := unet.TimeTable(p.config, 1000)
	for n, lane := range Lanes {
		step := int(batch.Example(t, "timestep", n)[0])
		must(t, s.SetInput(unet.InputSample, lane, batch.Example(t, "sample", n)))
		must(t, s.SetInput(unet.InputTime, lane, table[step]))
		if p.net.Conditional {
			must(t, s.SetIndex(unet.InputClass, lane, int(labels.Example(t, "label", n)[0])))
		}
		if p.List.Mode != device.NoGradient {
			must(t, s.SetInput("target", lane, batch.Example(t, "target", n)))
			must(t, s.SetInput("weight", lane, batch.Example(t, "weight", n)))
		}
	}
	must(t, s.Run())
	return s
}

// Prediction returns the output of the n-th example.
func (p *Program) Prediction(t testing.TB, s device.Stream, n int) []float32 {
	t.Helper()
	c := p.config
	out := make([]float32, c.OutChannels*c.SampleHeight*c.SampleWidth)
	must(t, s.Output("prediction", Lanes[n], out))
	return out
}

// Gradient returns the n-th example's gradient, by parameter.
func (p *Program) Gradient(t testing.TB, s device.Stream, n int) map[string][]float32 {
	t.Helper()
	flat := make([]float32, p.List.Trainable())
	must(t, s.Gradient(Lanes[n], flat))
	return p.Split(flat)
}

// Split cuts a flat vector into its parameters.
func (p *Program) Split(flat []float32) map[string][]float32 {
	parts := map[string][]float32{}
	for _, q := range p.List.Params() {
		if q.Trainable {
			parts[q.Name] = flat[q.Offset : q.Offset+q.Len()]
		}
	}
	return parts
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
