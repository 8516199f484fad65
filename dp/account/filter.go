package account

import "math"

// A fully adaptive Rényi filter keeps the sum of divergences of one fixed order
// below a limit (Feldman, Zrnic 2021, arXiv 2008.11193, Section 4). This file
// has its three numbers: what one step costs, what (ε, δ) allows, and the order.

// FilterOrder chooses from these orders, in tenths.
const firstFilterOrder, lastFilterOrder = 11, 40960

// Divergence returns an upper bound on the Rényi divergence of order > 1 of one
// step, in nats, between the outputs with and without one example; +Inf without
// noise.
func Divergence(sampleRate, noiseMultiplier, order float64) float64 {
	return rdp(sampleRate, noiseMultiplier, order)
}

// ReplaceOneDivergence is Divergence between the outputs with one example and
// with another in its place. Through the outputs with neither, by the triangle
// inequality of Rényi divergences with p = 2 (Mironov 2017, arXiv 1702.07476,
// Proposition 11),
//
//	D_α(P‖Q) ≤ (α-1/2)/(α-1)·D_2α(P‖R) + D_(2α-1)(R‖Q),
//
// or without amplification, as a sum whose sensitivity is doubled. It is not
// tight: for small σ it may be several times what it bounds.
func ReplaceOneDivergence(sampleRate, noiseMultiplier, order float64) float64 {
	through := (order-0.5)/(order-1)*rdp(sampleRate, noiseMultiplier, 2*order) + rdp(sampleRate, noiseMultiplier, 2*order-1)
	if sampleRate == 0 {
		return 0
	}
	return math.Min(through*(1+inflation), rdp(1, noiseMultiplier/2, order))
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
