package pipeline

import (
	"math"

	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/optim"
	"github.com/dploda/dploda/model/fmath"
)

// adaptiveClip moves the clipping norm C towards a quantile γ of the gradients'
// norms (Andrew, Thakkar, McMahan, Ramaswamy 2021, arXiv 1905.03871, section 2.1
// and algorithm 1):
//
//	C ← C·exp(−η(b − γ))
//
// where b is the released share of unclipped gradients, its noise included: C is a
// function of released values, hence public. It scales the grid of its step and
// changes neither Delta nor SigmaInt, hence no ε.
type adaptiveClip struct {
	quantile, rate float64 // γ and η
	low, high      float64 // limits of C, public

	// adam is corrected for the noise of its second moment, whose variance moves
	// with C; nil where the optimizer does not do that. noise and weight are the
	// sums of the steps' variances and of ones that have the weights of the
	// squared gradients in the second moment.
	adam          *optim.Adam
	beta2         float64
	noise, weight float64
}

const (
	// clipReach is how far from finetune.clip the norm may go, either way.
	clipReach = 0x1p20
	// mostLogStep bounds the change of log C in a step: a noise many times as
	// large as a share is a sign of a batch too small to tell anything.
	mostLogStep = 1
)

func newAdaptiveClip(f config.Finetune, adam *optim.Adam) *adaptiveClip {
	return &adaptiveClip{
		quantile: f.AdaptiveClip.Quantile, rate: f.AdaptiveClip.LearningRate,
		low: f.Clip / clipReach, high: f.Clip * clipReach, adam: adam, beta2: f.Beta2,
	}
}

// next is the norm after a step with this one, whose released share of clipped
// gradients is given. Its bits are the same on every machine.
func (a *adaptiveClip) next(norm, clipped float64) float64 {
	unclipped := 1 - clipped
	step := float64(-a.rate * (unclipped - a.quantile))
	step = math.Min(math.Max(step, -mostLogStep), mostLogStep)
	return math.Min(math.Max(float64(norm*fmath.Exp(step)), a.low), a.high)
}

// correct tells adam the variance of the noise in its second moment once the
// step with mechanism m is in it.
func (a *adaptiveClip) correct(m plan.Mechanism) error {
	if a.adam == nil {
		return nil
	}
	s := m.NoiseStd()
	a.noise = float64(a.beta2*a.noise) + float64((1-a.beta2)*float64(s*s))
	a.weight = float64(a.beta2*a.weight) + (1 - a.beta2)
	return setNoise(a.adam, a.noise/a.weight)
}

// noiseFloor keeps dp-adam's second moment above this share of the noise's
// variance, where the difference of the two is mostly noise itself: steps grow
// by at most 1/√noiseFloor over adam's.
const noiseFloor = 0.05

// setNoise makes adam a dp-adam for noise of this variance.
func setNoise(adam *optim.Adam, variance float64) error {
	v := float32(variance)
	return adam.SetNoise(v, noiseFloor*v)
}
