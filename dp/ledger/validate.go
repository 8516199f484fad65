package ledger

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

func (e Admit) validate() error {
	if err := validName("data domain", e.Domain); err != nil {
		return err
	}
	if err := e.Budget.Validate(e.TestMode); err != nil {
		return err
	}
	if len(e.Phases) < 1 || len(e.Phases) > maxPhases {
		return fmt.Errorf("a run has 1 to %d phases, not %d", maxPhases, len(e.Phases))
	}
	seen := map[string]bool{}
	for _, m := range e.Phases {
		if err := m.Validate(); err != nil {
			return err
		}
		if seen[m.Phase] {
			return fmt.Errorf("two phases of a run are called %q", m.Phase)
		}
		seen[m.Phase] = true
	}
	return nil
}

// Validate reports what keeps b from being admitted: a run in test mode has an
// unlimited epsilon, every other run a finite one.
func (b Budget) Validate(testMode bool) error {
	switch {
	case testMode != (b.EpsilonMicro == Unlimited):
		return errors.New("the budget is unlimited in test mode and only there")
	case b.EpsilonMicro == 0:
		return errors.New("the budget's epsilon is 0")
	case b.DeltaNumerator == 0 || b.DeltaNumerator > 1e9 || b.DeltaExponent > 30:
		return errors.New("the budget's delta is 0 or needs more than nine digits or thirty decimal places")
	}
	// A delta of 1 or more would promise nothing. In integers, for replicas compare nothing else.
	for d, i := b.DeltaNumerator, uint8(0); d > 0; d, i = d/10, i+1 {
		if i == b.DeltaExponent {
			return errors.New("the budget's delta is not below 1")
		}
	}
	return nil
}

func (e Plan) validate() error {
	if err := validName("phase", e.Phase); err != nil {
		return err
	}
	return validName("arithmetic", e.Arithmetic)
}

func (e Charge) validate() error   { return nil }
func (e Commit) validate() error   { return nil }
func (e Complete) validate() error { return validName("phase", e.Phase) }

func validName(what, s string) error {
	if len(s) < 1 || len(s) > maxName || !utf8.ValidString(s) {
		return fmt.Errorf("the name of the %s must have 1 to %d bytes of UTF-8", what, maxName)
	}
	for _, c := range s {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return fmt.Errorf("the name of the %s holds the control character %q", what, c)
		}
	}
	return nil
}
