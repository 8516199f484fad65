package adapter

import (
	"math"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/unet"
)

// small is a network of two levels with attention in the lower one.
var small = unet.Config{
	SampleHeight: 14, SampleWidth: 14, InChannels: 5, OutChannels: 4,
	DownBlockTypes: []string{"DownBlock2D", "AttnDownBlock2D"}, UpBlockTypes: []string{"AttnUpBlock2D", "UpBlock2D"},
	BlockOutChannels: []int{32, 64}, LayersPerBlock: 1, DownsamplePadding: 1,
	AddAttention: true, NormNumGroups: 8, NormEps: 1e-5, NumClassEmbeds: 11,
}

func TestSpecRefusals(t *testing.T) {
	good := Spec{Kind: LoDA, Rank: 4, Alpha: 4, Nonlinearity: SiLU, Targets: []string{"conv"}, Classes: 10}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Spec)
		want   string
	}{
		{func(s *Spec) { s.Kind = "dora" }, `adapter kind "dora" is not known; choose loda, lora, full or none`},
		{func(s *Spec) { s.Rank = 0 }, `adapter rank 0 is outside 1 to 4096`},
		{func(s *Spec) { s.Rank = 5000 }, `adapter rank 5000 is outside 1 to 4096`},
		{func(s *Spec) { s.Alpha = 0 }, `adapter alpha 0 is not a positive number`},
		{func(s *Spec) { s.Alpha = math.NaN() }, `adapter alpha NaN is not a positive number`},
		{func(s *Spec) { s.Alpha = math.Inf(1) }, `adapter alpha +Inf is not a positive number`},
		{func(s *Spec) { s.Nonlinearity = "gelu" }, `adapter nonlinearity "gelu" is not known; choose identity, silu or relu`},
		{func(s *Spec) { s.Nonlinearity = "" }, `adapter nonlinearity "" is not known; choose identity, silu or relu`},
		{func(s *Spec) { s.Kind = LoRA }, `adapter kind lora has no nonlinearity "silu"; choose identity, or kind loda`},
		{func(s *Spec) { s.Targets = nil }, `adapter kind loda needs targets: conv, attention, time, all or module names`},
		{func(s *Spec) { s.Targets = []string{"!conv_out"} }, `adapter kind loda needs targets: conv, attention, time, all or module names`},
		{func(s *Spec) { s.Targets = []string{"conv", "up[blocks"} }, `adapter target "up[blocks" is not a module pattern`},
		{func(s *Spec) { s.Targets = []string{""} }, `adapter target "" is not a module pattern`},
		{func(s *Spec) { s.Targets = []string{"conv", "encoder.*"} }, `adapter target "encoder.*" matches no layer of the base model`},
		{func(s *Spec) { s.Targets = []string{"*.norm1"} }, `adapter target "*.norm1" matches no layer of the base model`},
		{func(s *Spec) { s.Kind = None }, `adapter kind none takes no targets, but has ["conv"]`},
		{func(s *Spec) { s.Classes = -1 }, `-1 classes are outside 0 to 65536`},
	} {
		s := good
		c.change(&s)
		_, err := Build(device.NewBuilder(), small, s)
		if err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

// TestTargets counts the layers that targets mean in small: 25 convolutions (2
// at the ends, 2 in each of 8 residual blocks, 5 shortcuts, a down- and an
// upsampler), 4 attentions of 4 linear layers, and 2+8 of the time embedding.
func TestTargets(t *testing.T) {
	for _, c := range []struct {
		targets []string
		layers  int
	}{
		{[]string{"conv"}, 25},
		{[]string{"attention"}, 16},
		{[]string{"time"}, 10},
		{[]string{"all"}, 51},
		{[]string{"conv", "attention", "time"}, 51},
		{[]string{"conv", "!conv_in", "!conv_out"}, 23},
		{[]string{"!conv_out", "conv"}, 24},
		{[]string{"conv", "!*.conv_shortcut"}, 20},
		{[]string{"up_blocks.*.conv1"}, 4},
		{[]string{"*.to_q", "*.to_v"}, 8},
		{[]string{"mid_block.resnets.0.conv1"}, 1},
	} {
		s := Spec{Kind: LoRA, Rank: 2, Alpha: 2, Targets: c.targets}
		params, err := s.Parameters(small)
		if err != nil {
			t.Errorf("%v: %v", c.targets, err)
		}
		if len(params) != 2*c.layers {
			t.Errorf("%v: %d adapters, want %d", c.targets, len(params)/2, c.layers)
		}
	}
}

// TestFullTargets: full fine-tuning trains the targets' own tensors, with and
// without a fresh class embedding.
func TestFullTargets(t *testing.T) {
	for _, c := range []struct {
		targets []string
		classes int
		tensors int
	}{
		{[]string{"conv"}, 0, 50},
		{[]string{"attention"}, 0, 40}, // with its norms
		{[]string{"attention"}, 10, 41},
		{[]string{"all"}, 0, 2*51 + 2*(16+4+1) + 1},
		{[]string{"all"}, 10, 2*51 + 2*(16+4+1) + 1},
		{[]string{"*.norm1"}, 0, 16},
	} {
		params, err := Spec{Kind: Full, Targets: c.targets, Classes: c.classes}.Parameters(small)
		if err != nil {
			t.Errorf("%v: %v", c.targets, err)
		}
		if len(params) != c.tensors {
			t.Errorf("%v with %d classes: %d tensors, want %d", c.targets, c.classes, len(params), c.tensors)
		}
	}
}

// TestFlatOrderIsContiguous: the offsets of a spec's tensors follow each other.
func TestFlatOrderIsContiguous(t *testing.T) {
	params, err := Spec{Kind: LoDA, Rank: 4, Alpha: 4, Nonlinearity: SiLU, Targets: []string{"all"}, Classes: 10}.Parameters(small)
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for _, p := range params {
		if p.Offset != next {
			t.Errorf("%s begins at %d, want %d", p.Name, p.Offset, next)
		}
		next += p.Len()
	}
}
