// Package domain does the accounting of data domains: it computes, with the
// accountant's floating-point numbers, the integers that the ledger's entries
// carry and its state machine compares, and it checks those of others.
package domain

import (
	"errors"
	"fmt"
	"math"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
)

// epsilon returns the ε at δ of a composition that was fixed in advance.
func epsilon(events []account.Event, delta float64, a ledger.Adjacency) (float64, error) {
	g, err := account.Epsilon(events, delta, AccountantsAdjacency(a))
	return g.Epsilon, err
}

// AccountantsAdjacency is a in the accountant's type.
func AccountantsAdjacency(a ledger.Adjacency) account.Adjacency {
	if a == ledger.ReplaceOne {
		return account.ReplaceOne
	}
	return account.AddRemove
}

// standardOrder is that of a domain without a limit, whose filter is not used.
const standardOrder ledger.Order = 20

// Register returns the entry that registers a domain; the caller sets Prev. An
// order of 0 leaves its choice to the accountant.
func Register(name string, b ledger.Budget, order ledger.Order, unit ledger.Unit, a ledger.Adjacency) ledger.Register {
	switch {
	case b.EpsilonMicro == ledger.Unlimited:
		order = standardOrder
	case order == 0:
		order = ledger.Order(account.FilterOrder(b.Epsilon(), b.Delta()))
	}
	return ledger.Register{Domain: name, Budget: b, Order: order, Limit: Limit(b, order), Unit: unit, Adjacency: a}
}

// RegisterPublic is Register for the one run on images declared public that the
// domain is made for.
func RegisterPublic(run ledger.RunID, b ledger.Budget, unit ledger.Unit, a ledger.Adjacency) ledger.Register {
	r := Register(ledger.PublicPrefix+run.String(), b, 0, unit, a)
	r.Public = true
	return r
}

// Limit returns the limit of b's filter at the order, rounded down; 0 if b has
// no limit, for then nothing is decided by it.
func Limit(b ledger.Budget, order ledger.Order) uint64 {
	if b.EpsilonMicro == ledger.Unlimited {
		return 0
	}
	return uint64(limit(b, order))
}

// limit is at most 1000 nats, whatever the budget: it fits.
func limit(b ledger.Budget, order ledger.Order) float64 {
	return math.Min(account.FilterLimit(b.Epsilon(), b.Delta(), float64(order)/10), 1000) / ledger.CostUnit
}

// Costs returns what one charge of each of phases costs a domain's filter,
// rounded up. The greatest number stands for more than any domain allows.
func Costs(phases []plan.Mechanism, d ledger.Register) []uint64 {
	costs := make([]uint64, len(phases))
	for i, m := range phases {
		costs[i] = roundUp(cost(m, d))
	}
	return costs
}

// cost is Costs before rounding.
func cost(m plan.Mechanism, d ledger.Register) float64 {
	return account.Divergence(m.SampleRate(), m.NoiseMultiplier(), float64(d.Order)/10, AccountantsAdjacency(d.Adjacency)) / ledger.CostUnit
}

// roundUp returns the least integer that is at least x and positive.
func roundUp(x float64) uint64 {
	if !(x < math.MaxUint64) {
		return math.MaxUint64
	}
	return max(1, uint64(math.Ceil(x)))
}

// Fill returns a with the numbers that its domain asks for: Costs and Declared.
// The domain is as in view, which does not know a's run yet.
func Fill(a ledger.Admit, view ledger.View) (ledger.Admit, error) {
	d, ok := view.Domain(a.Domain)
	if !ok {
		return a, nil // the state machine says so
	}
	a.Costs = Costs(a.Phases, d.Register)
	declared, err := declared(a, view, d)
	if err == nil {
		a.Declared = roundUp(declared)
	}
	if d.Charged {
		a.Declared = 0
	}
	return a, err
}

// declared is Admit.Declared before rounding.
func declared(a ledger.Admit, view ledger.View, d ledger.DomainView) (float64, error) {
	if d.Charged || a.TestMode {
		return math.Inf(1), nil
	}
	events := Granted(a.Phases)
	for _, r := range view.Runs {
		if r.Admit.Domain == a.Domain && !r.Closed {
			events = append(events, Granted(r.Admit.Phases)...)
		}
	}
	e, err := epsilon(events, d.Budget.Delta(), d.Register.Adjacency)
	return e * 1e6, err
}

// Granted returns what the mechanisms may be charged at most.
func Granted(mechanisms []plan.Mechanism) []account.Event {
	events := make([]account.Event, len(mechanisms))
	for i, m := range mechanisms {
		events[i] = account.Event{SampleRate: m.SampleRate(), NoiseMultiplier: m.NoiseMultiplier(), Steps: m.Charges()}
	}
	return events
}

// Spent returns what a run was charged.
func Spent(r ledger.RunView) []account.Event {
	var events []account.Event
	for _, p := range r.Phases {
		if p.Charges > 0 {
			events = append(events, account.Event{
				SampleRate: p.Mechanism.SampleRate(), NoiseMultiplier: p.Mechanism.NoiseMultiplier(), Steps: p.Charges,
			})
		}
	}
	return events
}

// Verify replays a ledger and recomputes every number that an accountant put
// into it. It fails at the first entry that the state machine would not have
// accepted, or whose budget's limit is above, or whose costs or declared ε are
// below, what this accountant finds.
func Verify(events [][]byte) (ledger.View, error) {
	var m ledger.Machine
	for i, raw := range events {
		e, err := ledger.Decode(raw)
		if err == nil {
			err = check(e, &m)
		}
		if err == nil {
			err = m.Apply(raw).Err
		}
		if err == nil && len(m.Events()) != i+1 {
			err = errors.New("it repeats an earlier one")
		}
		if err != nil {
			return ledger.View{}, fmt.Errorf("ledger entry %d: %w", i+1, err)
		}
	}
	return m.View(), nil
}

// tolerance is the relative difference between two machines' floating-point
// results that Verify passes over. The accountant's bounds are inflated by as
// much, so that what passes still holds.
const tolerance = 1e-9

// check recomputes the numbers of the entry that follows on before.
func check(e ledger.Entry, before *ledger.Machine) error {
	switch e := e.(type) {
	case ledger.Register:
		return checkLimit(e.Domain, e.Budget, e.Order, e.Limit)
	case ledger.Revise:
		if d, ok := before.View().Domain(e.Domain); ok {
			return checkLimit(e.Domain, e.Budget, d.Register.Order, e.Limit)
		}
	case ledger.Admit:
		view := before.View()
		if d, ok := view.Domain(e.Domain); ok {
			return checkAdmit(e, view, d)
		}
	}
	return nil // what is not known is the state machine's to refuse
}

func checkLimit(name string, b ledger.Budget, order ledger.Order, claimed uint64) error {
	if b.EpsilonMicro != ledger.Unlimited && float64(claimed) > limit(b, order)*(1+tolerance)+1 {
		return fmt.Errorf("the filter of data domain %q has a larger limit than its budget gives", name)
	}
	return nil
}

func checkAdmit(a ledger.Admit, view ledger.View, d ledger.DomainView) error {
	for i, m := range a.Phases {
		if a.Costs[i] < roundUp(cost(m, d.Register)*(1-tolerance)) {
			return fmt.Errorf("run %s claims that a charge of phase %q costs less than it does", a.Run, m.Phase)
		}
	}
	declared, err := declared(a, view, d)
	if err != nil {
		return err
	}
	if !d.Charged && a.Declared < roundUp(declared*(1-tolerance)) {
		return fmt.Errorf("run %s declares a smaller epsilon than the runs of data domain %q have with it", a.Run, a.Domain)
	}
	return nil
}

// Spending is what a domain's budget was used for.
type Spending struct {
	// Granted is the ε of all charges that the runs may make which were declared
	// before the first one, and Spent of those that were made. Once a run was
	// admitted later they claim nothing, and are NaN: the filter promises the
	// budget.
	Granted, Spent float64
	// UsedShare and SpentShare are parts of the filter's limit: of what is spent
	// or reserved and of what is spent.
	UsedShare, SpentShare float64
	// Closed says that no run can be admitted any more: what was declared before
	// the first charge is above the filter's limit.
	Closed bool
}

// Spend returns the spending of a registered domain.
func Spend(view ledger.View, d ledger.DomainView) (Spending, error) {
	s := Spending{Granted: math.NaN(), Spent: math.NaN(), Closed: d.Charged && d.Declared > d.Limit}
	s.UsedShare, s.SpentShare = part(d.Used, d.Limit), part(d.Spent, d.Limit)
	var granted uint64
	var spent []account.Event
	for _, r := range view.Runs {
		if r.Admit.Domain != d.Register.Domain {
			continue
		}
		if r.Admit.Declared == 0 {
			return s, nil
		}
		granted = r.Admit.Declared // of all runs so far
		spent = append(spent, Spent(r)...)
	}
	s.Granted = ledger.Budget{EpsilonMicro: granted}.Epsilon()
	if d.Budget.EpsilonMicro == ledger.Unlimited {
		s.Spent = math.Inf(1)
		return s, nil
	}
	var err error
	s.Spent, err = epsilon(spent, d.Budget.Delta(), d.Register.Adjacency)
	return s, err
}

func part(x, limit uint64) float64 {
	if x == math.MaxUint64 || limit == 0 && x > 0 {
		return math.Inf(1)
	}
	if limit == 0 {
		return 0
	}
	return float64(x) / float64(limit)
}
