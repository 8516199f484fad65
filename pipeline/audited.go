package pipeline

import (
	"fmt"

	"github.com/dploda/dploda/audit"
	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dataset/drawn"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/worker"
)

// auditNet is small, so that an attacker can compute each image's contribution
// to each step, and has more trained parameters than an audit has images.
var auditNet = benchNet{
	name: "audit", image: device.Shape{C: 1, H: 32, W: 32}, unshuffle: 4,
	unet: config.UNet{
		SampleSize: config.Square(8), BlockOutChannels: []int{8, 16}, LayersPerBlock: 1,
		DownBlockTypes: []string{"DownBlock2D", "DownBlock2D"}, UpBlockTypes: []string{"UpBlock2D", "UpBlock2D"},
		NormNumGroups: 4, NormEps: 1e-5, AttentionHeadDim: 8, DownsamplePadding: 1, FlipSinToCos: true,
	},
}

// AuditTraining is the fine-tuning that `dploda audit` attacks: images drawn as
// the demo's, adapters with the demo's settings on a small random base, the task
// and the learner of a run.
func AuditTraining(images, steps int) (audit.Training, error) {
	data, err := dataset.Transform{Pad: [2]int{auditNet.image.H, auditNet.image.W}}.Apply(drawn.Shapes(1, images))
	if err != nil {
		return audit.Training{}, err
	}
	base, err := startBase(auditNet.spec(), data, draws.New(draws.SeedKey(1, "audit")))
	if err != nil {
		return audit.Training{}, err
	}
	spec, err := DemoSpec()
	if err != nil {
		return audit.Training{}, err
	}
	spec.Finetune.Steps = steps
	// Adam takes a step of mostly noise at the full rate, which would spoil a
	// network of this size in the few steps of an audit.
	spec.Finetune.LearningRate, spec.Finetune.FinalLearningRate = auditRate, auditRate
	r := &resolved{
		spec: spec, base: base, classes: len(data.Classes()), times: diffusion.Fractions(0, auditTimes, base.Traits.Timesteps),
		adapter: adapter.Spec{
			Kind: adapter.LoDA, Rank: auditRank, Alpha: auditRank, Nonlinearity: spec.Adapter.Nonlinearity,
			Targets: spec.Adapter.Targets, Classes: len(data.Classes()),
		},
	}
	params, err := r.adapter.Parameters(base.Config)
	if err != nil {
		return audit.Training{}, err
	}
	dim := 0
	for _, p := range params {
		dim += p.Len()
	}
	under := func(m plan.Mechanism) *resolved {
		own := *r
		own.mechanisms = []plan.Mechanism{m}
		return &own
	}
	return audit.Training{
		Dim: dim, Arithmetic: NewDevice().Kind(),
		NewTask: func(m plan.Mechanism) (worker.Task, error) {
			g, err := (&taskFactory{resolved: under(m), data: data, units: dataset.EachImage(data.Len()), dev: NewDevice(), threads: 1}).gradient()
			if err != nil {
				return nil, fmt.Errorf("the audit's training: %w", err)
			}
			return g, nil
		},
		NewLearner: func(m plan.Mechanism) (coordinator.Learner, error) {
			r := under(m)
			a, err := (&run{resolved: r}).startAdapter()
			if err != nil {
				return nil, err
			}
			return r.newAdapterLearner(a, nil)
		},
	}, nil
}

const (
	auditRank = 2
	auditRate = 1e-3 // learning rate
	// auditTimes is the share of the timesteps that are trained, those of little
	// noise: there a random base's gradients of different images have least in
	// common, and an attacker tells images apart best.
	auditTimes = 0.3
)
