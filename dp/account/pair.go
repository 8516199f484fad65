package account

import "math"

// direction is which of two adjacent data sets the output came from.
type direction uint8

const (
	removing  direction = iota // P with the example, Q without
	adding                     // P without, Q with
	replacing                  // P with one example, Q with another
)

// directions are those whose worst an adjacency's guarantee must cover. Each is
// composed by itself: the adversary knows all but one example, which is on one
// side in every step. Replacing is its own mirror image.
func (a Adjacency) directions() []direction {
	if a == ReplaceOne {
		return []direction{replacing}
	}
	return []direction{removing, adding}
}

// sensitivity is how far apart adjacent sums are, in units of the clipping norm.
func (a Adjacency) sensitivity() float64 {
	if a == ReplaceOne {
		return 2
	}
	return 1
}

// pair is the dominating pair (P, Q) of one step: one-dimensional distributions
// whose hockey-stick divergence is at least that of the step on any adjacent
// data sets, at every ε (docs/privacy.md, "Accounting", has the proofs). With
// φ(x) the density of N(0, σ²),
//
//	removing:  P = (1-q)φ(y) + qφ(y-1),  Q = φ(y)
//	adding:    P = φ(y),                 Q = (1-q)φ(y) + qφ(y+1)
//	replacing: P = (1-q)φ(y) + qφ(y-1),  Q = (1-q)φ(y) + qφ(y+1)
//
// In each the privacy loss log(P/Q) increases with y.
type pair struct {
	direction direction
	q, sigma  float64
}

// density returns P's.
func (p pair) density(y float64) float64 {
	scale := -0.5 / (p.sigma * p.sigma)
	d := math.Exp(scale * y * y)
	if p.direction != adding {
		d = (1-p.q)*d + p.q*math.Exp(scale*(y-1)*(y-1))
	}
	return d / (p.sigma * math.Sqrt(2*math.Pi))
}

// loss returns the privacy loss at y.
func (p pair) loss(y float64) float64 {
	twice := 2 * p.sigma * p.sigma
	switch {
	case p.direction == removing:
		return logMixture(p.q, (2*y-1)/twice)
	case p.direction == adding:
		return -logMixture(p.q, (-2*y-1)/twice)
	}
	return logMixture(p.q, (2*y-1)/twice) - logMixture(p.q, (-2*y-1)/twice)
}

// inverse returns the y at which the loss is l: ∓Inf if it is never that low or high.
func (p pair) inverse(l float64) float64 {
	square := p.sigma * p.sigma
	switch {
	case p.direction == removing:
		return square*logMixtureInverse(p.q, l) + 0.5
	case p.direction == adding:
		return -square*logMixtureInverse(p.q, -l) - 0.5
	case p.q == 1:
		return square * l / 2
	}
	// With u = exp(y/σ²) and c = exp(-1/2σ²), 1-q + qcu = eˡ(1-q + qc/u): a
	// quadratic equation for u·exp(-l/2).
	return square * (l/2 + math.Asinh((1-p.q)/p.q*math.Sinh(l/2)*math.Exp(0.5/square)))
}

// logMixture returns log(1-q + q·eˢ).
func logMixture(q, s float64) float64 {
	x := q * math.Expm1(s)
	switch {
	case q == 1:
		return s
	case s > 30:
		return math.Log(q) + s + math.Log1p((1-q)*math.Exp(-s)/q)
	case x < -0.5:
		return math.Log(1 - q + q*math.Exp(s))
	}
	return math.Log1p(x)
}

// logMixtureInverse returns the s at which logMixture is l.
func logMixtureInverse(q, l float64) float64 {
	x := math.Expm1(l) / q
	switch {
	case q == 1:
		return l
	case l > 30:
		return l - math.Log(q) + math.Log1p(-(1-q)*math.Exp(-l))
	case x < -0.5:
		return math.Log(math.Max(0, math.Exp(l)-(1-q)) / q)
	}
	return math.Log1p(x)
}

// logAbove returns the logarithm of P's mass above y.
func (p pair) logAbove(y float64) float64 {
	outside := logTail(y / p.sigma)
	if p.direction == adding {
		return outside
	}
	return logAdd(math.Log1p(-p.q)+outside, math.Log(p.q)+logTail((y-1)/p.sigma))
}

// bounds returns y between which all of P lies but a mass of exp(logTail) on
// either side.
func (p pair) bounds(logMass float64) (lo, hi float64) {
	z := bisect(0, math.Sqrt(-2*logMass)+1, func(z float64) bool { return logTail(z) <= logMass })
	lo, hi = -z*p.sigma, z*p.sigma
	if p.direction != adding {
		hi = bisect(0, hi+1, func(y float64) bool { return p.logAbove(y) <= logMass })
	}
	return lo, hi
}

// bisect returns where holds, false at lo and true at hi, turns true: a point
// at which it is true.
func bisect(lo, hi float64, holds func(float64) bool) float64 {
	for {
		mid := lo + (hi-lo)/2
		if mid <= lo || mid >= hi {
			return hi
		}
		if holds(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
}

// nodes visits the nodes of a composite Gauss-Legendre rule on [a, b], each with
// its share of P's mass and its loss. The rule's relative error is below
// quadratureError for any factor that is linear in e^(-loss): the integrand's
// logarithm changes by at most 1/scale for each unit of y, and the n-point rule on
// a panel of w scales errs by about w²ⁿ·(n!)⁴/((2n+1)·(2n)!³).
func (p pair) nodes(a, b float64, visit func(mass, loss float64)) {
	square := p.sigma * p.sigma
	for a < b {
		scale := 1 / ((math.Abs(a)+1)/square + 1/p.sigma)
		width := math.Min(b-a, scale)
		r := &rules[2]
		switch {
		case width < 1e-3*scale:
			r = &rules[0]
		case width < 0.1*scale:
			r = &rules[1]
		}
		for i, x := range r.x {
			y := a + width*x
			visit(width*r.weight[i]*p.density(y), p.loss(y))
		}
		if a += width; b-a < 1e-9*width {
			return
		}
	}
}
