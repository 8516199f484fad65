// Package ledgertest makes receipts for the tests of those who consume them.
package ledgertest

import (
	"crypto/rand"
	"testing"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
)

// Receipt drives a fresh ledger of one phase to its first accepted Charge and
// returns its live receipt.
func Receipt(t testing.TB, m plan.Mechanism) ledger.ChargeReceipt {
	t.Helper()
	return receipt(t, m, false)
}

// TestModeReceipt is Receipt of a run in test mode.
func TestModeReceipt(t testing.TB, m plan.Mechanism) ledger.ChargeReceipt {
	t.Helper()
	return receipt(t, m, true)
}

func receipt(t testing.TB, m plan.Mechanism, testMode bool) ledger.ChargeReceipt {
	t.Helper()
	var machine ledger.Machine
	apply := func(e ledger.Entry) ledger.Answer {
		raw, err := ledger.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		a := machine.Apply(raw)
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		return a
	}
	var id ledger.RunID
	var charge ledger.ChargeID
	var nonce ledger.Nonce
	rand.Read(id[:])
	rand.Read(charge[:])
	rand.Read(nonce[:])
	budget := ledger.Budget{EpsilonMicro: 1e6, DeltaNumerator: 1, DeltaExponent: 5}
	if testMode {
		budget.EpsilonMicro = ledger.Unlimited
	}
	apply(PublicDomain("test", budget))
	apply(ledger.Admit{Run: id, Prev: machine.Head(), Domain: ledger.PublicPrefix + "test", Unit: ledger.UnitImage,
		Phases: []plan.Mechanism{m}, Costs: []uint64{1}, Budget: budget, TestMode: testMode})
	p := apply(ledger.Plan{Run: id, Prev: machine.Head(), Phase: m.Phase, Nonce: nonce, Arithmetic: "test"})
	machine.Claim(charge)
	return apply(ledger.Charge{Run: id, Prev: machine.Head(), Plan: p.PlanID(), Charge: charge}).Receipt
}

// PublicDomain registers a domain of images declared public, as the first entry
// of a ledger; PublicPrefix goes before its name.
func PublicDomain(name string, b ledger.Budget) ledger.Register {
	return ledger.Register{Domain: ledger.PublicPrefix + name, Budget: b, Order: 20, Unit: ledger.UnitImage,
		Adjacency: ledger.AddRemove, Public: true}
}
