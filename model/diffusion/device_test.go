package diffusion

import (
	"maps"
	"slices"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/model/draws"
)

// smallNetwork is a denoiser on the real device: a convolution of the sample
// with the time's and the class's embedding added. scale tells two apart.
func smallNetwork(t *testing.T, scale float32) device.Executable {
	t.Helper()
	b := device.NewBuilder()
	x := b.Input(SampleInput, device.Shape{C: 5, H: 2, W: 2})
	time := b.Input(TimeInput, device.Shape{C: 3, H: 1, W: 1})
	class := b.Embedding(b.Param("class", false, 10, 4), b.Index(ClassIndex, 10))
	y := b.SiLU(b.Conv2D(x, b.Param("conv", false, 4, 5, 3, 3), device.NoParam, device.Pad(1)))
	y = b.AddChannels(y, b.Linear(time, b.Param("time", false, 4, 3), device.NoParam))
	b.Output(OutputName, b.AddChannels(y, class))
	list, err := b.Forward()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := cpu.New().Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range list.Params() {
		values := make([]float32, p.Len())
		draws.New(draws.SeedKey(1, "weights")).Stream(uint64(i), 0, draws.Init).Normals(values)
		for j := range values {
			values[j] *= scale
		}
		if err := exe.SetParam(p.Name, values); err != nil {
			t.Fatal(err)
		}
	}
	return exe
}

// TestSamplingOnTheDevice: on real executables too, an image's bytes do not
// depend on its lane, its company or the number of goroutines.
func TestSamplingOnTheDevice(t *testing.T) {
	s, d, _ := fakeSampler(t, DPM)
	s.Guidance = 0.5
	dev := cpu.New()
	d.Lanes, d.Adapted, d.Base = dev.Lanes(), smallNetwork(t, 0.2), smallNetwork(t, 0.1)
	d.Times = Fractions(0.35, 0.95, 1000)
	for i := range d.Time {
		d.Time[i] = []float32{float32(i) / 1000, 1, -1}
	}
	var requests []Request
	for i := range 3*dev.Lanes() + 5 {
		requests = append(requests, Request{Index: uint64(i), Class: i % 9, Prototype: []float32{1, -1, float32(i) / 50, 0}})
	}
	want := sampled(t, s, d, requests)
	different := map[string]bool{}
	for image := range maps.Values(want) {
		different[string(image)] = true
	}
	if len(different) != len(requests) {
		t.Errorf("only %d of %d images differ", len(different), len(requests))
	}
	for _, threads := range []int{1, 2, 7} {
		s.Threads = threads
		requests = append(requests[3:], requests[:3]...)
		for index, image := range sampled(t, s, d, requests) {
			if !slices.Equal(image, want[index]) {
				t.Fatalf("%d threads: image %d changed", threads, index)
			}
		}
	}
}
