package domain

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
)

var tenAtFive = ledger.Budget{EpsilonMicro: 10e6, DeltaNumerator: 1, DeltaExponent: 5}

// everyone is q = 1, where divergences have a closed form.
func everyone(sigma int64, steps, reserve int) plan.Mechanism {
	return plan.Mechanism{Phase: "finetune", Everyone: true, Dim: 3, Delta: 1000, SigmaInt: sigma * 1000,
		ClipNorm: 0.5, Steps: steps, Reserve: reserve, Divisor: 60}
}

type site struct {
	t testing.TB
	m ledger.Machine
}

func (s *site) apply(e ledger.Entry) ledger.Answer {
	s.t.Helper()
	raw, err := ledger.Encode(e)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.m.Apply(raw)
}

func (s *site) must(e ledger.Entry) {
	s.t.Helper()
	if err := s.apply(e).Err; err != nil {
		s.t.Fatal(err)
	}
}

func newSite(t testing.TB, b ledger.Budget, a ledger.Adjacency) *site {
	s := &site{t: t}
	s.must(Register("d", b, 0, ledger.UnitImage, a))
	s.must(ledger.Attach{Prev: s.m.Head(), Domain: "d", Version: ledger.VersionID{1}})
	return s
}

func (s *site) admission(run byte, phases ...plan.Mechanism) ledger.Admit {
	s.t.Helper()
	a := ledger.Admit{Run: ledger.RunID{run}, Prev: s.m.Head(), Domain: "d", Version: ledger.VersionID{1}, Unit: ledger.UnitImage,
		Budget: tenAtFive, Phases: phases}
	a, err := Fill(a, s.m.View())
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// charge makes the first charge of a run.
func (s *site) charge(run byte) {
	s.t.Helper()
	p := ledger.Plan{Run: ledger.RunID{run}, Prev: s.m.Head(), Phase: "finetune", Nonce: ledger.Nonce{run}, Arithmetic: "test"}
	s.must(p)
	s.must(ledger.Charge{Run: p.Run, Prev: s.m.Head(), Plan: ledger.PlanID(s.m.Head()), Charge: ledger.ChargeID{run}})
}

// Runs declared before the first charge compose as one: two of them cost the ε
// of both together, less than twice that of one. Asking again changes nothing.
//
// Tried: composing only the new run; leaving out the reserve.
func TestDeclaredRunsCompose(t *testing.T) {
	s := newSite(t, tenAtFive, ledger.AddRemove)
	m := everyone(2, 8, 2)
	of := func(runs int) uint64 {
		g, err := account.Epsilon([]account.Event{{SampleRate: 1, NoiseMultiplier: 2, Steps: 10 * runs}}, 1e-5, account.AddRemove)
		if err != nil {
			t.Fatal(err)
		}
		return uint64(math.Ceil(g.Epsilon * 1e6))
	}
	a := s.admission(1, m)
	if a.Declared != of(1) || a.Declared != s.admission(1, m).Declared {
		t.Errorf("one run declares %d, want %d", a.Declared, of(1))
	}
	s.must(a)
	b := s.admission(2, m)
	if b.Declared != of(2) || of(2) >= 2*of(1) {
		t.Errorf("two runs declare %d, want %d, one %d", b.Declared, of(2), of(1))
	}
	s.must(ledger.Close{Run: a.Run, Prev: s.m.Head()})
	if c := s.admission(3, m); c.Declared != of(1) {
		t.Errorf("beside a closed run one declares %d", c.Declared)
	}
}

// After the first charge the divergences of one order add up, and the machine
// refuses the run with which they would pass the limit: as many as a person
// with pencil and the closed form α/(2σ²) finds.
//
// Tried: costs rounded down, and costs of order 1.1.
func TestLaterRunsPassTheFilter(t *testing.T) {
	for _, adjacency := range []ledger.Adjacency{ledger.AddRemove, ledger.ReplaceOne} {
		s := newSite(t, tenAtFive, adjacency)
		d := s.m.View().Domains[0].Register
		order := float64(d.Order) / 10
		one := order / (2 * 16 * 16)
		if adjacency == ledger.ReplaceOne {
			one *= 4
		}
		limit := 10 - math.Log1p(-1/order) + math.Log(1e-5*order)/(order-1)
		want := int(limit / one / 10)
		s.must(s.admission(1, everyone(16, 8, 2)))
		s.charge(1)
		admitted := 1
		for ; admitted < 2*want; admitted++ {
			err := s.apply(s.admission(byte(1+admitted), everyone(16, 8, 2))).Err
			if errors.Is(err, ledger.ErrBudget) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if admitted != want || want < 10 {
			t.Errorf("%v: %d runs at order %v, want %d", adjacency, admitted, order, want)
		}
		spend, err := Spend(s.m.View(), s.m.View().Domains[0])
		if err != nil || !math.IsNaN(spend.Granted) || spend.Closed || math.Abs(spend.SpentShare*limit/one-1) > 1e-6 ||
			spend.UsedShare > 1 || spend.UsedShare < 1-10*one/limit {
			t.Errorf("%v: spending %+v, %v", adjacency, spend, err)
		}
		if _, err := Verify(s.m.Events()); err != nil {
			t.Error(err)
		}
	}
}

// Verify finds a number that makes a domain's budget reach further than it does,
// by one part in a million.
//
// Tried: leaving out each of the comparisons.
func TestVerifyRecomputes(t *testing.T) {
	less := func(x uint64) uint64 { return x - x/1e6 }
	for _, c := range []struct {
		name, want string
		change     func(r *ledger.Register, a, late *ledger.Admit, v *ledger.Revise)
	}{
		{"honest", "", func(*ledger.Register, *ledger.Admit, *ledger.Admit, *ledger.Revise) {}},
		{"a greater limit", "larger limit", func(r *ledger.Register, _, _ *ledger.Admit, v *ledger.Revise) {
			r.Limit += r.Limit / 1e6
			v.Limit += v.Limit / 1e6
		}},
		{"a revision's limit", "larger limit", func(_ *ledger.Register, _, _ *ledger.Admit, v *ledger.Revise) { v.Limit += v.Limit / 1e6 }},
		{"a smaller epsilon", "smaller epsilon", func(_ *ledger.Register, a, _ *ledger.Admit, _ *ledger.Revise) { a.Declared = less(a.Declared) - 1 }},
		{"no epsilon", "smaller epsilon", func(_ *ledger.Register, a, _ *ledger.Admit, _ *ledger.Revise) { a.Declared = 0 }},
		{"a cheap charge", "costs less", func(_ *ledger.Register, a, _ *ledger.Admit, _ *ledger.Revise) { a.Costs[0] = less(a.Costs[0]) }},
		{"a cheap charge later", "costs less", func(_ *ledger.Register, _, a *ledger.Admit, _ *ledger.Revise) { a.Costs[0] = less(a.Costs[0]) }},
		{"a lower limit", "", func(r *ledger.Register, _, _ *ledger.Admit, _ *ledger.Revise) { r.Limit-- }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, v := &site{t: t}, ledger.Revise{Domain: "d", Budget: tenAtFive, Reason: "r"}
			r := Register("d", tenAtFive, 0, ledger.UnitImage, ledger.AddRemove)
			v.Budget.EpsilonMicro++
			v.Limit = Limit(v.Budget, r.Order)
			var none, a, late ledger.Admit
			none.Costs = []uint64{1}
			early := none
			c.change(&r, &early, &none, &v)
			s.must(r)
			s.must(ledger.Attach{Prev: s.m.Head(), Domain: "d", Version: ledger.VersionID{1}})
			v.Prev = s.m.Head()
			s.must(v)
			a = s.admission(1, everyone(16, 8, 2))
			c.change(new(ledger.Register), &a, &ledger.Admit{Costs: []uint64{1}}, new(ledger.Revise))
			s.must(a)
			s.charge(1)
			late = s.admission(2, everyone(16, 8, 2))
			c.change(new(ledger.Register), &ledger.Admit{Costs: []uint64{1}}, &late, new(ledger.Revise))
			s.must(late)
			_, err := Verify(s.m.Events())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := ledger.Verify(s.m.Events()); err != nil {
				t.Errorf("the state machine itself: %v", err)
			}
		})
	}
}

// A domain of a test run has no limit and needs none.
func TestPublicDomains(t *testing.T) {
	unlimited := tenAtFive
	unlimited.EpsilonMicro = ledger.Unlimited
	for _, b := range []ledger.Budget{unlimited, tenAtFive} {
		s := &site{t: t}
		run := ledger.RunID{7}
		s.must(RegisterPublic(run, b, ledger.UnitImage, ledger.AddRemove))
		a := ledger.Admit{Run: run, Prev: s.m.Head(), Domain: "public-07000000000000000000000000000000", Unit: ledger.UnitImage,
			Budget: b, TestMode: b == unlimited, Phases: []plan.Mechanism{everyone(2, 8, 2)}}
		a, err := Fill(a, s.m.View())
		if err != nil {
			t.Fatal(err)
		}
		s.must(a)
		spend, err := Spend(s.m.View(), s.m.View().Domains[0])
		if err != nil || math.IsInf(spend.Granted, 1) != a.TestMode {
			t.Errorf("%+v, %v", spend, err)
		}
		if _, err := Verify(s.m.Events()); err != nil {
			t.Error(err)
		}
	}
}

// Rounding: up to a whole positive number, and no float becomes a small one.
func TestRoundUp(t *testing.T) {
	for x, want := range map[float64]uint64{0: 1, 0.2: 1, 1: 1, 1.0000001: 2, 1 << 62: 1 << 62, 0x1p64: math.MaxUint64, math.Inf(1): math.MaxUint64} {
		if got := roundUp(x); got != want {
			t.Errorf("%v is rounded to %d, want %d", x, got, want)
		}
	}
	if roundUp(math.NaN()) != math.MaxUint64 {
		t.Error("not a number costs something")
	}
}
