package account

import (
	"math"
	"sync"
)

// RDPEpsilon returns the ε that the Rényi divergences of the events prove at δ,
// and the order that proves it. ε is +Inf if no order proves any. It is the
// cross-check of Epsilon, which is lower.
func RDPEpsilon(events []Event, delta float64, a Adjacency) (epsilon, order float64, err error) {
	if err := validateDelta(delta); err != nil {
		return 0, 0, err
	}
	c, err := merge(events, a)
	if err != nil {
		return 0, 0, err
	}
	sum := make(curve, len(orders))
	for i, order := range orders {
		sum[i] = order / 2 * c.mu2
		if c.unnoised {
			sum[i] = math.Inf(1)
		}
	}
	for i, k := range c.kinds {
		for j, d := range (remembered{k, a}).divergences() {
			sum[j] += float64(c.counts[i]) * d
		}
	}
	epsilon, order = convert(orders, sum, delta)
	return epsilon, order, nil
}

// curve is a Rényi divergence at each of orders.
type curve []float64

// remembered is a kind of step whose divergences are kept: a running training
// asks for ε after every step, always of the same few kinds.
type remembered struct {
	kind
	adjacency Adjacency
}

var divergences sync.Map // remembered → curve

// divergences returns the Rényi divergences of one step at orders.
func (k remembered) divergences() curve {
	if c, ok := divergences.Load(k); ok {
		return c.(curve)
	}
	c := make(curve, len(orders))
	for i, a := range orders {
		c[i] = rdp(k.q, k.sigma, a, k.adjacency)
	}
	divergences.Store(k, c)
	return c
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
