package account

import (
	"fmt"
	"math"
	"slices"
)

// tolerance is the relative width at which Calibrate stops.
const tolerance = 5e-5

// roughly is the tolerance of ε while Calibrate is far from the answer.
const roughly = 1e-3

// maxNoiseMultiplier bounds the search of Calibrate.
const maxNoiseMultiplier = 1e6

// Calibrate returns the least noise multiplier, up to one part in 20,000 and
// never too small, for which steps steps at sampling rate q, composed with the
// fixed events, cost at most the target ε at δ, as Epsilon has it. Count the
// reserve for redone steps into steps.
func Calibrate(target, delta, q float64, steps int, fixed []Event, a Adjacency) (sigma float64, err error) {
	if !(target > 0 && target <= math.MaxFloat64) {
		return 0, fmt.Errorf("the target epsilon is %v, it must be a positive number", target)
	}
	fine, err := NewMeter(delta, a)
	if err != nil {
		return 0, err
	}
	if err := (Event{SampleRate: q, Steps: steps}).validate(); err != nil {
		return 0, err
	}
	if q == 0 || steps == 0 {
		return 0, fmt.Errorf("a phase of %d steps at sampling rate %v uses no private data and needs no noise", steps, q)
	}
	rest, err := merge(fixed, a)
	if err != nil {
		return 0, err
	}
	if epsilon := fine.epsilon(rest); epsilon > target {
		return 0, fmt.Errorf("the other phases alone cost epsilon %.4g, more than the target of %.4g", epsilon, target)
	}
	// The first direction is nearly always the worst: the search looks at it alone,
	// and again at all if they do not allow what it finds.
	coarse := &Meter{delta, a, roughly, a.directions()[:1], map[direction]*curvature{}}
	first := &Meter{delta, a, discretization, a.directions()[:1], map[direction]*curvature{}}
	// over is log(ε/target), where the search wants zero.
	over := func(m *Meter, sigma float64) float64 {
		c, _ := merge(append(slices.Clone(fixed), Event{q, sigma, steps}), a) // checked above
		return math.Log(m.epsilon(c) / target)
	}
	lo, hi := bracket(func(sigma float64) float64 { return over(coarse, sigma) }, 0.5, 1, roughly)
	for _, m := range []*Meter{first, fine} {
		if hi <= maxNoiseMultiplier {
			_, hi = bracket(func(sigma float64) float64 { return over(m, sigma) }, lo*(1-roughly), hi, tolerance)
		}
		if hi > maxNoiseMultiplier {
			return 0, fmt.Errorf("no noise multiplier up to %g reaches epsilon %.4g at delta %g; choose a larger epsilon or delta", float64(maxNoiseMultiplier), target, delta)
		}
		g, err := fine.Epsilon(append(slices.Clone(fixed), Event{q, hi, steps}))
		switch {
		case err != nil:
			return 0, err
		case g.Epsilon <= target:
			return hi, nil
		}
	}
	return 0, fmt.Errorf("noise multiplier %v costs more than the target epsilon of %v", hi, target)
}

// bracket returns lo < hi, at most a relative width apart, with f(lo) > 0 ≥ f(hi)
// for a decreasing f, starting from a guess of both. hi is above
// maxNoiseMultiplier if there are none.
func bracket(f func(float64) float64, lo, hi, width float64) (_, _ float64) {
	fhi := f(hi)
	for growth := hi / lo; fhi > 0; growth *= growth {
		if hi *= growth; hi > maxNoiseMultiplier {
			return lo, math.Inf(1)
		}
		fhi = f(hi)
	}
	flo := f(lo)
	for growth := hi / lo; flo <= 0; growth *= growth { // ends: with hardly any noise no target is met
		hi, fhi = lo, flo
		lo /= growth
		flo = f(lo)
	}
	// Regula falsi in log σ, Illinois' variant; where that fails, bisection.
	for side, i := 0, 0; hi/lo > 1+width; i++ {
		mid := math.Sqrt(lo * hi)
		if x := lo * math.Pow(hi/lo, flo/(flo-fhi)); x > lo && x < hi && i%4 != 3 {
			// A little to the side of the root, so that the bracket closes from both.
			mid = math.Min(math.Max(x, lo*(1+width/4)), hi*(1-width/4))
		}
		switch at := f(mid); {
		case at > 0:
			lo, flo = mid, at
			if side == 1 {
				fhi /= 2
			}
			side = 1
		default:
			hi, fhi = mid, at
			if side == -1 {
				flo /= 2
			}
			side = -1
		}
	}
	return lo, hi
}
