package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

func (e Admit) validate() error {
	if err := validName("data domain", e.Domain); err != nil {
		return err
	}
	if err := e.Budget.Validate(e.TestMode); err != nil {
		return err
	}
	if err := e.Unit.validate(); err != nil {
		return err
	}
	if len(e.Costs) != len(e.Phases) || slices.Contains(e.Costs, 0) {
		return errors.New("a run names one cost above 0 for a charge of each of its phases")
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

func (e Register) validate() error {
	if err := validName("data domain", e.Domain); err != nil {
		return err
	}
	if err := e.Budget.Validate(e.Budget.EpsilonMicro == Unlimited); err != nil {
		return err
	}
	switch {
	case e.Public != strings.HasPrefix(e.Domain, PublicPrefix):
		return fmt.Errorf("a data domain is called %s… if and only if its images are declared public", PublicPrefix)
	case e.Budget.EpsilonMicro == Unlimited && !e.Public:
		return errors.New("an unlimited budget is for images that are declared public")
	case e.Order <= 10 || e.Order > MaxOrder:
		return fmt.Errorf("the order of a data domain's filter must be more than 1 and at most %v, not %v", MaxOrder, e.Order)
	case e.Limit > maxLimit:
		return errors.New("the limit of a data domain's filter is too large")
	case e.Adjacency != AddRemove && e.Adjacency != ReplaceOne:
		return errors.New("the adjacency of a data domain is add-remove or replace-one")
	}
	return e.Unit.validate()
}

func (e Revise) validate() error {
	if err := validName("data domain", e.Domain); err != nil {
		return err
	}
	if err := validName("reason of a revision", e.Reason); err != nil {
		return err
	}
	if e.Limit > maxLimit {
		return errors.New("the limit of a data domain's filter is too large")
	}
	return e.Budget.Validate(false)
}

func (e Attach) validate() error {
	if e.Version == (VersionID{}) {
		return errors.New("a version of data has no id")
	}
	return validName("data domain", e.Domain)
}

func (u Unit) validate() error {
	if u != UnitImage && u != UnitGroup {
		return errors.New("the unit of privacy is image or group")
	}
	return nil
}

func (e Close) validate() error    { return nil }
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
