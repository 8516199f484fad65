package adapter_test

import (
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
)

// demo is the network of `dploda demo`: 28x28 images folded to 14x14.
var demo = unet.Config{
	SampleHeight: 14, SampleWidth: 14, InChannels: 5, OutChannels: 4,
	DownBlockTypes: []string{"DownBlock2D", "AttnDownBlock2D"}, UpBlockTypes: []string{"AttnUpBlock2D", "UpBlock2D"},
	BlockOutChannels: []int{32, 64}, LayersPerBlock: 1, DownsamplePadding: 1,
	AddAttention: true, NormNumGroups: 8, NormEps: 1e-5, FlipSinToCos: true, NumClassEmbeds: 11,
}

// BenchmarkDemo measures one thread on groups of 16 examples.
func BenchmarkDemo(b *testing.B) {
	conv := adapter.Spec{Kind: adapter.LoDA, Rank: 4, Alpha: 4, Nonlinearity: "silu", Targets: []string{"conv"}, Classes: 10}
	full := adapter.Spec{Kind: adapter.Full, Targets: []string{"all"}}
	for _, c := range []struct {
		name string
		spec adapter.Spec
		mode device.GradMode
	}{
		{"finetune", conv, device.PerExample},
		{"pretrain", full, device.Summed},
		{"sample", conv, device.NoGradient},
	} {
		b.Run(c.name, func(b *testing.B) { benchmark(b, c.spec, c.mode) })
	}
}

func benchmark(b *testing.B, spec adapter.Spec, mode device.GradMode) {
	base, err := unet.NewBase(demo, draws.New(draws.SeedKey(1, "base")))
	if err != nil {
		b.Fatal(err)
	}
	build := device.NewBuilder()
	net, err := adapter.Build(build, demo, spec)
	if err != nil {
		b.Fatal(err)
	}
	build.Output("prediction", net.Prediction)
	var list *device.OpList
	if mode == device.NoGradient {
		list, err = build.Forward()
	} else {
		target := build.Input("target", build.Shape(net.Prediction))
		weight := build.Input("weight", device.Shape{C: 1, H: 1, W: 1})
		list, err = build.Gradient(build.MSE(net.Prediction, target, weight), mode)
	}
	if err != nil {
		b.Fatal(err)
	}
	dev := cpu.New()
	exe, err := dev.Compile(list)
	if err != nil {
		b.Fatal(err)
	}
	if err := start(b, base, spec, 1).SetParams(exe, list, base); err != nil {
		b.Fatal(err)
	}
	s, err := exe.NewStream()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.Run(); err != nil {
			b.Fatal(err)
		}
	}
	examples := float64(b.N * dev.Lanes())
	b.ReportMetric(examples/b.Elapsed().Seconds(), "examples/s")
	b.ReportMetric(float64(list.FLOPs())*examples/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(float64(list.Trainable()), "trained")
}
