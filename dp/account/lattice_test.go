package account

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// hockeyStick is the closed form of one step's δ(ε), P(loss > ε) - e^ε·Q(loss > ε),
// from error functions. It takes nothing from the quadrature under test.
func (p pair) hockeyStick(epsilon float64) float64 {
	y := p.inverse(epsilon)
	above := func(mean float64) float64 { return 0.5 * math.Erfc((y-mean)/(p.sigma*math.Sqrt2)) }
	without := above(0)
	with, other := p.q*above(1)+(1-p.q)*above(0), p.q*above(-1)+(1-p.q)*above(0)
	switch p.direction {
	case removing:
		return with - math.Exp(epsilon)*without
	case adding:
		return without - math.Exp(epsilon)*other
	}
	return with - math.Exp(epsilon)*other
}

// hockeyStick is the definition.
func (l lattice) hockeyStick(epsilon float64) float64 {
	sum := math.Exp(l.logInfinite)
	for i, m := range l.mass {
		if l.loss(i) > epsilon {
			sum -= m * math.Expm1(epsilon-l.loss(i))
		}
	}
	return sum
}

func drawPair(t *rapid.T) pair {
	return pair{
		direction(rapid.IntRange(int(removing), int(replacing)).Draw(t, "direction")),
		math.Exp(-rapid.Float64Range(0, 12).Draw(t, "-log q")),
		math.Exp(rapid.Float64Range(math.Log(0.25), math.Log(30)).Draw(t, "log σ")),
	}
}

// Every lattice has all of the mass, P's and Q's, and its δ(ε) is nowhere below
// the exact one; it is equal to it on the lattice, but for what was cut off.
// Planted, each failed here: leaving out what is at infinity, losses rounded down,
// losses rounded up (not equal), a node's share on the lower neighbour forgotten.
func TestLatticeDominates(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPair(rt)
		logMass := -rapid.Float64Range(5, 50).Draw(rt, "-log cut")
		lo, hi := p.bounds(logMass)
		spacing := (p.loss(hi) - p.loss(lo)) / rapid.Float64Range(3, 3000).Draw(rt, "cells")
		l := p.discretize(spacing, logMass, math.Inf(-1))
		cut := math.Exp(logMass)
		mass, other := math.Exp(l.logInfinite), 0.0
		for i, m := range l.mass {
			if m < 0 {
				rt.Fatalf("%+v: mass %v at %v", p, m, l.loss(i))
			}
			mass += m
			other += m * math.Exp(-l.loss(i))
		}
		if math.Abs(mass-1) > quadratureError {
			rt.Fatalf("%+v: P has a mass of %v", p, mass)
		}
		if other > 1+1e-11 { // what is at infinity or was moved up from below has less of it
			rt.Fatalf("%+v: Q has a mass of %v", p, other)
		}
		for range 20 {
			i := rapid.IntRange(0, len(l.mass)-1).Draw(rt, "point")
			at := l.loss(i) + rapid.Float64Range(0, 1).Draw(rt, "between")*spacing
			rounding := 1e-13 * (1 + math.Exp(at))
			if exact, got := p.hockeyStick(at), l.hockeyStick(at); got < exact-rounding {
				rt.Fatalf("%+v: δ(%v) = %v, the exact one is %v", p, at, got, exact)
			}
			rounding = 1e-11 * (1 + math.Exp(l.loss(i)))
			if exact, got := p.hockeyStick(l.loss(i)), l.hockeyStick(l.loss(i)); got > exact+2*cut+rounding {
				rt.Fatalf("%+v: on the lattice δ(%v) = %v, the exact one is %v", p, l.loss(i), got, exact)
			}
		}
	})
}

// inverse is loss's, and the loss increases.
func TestInverseOfLoss(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPair(rt)
		lo, hi := p.bounds(-40)
		y := rapid.Float64Range(lo, hi).Draw(rt, "y")
		loss := p.loss(y)
		if back := p.loss(p.inverse(loss)); math.Abs(back-loss) > 1e-12*math.Abs(loss)+1e-15 {
			rt.Fatalf("%+v: the loss at the inverse of %v is %v", p, loss, back)
		}
		if next := p.loss(y + 0.01*p.sigma); next < loss {
			rt.Fatalf("%+v: the loss falls from %v to %v", p, loss, next)
		}
	})
}

// convolve is the distribution of a sum, by its definition.
func convolve(a, b lattice) lattice {
	sum := lattice{a.spacing, a.first + b.first, make([]float64, len(a.mass)+len(b.mass)-1), logAdd(a.logInfinite, b.logInfinite)}
	for i, x := range a.mass {
		for j, y := range b.mass {
			sum.mass[i+j] += x * y
		}
	}
	return sum
}

// The transforms give what convolving the same lattices one by one gives, up to
// what is charged, never less. Planted, each failed here: the charge for the
// steps' infinite mass left out, the charge for what lies above the window left out.
func TestSolveEqualsConvolution(t *testing.T) {
	for _, c := range []struct {
		delta float64
		steps []step
	}{
		{1e-5, []step{{pair{removing, 0.2, 1}, 1}}},
		{1e-5, []step{{pair{removing, 0.1, 0.8}, 4}}},
		{1e-9, []step{{pair{adding, 0.3, 1.5}, 5}}},
		{1e-3, []step{{pair{replacing, 0.5, 2}, 3}}},
		{1e-6, []step{{pair{removing, 0.01, 0.6}, 3}, {pair{removing, 0.2, 3}, 2}, {pair{removing, 1, 4}, 1}}},
		{0.3, []step{{pair{removing, 0.9, 1}, 2}}},
	} {
		curve := newCurvature(c.steps, c.delta, 0.01)
		got := curve.solve(c.steps, c.delta)
		whole := lattice{curve.window.spacing, 0, []float64{1}, math.Inf(-1)}
		for _, s := range c.steps {
			logMass := math.Log(c.delta) + cutOff - math.Log(s.count*float64(len(c.steps)))
			one := s.discretize(curve.window.spacing, logMass, -negligible/curve.window.tilt)
			for range int(s.count) {
				whole = convolve(whole, one)
			}
		}
		want := bisect(0, 100, func(epsilon float64) bool { return whole.hockeyStick(epsilon) <= c.delta })
		if got.exhausted || got.epsilon < want || got.epsilon > want*(1+1e-4) {
			t.Errorf("%+v: ε = %v, the convolution has %v", c, got, want)
		}
		if step := 1e-4; whole.hockeyStick(want) > 0 {
			slope := -math.Log(whole.hockeyStick(want+step)/whole.hockeyStick(want)) / step
			if math.Abs(slope-got.slope) > 0.05*slope {
				t.Errorf("%+v: slope %v, want %v", c, got.slope, slope)
			}
		}
	}
}

// At q = 1 the lattices and the closed form are each other's twins.
func TestGaussianEqualsLattice(t *testing.T) {
	for _, mu := range []float64{0.01, 0.3, 1, 3} {
		for _, delta := range []float64{1e-3, 1e-6, 1e-12} {
			steps := []step{{pair{removing, 1, 1 / mu}, 1}}
			got, want := newCurvature(steps, delta, discretization).solve(steps, delta).epsilon, gaussianEpsilon(mu, delta)
			if got < want || got > want*(1+2*discretization)+2*leastError {
				t.Errorf("μ = %v at δ = %v: ε = %v, the closed form is %v", mu, delta, got, want)
			}
		}
	}
}

// The tails' logarithm against the integral bounds that hold everywhere:
// z/(1+z²) < Mills' ratio < (z²+2)/(z³+3z), and continuity where methods change.
func TestLogTail(t *testing.T) {
	for _, z := range []float64{0.5, 3, 9.99, 10.01, 40, 1000} {
		ratio := math.Exp(logTail(z) + z*z/2 + 0.5*math.Log(2*math.Pi))
		if lo, hi := z/(1+z*z), (z*z+2)/(z*z*z+3*z); !(ratio > lo*(1-1e-9) && ratio < hi*(1+1e-9)) {
			t.Errorf("Mills' ratio at %v is %v, want one in (%v, %v)", z, ratio, lo, hi)
		}
	}
	if below, above := logTail(math.Nextafter(10, 0)), logTail(10); math.Abs(above/below-1) > 1e-14 {
		t.Errorf("log tail jumps from %v to %v", below, above)
	}
}
