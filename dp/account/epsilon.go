package account

import (
	"fmt"
	"math"
	"sync"
)

// Event is a number of steps of one kind: each a Gaussian mechanism on a
// Poisson sample.
type Event struct {
	SampleRate      float64 // q in [0, 1]; 1: everyone takes part
	NoiseMultiplier float64 // standard deviation of the noise over the sensitivity
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

// RDPEpsilon returns the ε at which the composition of events is (ε, δ)-DP under
// add/remove-one adjacency, and the Rényi order that proves it. ε is +Inf if no
// order proves any. The events may come in any order, several may be alike.
func RDPEpsilon(events []Event, delta float64) (epsilon, order float64, err error) {
	if err := validateDelta(delta); err != nil {
		return 0, 0, err
	}
	c, err := compose(events)
	if err != nil {
		return 0, 0, err
	}
	epsilon, order = c.epsilon(delta)
	return epsilon, order, nil
}

func validateDelta(delta float64) error {
	if !(delta > 0 && delta < 1) {
		return fmt.Errorf("delta is %v, it must lie in (0, 1)", delta)
	}
	return nil
}

// kind is what steps of one kind have in common.
type kind struct{ q, sigma float64 }

// divergences returns the Rényi divergences of one step at orders.
func (k kind) divergences() curve {
	c := make(curve, len(orders))
	for i, a := range orders {
		c[i] = rdp(k.q, k.sigma, a)
	}
	return c
}

// remembered holds the divergences of kinds that were composed: a running
// training asks for ε after every step, always of the same few kinds.
var remembered sync.Map // kind → curve

func (k kind) remember() curve {
	if c, ok := remembered.Load(k); ok {
		return c.(curve)
	}
	c := k.divergences()
	remembered.Store(k, c)
	return c
}

// curve is a Rényi divergence at each of orders.
type curve []float64

func compose(events []Event) (curve, error) {
	steps := map[kind]int{}
	var kinds []kind // in order of appearance, so that sums are reproducible
	for i, e := range events {
		if err := e.validate(); err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		k := kind{e.SampleRate, e.NoiseMultiplier}
		if _, seen := steps[k]; !seen {
			kinds = append(kinds, k)
		}
		steps[k] += e.Steps
	}
	sum := make(curve, len(orders))
	for _, k := range kinds {
		if steps[k] > 0 {
			sum = sum.plus(k.remember(), steps[k])
		}
	}
	return sum, nil
}

// plus returns c composed with further steps: divergences of one order add up.
func (c curve) plus(step curve, steps int) curve {
	sum := make(curve, len(c))
	for i := range c {
		sum[i] = c[i] + float64(steps)*step[i]
	}
	return sum
}

// epsilon returns the least ε that the curve proves at δ, with its order.
func (c curve) epsilon(delta float64) (epsilon, order float64) {
	return convert(orders, c, delta)
}

// convert returns the least ε at δ of divergences at the given orders.
//
// At one order it is Proposition 12 of Canonne, Kamath, Steinke 2020,
//
//	ε = ε(α) + log((α-1)/α) - log(δα)/(α-1),
//
// or zero where the total variation distance is at most δ, by Bretagnolle and
// Huber: TV ≤ √(1-exp(-KL)), and the Kullback-Leibler divergence is at most ε(α).
func convert(orders []float64, c curve, delta float64) (epsilon, order float64) {
	epsilon, order = math.Inf(1), orders[0]
	for i, a := range orders {
		d := c[i]
		e := math.Max(0, d+math.Log1p(-1/a)-math.Log(delta*a)/(a-1))
		if -math.Expm1(-d) <= delta*delta*(1-inflation) {
			e = 0
		}
		if e < epsilon {
			epsilon, order = e, a
		}
	}
	return epsilon * (1 + inflation), order
}
