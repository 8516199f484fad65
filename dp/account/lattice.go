package account

import (
	"math"

	"gonum.org/v1/gonum/integrate/quad"
)

// quadratureError bounds the relative error of one cell's mass.
const quadratureError = 1e-12

// rule is a Gauss-Legendre rule on [0, 1].
type rule struct{ x, weight []float64 }

var rules = func() (set [3]rule) {
	for i, n := range []int{2, 4, 8} {
		set[i] = rule{make([]float64, n), make([]float64, n)}
		quad.Legendre{}.FixedLocations(set[i].x, set[i].weight, 0, 1)
	}
	return set
}()

// lattice is a step's privacy loss distribution on the multiples of a spacing:
// mass[i] lies at (first+i)·spacing, and a mass of exp(logInfinite) at infinity.
type lattice struct {
	spacing     float64
	first       int
	mass        []float64
	logInfinite float64
}

// discretize returns a lattice whose hockey-stick divergence is nowhere below the
// pair's, with at most exp(logMass) cut off at either end.
//
// A loss l between the neighbours a and b is put on both, in proportions that
// keep the mass and E[e^(-loss)], Q's mass:
//
//	on b: (1 - e^(a-l)) / (1 - e^(a-b)),  on a: the rest.
//
// The hockey-stick divergence is E[(1 - e^(ε-loss))₊], convex in e^(-loss): by
// Jensen's inequality spreading increases it, at every ε, and not at all for ε on
// the lattice. It is the tightest pessimistic lattice (Doroshenko, Ghazi, Kamath,
// Kumar, Manurangsi 2022, arXiv 2207.04380, "connect the dots"), written as an
// integral of positive terms. The error is of second order in the spacing.
//
// The top that is cut off goes to infinity, the bottom to the cut's loss, which is
// not below floor.
func (p pair) discretize(spacing, logMass, floor float64) lattice {
	lo, hi := p.bounds(logMass)
	lo = math.Max(lo, math.Min(hi, p.inverse(floor)))
	first := int(math.Floor(p.loss(lo) / spacing))
	last := int(math.Floor(p.loss(hi)/spacing)) + 1
	l := lattice{spacing, first, make([]float64, last-first+2), p.logAbove(hi)}
	cell := first
	split := 1 / math.Expm1(-spacing)
	put := func(mass, loss float64) {
		upper := mass * math.Max(0, math.Min(1, math.Expm1(float64(cell)*spacing-loss)*split))
		l.mass[cell-first] += mass - upper
		l.mass[cell-first+1] += upper
	}
	put(p.below(lo), p.loss(lo))
	for y := lo; y < hi; cell++ {
		end := math.Min(hi, p.inverse(float64(cell+1)*spacing))
		if cell >= last { // the top, which rounding may leave
			end = hi
		}
		if end > y {
			p.nodes(y, end, put)
			y = end
		}
	}
	return l
}

// below returns P's mass below y.
func (p pair) below(y float64) float64 {
	mass := math.Exp(logTail(-y / p.sigma))
	if p.direction != adding {
		mass = (1-p.q)*mass + p.q*math.Exp(logTail((1-y)/p.sigma))
	}
	return mass
}

// relativeError bounds by how much of itself any mass may be too low: the
// quadrature, and the rounding of losses, 64 units in the last place, in units
// of the spacing.
func (l lattice) relativeError() float64 {
	widest := max(-l.first, l.first+len(l.mass))
	return quadratureError + 0x1p-47*float64(widest)
}

// logMoment returns log E[e^(s·loss)] of what is finite.
func (l lattice) logMoment(s float64) float64 {
	most := math.Inf(-1)
	for i, m := range l.mass {
		if m > 0 {
			most = math.Max(most, math.Log(m)+s*l.loss(i))
		}
	}
	var sum float64
	for i, m := range l.mass {
		if m > 0 {
			sum += m * math.Exp(s*l.loss(i)-most)
		}
	}
	return most + math.Log(sum)
}

func (l lattice) loss(i int) float64 { return float64(l.first+i) * l.spacing }
