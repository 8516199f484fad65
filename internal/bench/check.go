package bench

import (
	"errors"
	"fmt"
)

// leastOfTheory is the least share of the theoretical peak that the measured
// one must reach: below, the yardstick itself is wrong or disturbed.
const leastOfTheory = 0.95

// attempts is how often a row is measured until it makes sense. A machine that
// others use, or whose clock changes, may disturb some.
const attempts = 5

var (
	// ErrShare says that a row was faster than its peak.
	ErrShare = errors.New("a share above 1 cannot be")
	// ErrPeak says that the measured peak was too far below theory.
	ErrPeak = errors.New("the measured peak is too low")
)

// check refuses a row whose share is above 1, and a yardstick below theory.
func check(name string, share float64, y yardstick) error {
	if y.theory > 0 && y.flops < leastOfTheory*y.theory {
		return fmt.Errorf("%s: %w: %.1f GFLOP/s are %.1f %% of the theoretical %.1f at %.2f GHz, and must be %.0f %%; measure again on a quieter machine",
			name, ErrPeak, y.flops/1e9, 100*y.flops/y.theory, y.theory/1e9, y.clock/1e9, 100*leastOfTheory)
	}
	if share > 1 {
		return fmt.Errorf("%s: %w: it is %.3f; the row's count of work or its yardstick is wrong, or the clock changed between them", name, ErrShare, share)
	}
	return nil
}

// senseless says that err is about a measurement, not about the program.
func senseless(err error) bool { return errors.Is(err, ErrShare) || errors.Is(err, ErrPeak) }

// untilValid calls measure until its result makes sense, at most attempts
// times, and returns how often it did. The last refusal is the error.
func untilValid(measure func() error) (int, error) {
	for n := 1; ; n++ {
		err := measure()
		if err == nil || n == attempts || !senseless(err) {
			if n > 1 && err != nil {
				err = fmt.Errorf("%w (after %d attempts)", err, n)
			}
			return n, err
		}
	}
}
