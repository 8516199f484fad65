package account

import "math"

// moments is the cumulant generating function of a composition's privacy loss,
// before any lattice: K(s) = log E_P[e^(s·loss)], with the tails cut off.
type moments struct {
	steps []step
	atoms [][]atom // of each step
}

type atom struct{ logMass, loss float64 }

func newMoments(steps []step, logMass []float64) moments {
	m := moments{steps, make([][]atom, len(steps))}
	for i, s := range steps {
		lo, hi := s.bounds(logMass[i])
		s.nodes(lo, hi, func(mass, loss float64) {
			if mass > 0 {
				m.atoms[i] = append(m.atoms[i], atom{math.Log(mass), loss})
			}
		})
	}
	return m
}

func (m moments) cumulant(s float64) float64 {
	var sum float64
	for i, step := range m.steps {
		most := math.Inf(-1)
		for _, a := range m.atoms[i] {
			most = math.Max(most, a.logMass+s*a.loss)
		}
		var moment float64
		for _, a := range m.atoms[i] {
			moment += math.Exp(a.logMass + s*a.loss - most)
		}
		sum += step.count * (most + math.Log(moment))
	}
	return sum
}

// mean returns the mean of the composed loss.
func (m moments) mean() float64 {
	var sum float64
	for i, step := range m.steps {
		for _, a := range m.atoms[i] {
			sum += step.count * math.Exp(a.logMass) * a.loss
		}
	}
	return sum
}

// The exponents that chernoff tries.
const leastExponent, mostExponent = 1e-4, 1e8

// chernoff returns the least bound (K(s) - logProbability)/s on what the loss
// exceeds with that probability, and its s. The bound is quasiconvex in s, as K
// is convex.
func (m moments) chernoff(logProbability float64) (bound, s float64) {
	return minimize(leastExponent, mostExponent, func(s float64) float64 { return (m.cumulant(s) - logProbability) / s })
}

// below returns what the loss falls below with at most that probability, by the
// same bound.
func (m moments) below(logProbability float64) float64 {
	bound, _ := minimize(leastExponent, mostExponent, func(s float64) float64 { return (m.cumulant(-s) - logProbability) / s })
	return -bound
}

// minimize returns the minimum of a quasiconvex function of s > 0, and where it is.
func minimize(from, to float64, f func(s float64) float64) (least, s float64) {
	const ratio = 0.618
	at := func(logS float64) float64 { return f(math.Exp(logS)) }
	a, d := math.Log(from), math.Log(to)
	b, c := d-ratio*(d-a), a+ratio*(d-a)
	fb, fc := at(b), at(c)
	for d-a > 0.05 {
		if fb < fc {
			d, c, fc = c, b, fb
			b = d - ratio*(d-a)
			fb = at(b)
		} else {
			a, b, fb = b, c, fc
			c = a + ratio*(d-a)
			fc = at(c)
		}
	}
	if fb < fc {
		return fb, math.Exp(b)
	}
	return fc, math.Exp(c)
}

// tilting returns how to look for ε: a tilt and the width of a window, such that
// what wraps around into it is at most the part of δ that logPart is the
// logarithm of. A mass from below arrives smaller by e^(-tilt·width), one from
// above larger by as much: P(loss > ε + width) must be so much less, which
// Chernoff's bound ensures.
//
// The tilt best, which puts the composed mean at ε, makes rounding errors least,
// by their charge's logarithm. Where tails are heavy a smaller one needs a narrower
// window: it is taken as long as its charge is tolerable.
func (m moments) tilting(best, epsilon, lowest, top, logPart float64, tolerable func(tilt float64) bool) (tilt, width float64) {
	for t, i := best, 0; i < 7; t, i = t*0.75, i+1 {
		above, _ := minimize(t*1.01, math.Max(mostExponent, t*2), func(s float64) float64 {
			return (m.cumulant(s) - s*epsilon - logPart) / (s - t)
		})
		w := math.Max(above, math.Min(-logPart/t, top-lowest))
		if i == 0 || (w < width && tolerable(t)) {
			tilt, width = t, w
		}
	}
	return tilt, width
}
