package account

import "math"

// A fully adaptive Rényi filter keeps the sum of divergences of one fixed order
// below a limit (Feldman, Zrnic 2021, arXiv 2008.11193, Section 4). This file
// has its three numbers: what one step costs, what (ε, δ) allows, and the order.

// FilterOrder chooses from these orders, in tenths.
const firstFilterOrder, lastFilterOrder = 11, 40960

// Divergence returns an upper bound on the Rényi divergence of order > 1 of one
// step, in nats, between the outputs on neighbouring data sets; +Inf without
// noise.
func Divergence(sampleRate, noiseMultiplier, order float64, a Adjacency) float64 {
	return rdp(sampleRate, noiseMultiplier, order, a)
}

// FilterLimit returns the largest sum of divergences of the given order that
// implies (ε, δ), by Proposition 12 of Canonne, Kamath, Steinke 2020; 0 if none
// does. It is rounded down.
func FilterLimit(epsilon, delta, order float64) float64 {
	offset := math.Log1p(-1/order) - math.Log(delta*order)/(order-1)
	return math.Max(0, epsilon*(1-2*inflation)-offset-2*inflation*math.Abs(offset))
}

// FilterOrder returns the order, in tenths, for a filter of budget (ε, δ).
//
// Gaussian steps without sampling cost in proportion to their order, so that
// FilterLimit/order is how many of them fit. Steps on samples cost the same
// multiple of that up to an order from which their cost explodes. So it is the
// lowest order that is worth at least four fifths of the best one: runs of up to
// 0.7 of ε use at most three tenths more of the budget than at the order that
// would suit them best (TestFilterOrderSuitsTypicalRuns).
func FilterOrder(epsilon, delta float64) (tenths int) {
	worth := func(tenths int) float64 {
		order := float64(tenths) / 10
		return FilterLimit(epsilon, delta, order) / order
	}
	best := 0.0
	for t := firstFilterOrder; t <= lastFilterOrder; t++ {
		best = math.Max(best, worth(t))
	}
	for tenths = firstFilterOrder; worth(tenths) < 0.8*best; tenths++ {
	}
	return tenths
}
