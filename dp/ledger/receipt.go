package ledger

import (
	"errors"
	"sync/atomic"

	"github.com/dploda/dploda/dp/plan"
)

// ChargeReceipt proves that a Charge was accepted just now, at this process's
// own request, and pays for one noise draw. Only Machine.Apply makes one. All
// copies of a receipt are one: Consume succeeds once.
type ChargeReceipt struct{ r *receipt }

type receipt struct {
	plan      PlanID
	charge    ChargeID
	mechanism plan.Mechanism
	testMode  bool
	used      atomic.Bool
}

var errNoReceipt = errors.New("a noise draw needs the receipt of an accepted charge; this one is empty or was used before")

// Live reports whether Consume would still succeed.
func (c ChargeReceipt) Live() bool { return c.r != nil && !c.r.used.Load() }

// Consume uses the receipt up. Every call but the first, and every call on an
// empty receipt, is an error.
func (c ChargeReceipt) Consume() error {
	if c.r == nil || c.r.used.Swap(true) {
		return errNoReceipt
	}
	return nil
}

// PlanID returns the Plan that was charged.
func (c ChargeReceipt) PlanID() PlanID {
	if c.r == nil {
		return PlanID{}
	}
	return c.r.plan
}

// ChargeID returns the accepted Charge.
func (c ChargeReceipt) ChargeID() ChargeID {
	if c.r == nil {
		return ChargeID{}
	}
	return c.r.charge
}

// Mechanism returns the frozen mechanism of the charged phase.
func (c ChargeReceipt) Mechanism() plan.Mechanism {
	if c.r == nil {
		return plan.Mechanism{}
	}
	return c.r.mechanism
}

// TestMode reports whether the charged run was admitted in test mode, with
// ε = ∞: nothing else may be noised predictably.
func (c ChargeReceipt) TestMode() bool { return c.r != nil && c.r.testMode }
