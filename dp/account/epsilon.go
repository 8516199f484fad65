package account

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Accountant names the method in statements, with a version that changes
// whenever the same events may get another ε.
const Accountant = "privacy loss distributions of the Poisson-subsampled Gaussian, pessimistic (connect the dots), version 1; cross-checked by Rényi DP"

// Event is a number of steps of one kind: each a Gaussian mechanism on a
// Poisson sample.
type Event struct {
	SampleRate      float64 // q in [0, 1]; 1: everyone takes part
	NoiseMultiplier float64 // standard deviation of the noise over the clipping norm
	Steps           int     // charges, redone steps and reserve included
}

func (e Event) validate() error {
	switch {
	case !(e.SampleRate >= 0 && e.SampleRate <= 1):
		return fmt.Errorf("the sampling rate is %v, it must lie in [0, 1]", e.SampleRate)
	case !(e.NoiseMultiplier >= 0 && e.NoiseMultiplier <= math.MaxFloat64):
		return fmt.Errorf("the noise multiplier is %v, it must be a number that is not negative", e.NoiseMultiplier)
	case e.Steps < 0:
		return fmt.Errorf("the number of steps is %d, it must not be negative", e.Steps)
	}
	return nil
}

func validateDelta(delta float64) error {
	if !(delta > 0 && delta < 1) {
		return fmt.Errorf("delta is %v, it must lie in (0, 1)", delta)
	}
	return nil
}

// Guarantee is what events are proved to cost.
type Guarantee struct {
	Epsilon   float64   `json:"epsilon"` // +Inf if nothing is proved
	Delta     float64   `json:"delta"`
	Adjacency Adjacency `json:"adjacency"`
	// RDPEpsilon is the independent cross-check: the ε that Rényi DP proves,
	// at the order RDPOrder.
	RDPEpsilon float64 `json:"rdp_epsilon"`
	RDPOrder   float64 `json:"rdp_order"`
}

// Epsilon returns the least ε at which the composition of events is proved to be
// (ε, δ)-DP, by privacy loss distributions. It is never below the true ε and
// about 5·10⁻⁵ of itself above it. The events may come in any order, several may be
// alike. It is an error if the two methods contradict each other.
func Epsilon(events []Event, delta float64, a Adjacency) (Guarantee, error) {
	m, err := NewMeter(delta, a)
	if err != nil {
		return Guarantee{}, err
	}
	return m.Epsilon(events)
}

// kind is what steps of one kind have in common.
type kind struct{ q, sigma float64 }

// composition is events in normal form: a function of what was spent alone, not
// of its order or how it was split.
type composition struct {
	kinds  []kind // subsampled with noise, in order
	counts []int
	// mu2 is (distance of the means over σ)² summed over everyone's steps: those
	// at q = 1 are together one Gaussian mechanism.
	mu2      float64
	unnoised bool
}

// merge adds up events of one kind. A step with too weak a noise counts as one
// without sampling, which dominates it.
func merge(events []Event, a Adjacency) (composition, error) {
	steps := map[kind]int{}
	for i, e := range events {
		if err := e.validate(); err != nil {
			return composition{}, fmt.Errorf("event %d: %w", i+1, err)
		}
		if e.Steps > 0 && e.SampleRate > 0 {
			steps[kind{e.SampleRate, e.NoiseMultiplier}] += e.Steps
		}
	}
	var all []kind
	for k := range steps {
		all = append(all, k)
	}
	slices.SortFunc(all, func(x, y kind) int { return cmp.Or(cmp.Compare(x.q, y.q), cmp.Compare(x.sigma, y.sigma)) })
	var c composition
	for _, k := range all {
		switch {
		case k.sigma == 0:
			c.unnoised = true
		case k.q == 1 || k.sigma < weakNoise:
			mu := a.sensitivity() / k.sigma
			c.mu2 += mu * mu * float64(steps[k])
		default:
			c.kinds, c.counts = append(c.kinds, k), append(c.counts, steps[k])
		}
	}
	return c, nil
}

// distance bounds the total variation distance of the composition's outputs on
// adjacent data sets: that of each step's pair, added up.
func (c composition) distance(a Adjacency) float64 {
	half := a.sensitivity() / (2 * math.Sqrt2)
	sum := math.Erf(half * math.Sqrt(c.mu2) / a.sensitivity())
	for i, k := range c.kinds {
		sum += float64(c.counts[i]) * k.q * math.Erf(half/k.sigma)
	}
	return sum * (1 + 1e-12)
}
