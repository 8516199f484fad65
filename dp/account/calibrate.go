package account

import (
	"fmt"
	"math"
)

// tolerance is the relative width at which Calibrate stops.
const tolerance = 1e-6

// maxNoiseMultiplier bounds the search of Calibrate.
const maxNoiseMultiplier = 1e6

// Calibrate returns the least noise multiplier, up to one part in a million and
// never too small, for which steps steps at sampling rate q, composed with the
// fixed events, cost at most targetEpsilon at delta. Count the reserve for
// redone steps into steps.
func Calibrate(targetEpsilon, delta, q float64, steps int, fixed []Event) (sigma float64, err error) {
	if !(targetEpsilon > 0 && targetEpsilon <= math.MaxFloat64) {
		return 0, fmt.Errorf("the target epsilon is %v, it must be a positive number", targetEpsilon)
	}
	if err := validateDelta(delta); err != nil {
		return 0, err
	}
	if err := (Event{SampleRate: q, Steps: steps}).validate(); err != nil {
		return 0, err
	}
	if q == 0 || steps == 0 {
		return 0, fmt.Errorf("a phase of %d steps at sampling rate %v uses no private data and needs no noise", steps, q)
	}
	rest, err := compose(fixed)
	if err != nil {
		return 0, err
	}
	if epsilon, _ := rest.epsilon(delta); epsilon > targetEpsilon {
		return 0, fmt.Errorf("the other phases alone cost epsilon %.4g, more than the target of %.4g", epsilon, targetEpsilon)
	}
	fits := func(sigma float64) bool {
		epsilon, _ := rest.plus(kind{q, sigma}.divergences(), steps).epsilon(delta)
		return epsilon <= targetEpsilon
	}
	hi := 1.0
	for !fits(hi) {
		if hi *= 2; hi > maxNoiseMultiplier {
			return 0, fmt.Errorf("no noise multiplier up to %g reaches epsilon %.4g at delta %g; choose a larger epsilon or delta", float64(maxNoiseMultiplier), targetEpsilon, delta)
		}
	}
	lo := hi / 2
	for fits(lo) { // ends: with hardly any noise no target is met
		hi, lo = lo, lo/2
	}
	for hi/lo > 1+tolerance {
		if mid := math.Sqrt(lo * hi); fits(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, nil
}
