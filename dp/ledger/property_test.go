package ledger

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dploda/dploda/dp/plan"
)

// history is what a reader of the accepted entries alone can count: the twin
// that the machine's rules are checked against.
type history struct {
	chargesOf map[PlanID]int
	commitsOf map[PlanID]int
	nonces    map[Nonce]int
	charges   map[string]int
	commits   map[string]int
}

func readHistory(t *rapid.T, events [][]byte) history {
	h := history{map[PlanID]int{}, map[PlanID]int{}, map[Nonce]int{}, map[string]int{}, map[string]int{}}
	phaseOf := map[PlanID]string{}
	for _, raw := range events {
		e, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case Plan:
			h.nonces[e.Nonce]++
			phaseOf[PlanID(HashOf(raw))] = e.Phase
		case Charge:
			h.chargesOf[e.Plan]++
			h.charges[phaseOf[e.Plan]]++
		case Commit:
			h.commitsOf[e.Plan]++
			h.commits[phaseOf[e.Plan]]++
		}
	}
	return h
}

// draw proposes a mostly sensible entry: small name spaces make collisions,
// repeats and out-of-turn entries common.
func draw(t *rapid.T, m *Machine, plans []PlanID) Entry {
	small := func(name string, n int) int { return rapid.IntRange(0, n).Draw(t, name) }
	run, prev := RunID(named16("r")), m.Head()
	if small("stale", 20) == 0 {
		prev = named32("elsewhere")
	}
	v, _ := m.Run(run)
	phase, step, state := "a", uint64(0), Hash{}
	if i := v.Current(); i >= 0 {
		phase, step, state = v.Phases[i].Mechanism.Phase, uint64(v.Phases[i].Commits), v.Phases[i].State
	}
	switch small("odd", 20) {
	case 0:
		phase = "b"
	case 1:
		step++
	case 2:
		state = named32("another state")
	}
	var id PlanID
	if len(plans) > 0 {
		id = plans[len(plans)-1-small("plan age", min(2, len(plans)-1))]
	}
	charge := ChargeID(named16(fmt.Sprint("charge", small("charge", 3))))
	switch small("kind", 9) {
	case 0, 1, 2:
		return Plan{Run: run, Prev: prev, Phase: phase, Step: step, Arithmetic: "test", State: state,
			Nonce: named16(fmt.Sprint("nonce", small("nonce", 30)))}
	case 3, 4, 5:
		return Charge{Run: run, Prev: prev, Plan: id, Charge: charge}
	case 6, 7, 8:
		if v.Open != nil && small("own", 9) != 0 {
			charge = v.Open.Charge
		}
		return Commit{Run: run, Prev: prev, Plan: id, Charge: charge, PrevState: state, NewState: named32(fmt.Sprint("state", small("new", 5)))}
	}
	return Complete{Run: run, Prev: prev, Phase: phase}
}

// Whatever is proposed, in whatever order: one charge per plan, one commit per
// charge, no more charges than admitted, no nonce twice, commits never above
// charges, a receipt for exactly the newly accepted charges, and a replay that
// ends in the same state without any receipt.
func TestRandomProposals(t *testing.T) {
	const steps, reserve = 3, 2
	rapid.Check(t, func(rt *rapid.T) {
		m := &Machine{}
		testMode := rapid.Bool().Draw(rt, "test mode")
		a := Admit{Run: named16("r"), Domain: "public-d", Unit: UnitImage, Budget: Budget{EpsilonMicro: 1, DeltaNumerator: 1, DeltaExponent: 5}}
		if testMode {
			a.TestMode, a.Budget.EpsilonMicro = true, Unlimited
		}
		a.Phases = append(a.Phases, mechanism("a", steps, reserve), mechanism("b", steps, reserve))
		a.Costs = []uint64{1, 1}
		d := Register{Domain: a.Domain, Budget: a.Budget, Order: 20, Unit: UnitImage, Adjacency: AddRemove, Public: true}
		if err := propose(rt, m, d).Err; err != nil {
			rt.Fatal(err)
		}
		a.Prev = m.Head()
		if err := propose(rt, m, a).Err; err != nil {
			rt.Fatal(err)
		}
		var plans []PlanID
		receipts := 0
		for range rapid.IntRange(1, 80).Draw(rt, "proposals") {
			e := draw(rt, m, plans)
			before := m.View()
			if c, ok := e.(Charge); ok {
				m.Claim(c.Charge)
			}
			answer := propose(rt, m, e)
			if answer.Err != nil {
				if diff := cmp.Diff(before, m.View()); diff != "" {
					rt.Fatalf("a refused %T changed the machine: %s", e, diff)
				}
				continue
			}
			if _, ok := e.(Plan); ok {
				plans = append(plans, answer.PlanID())
			}
			if _, ok := e.(Charge); ok != answer.Receipt.Live() {
				rt.Fatalf("an accepted %T has a receipt: %v", e, answer.Receipt.Live())
			}
			if answer.Receipt.Live() {
				receipts++
			}
		}
		checkHistory(rt, m, testMode, receipts, steps+reserve)
		checkReplay(rt, m)
	})
}

func propose(t *rapid.T, m *Machine, e Entry) Answer {
	raw, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return m.Apply(raw)
}

func checkHistory(t *rapid.T, m *Machine, testMode bool, receipts, allowed int) {
	h := readHistory(t, m.Events())
	charges := 0
	for id, n := range h.chargesOf {
		charges += n
		if n > 1 || h.commitsOf[id] > n {
			t.Fatalf("a plan has %d charges and %d commits", n, h.commitsOf[id])
		}
	}
	for id := range h.commitsOf {
		if h.chargesOf[id] == 0 {
			t.Fatal("a plan without a charge is committed")
		}
	}
	if charges != receipts {
		t.Fatalf("%d charges, %d receipts", charges, receipts)
	}
	for n, times := range h.nonces {
		if times > 1 && !testMode {
			t.Fatalf("nonce %s was accepted %d times", n, times)
		}
	}
	v := m.View().Runs[0]
	for _, p := range v.Phases {
		name := p.Mechanism.Phase
		if h.charges[name] > allowed || h.commits[name] > h.charges[name] {
			t.Fatalf("phase %s: %d charges of %d, %d commits", name, h.charges[name], allowed, h.commits[name])
		}
		if p.Charges != h.charges[name] || p.Commits != h.commits[name] {
			t.Fatalf("phase %s: the view counts %d and %d, the entries %d and %d", name, p.Charges, p.Commits, h.charges[name], h.commits[name])
		}
	}
}

func checkReplay(t *rapid.T, m *Machine) {
	var again Machine
	for _, raw := range m.Events() {
		if a := again.Apply(raw); a.Err != nil || a.Receipt.Live() {
			t.Fatalf("replay: %v, live receipt %v", a.Err, a.Receipt.Live())
		}
	}
	var restored Machine
	if err := restored.Restore(m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.View(), again.View()) + cmp.Diff(m.View(), restored.View()); diff != "" {
		t.Fatal(diff)
	}
}

// sampleLedger is one committed step of a run of two.
func sampleLedger(t testing.TB) *Machine {
	t.Helper()
	m := &Machine{}
	apply := func(e Entry) Answer {
		raw, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		a := m.Apply(raw)
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		return a
	}
	run, budget := RunID(named16("r")), Budget{EpsilonMicro: 1e6, DeltaNumerator: 1, DeltaExponent: 5}
	apply(Register{Domain: "d", Budget: budget, Order: 25, Limit: 1 << 48, Unit: UnitGroup, Adjacency: ReplaceOne})
	apply(Revise{Prev: m.Head(), Domain: "d", Budget: Budget{EpsilonMicro: 2e6, DeltaNumerator: 1, DeltaExponent: 5}, Limit: 1 << 49, Reason: "more"})
	apply(Attach{Prev: m.Head(), Domain: "d", Version: named16("v")})
	apply(Admit{Run: named16("given up"), Prev: m.Head(), Domain: "d", Version: named16("v"), Unit: UnitGroup, Spec: named32("spec"), Budget: budget,
		Phases: []plan.Mechanism{mechanism("a", 1, 1)}, Costs: []uint64{3}})
	apply(Close{Run: named16("given up"), Prev: m.Head()})
	apply(Admit{Run: run, Prev: m.Head(), Domain: "d", Version: named16("v"), Unit: UnitGroup, Spec: named32("spec"), Budget: budget,
		Costs: []uint64{7, 9}, Declared: 12345, Phases: append(append([]plan.Mechanism(nil), mechanism("a", 1, 1)), mechanism("b", 2, 1))})
	p := apply(Plan{Run: run, Prev: m.Head(), Phase: "a", Nonce: named16("n"), Arithmetic: "cpu-f32", State: named32("s0")}).PlanID()
	apply(Charge{Run: run, Prev: m.Head(), Plan: p, Charge: named16("c")})
	apply(Commit{Run: run, Prev: m.Head(), Plan: p, Charge: named16("c"), Blob: named32("b"), PrevState: named32("s0"), NewState: named32("s1")})
	apply(Complete{Run: run, Prev: m.Head(), Phase: "a"})
	return m
}

// Every edited, removed, repeated or exchanged entry is found, also the last.
func TestVerifyFindsEveryEdit(t *testing.T) {
	m := sampleLedger(t)
	export := m.Snapshot()
	events, err := Import(export)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Verify(events); err != nil || v.Head != m.Head() {
		t.Fatalf("the unedited ledger: %v", err)
	}
	for i := range export {
		for _, flip := range []byte{1, 0x80} {
			edited := slices.Clone(export)
			edited[i] ^= flip
			if events, err := Import(edited); err == nil {
				if _, err := Verify(events); err == nil {
					t.Fatalf("flipping bit %#x of byte %d goes unnoticed", flip, i)
				}
			}
			var r Machine
			if r.Restore(edited) == nil || len(r.events) != 0 {
				t.Fatalf("a snapshot edited at byte %d is restored", i)
			}
		}
	}
	for i := range events[:len(events)-1] {
		if _, err := Verify(slices.Delete(slices.Clone(events), i, i+1)); err == nil {
			t.Errorf("removing entry %d goes unnoticed", i)
		}
		swapped := slices.Clone(events)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		if _, err := Verify(swapped); err == nil {
			t.Errorf("exchanging entries %d and %d goes unnoticed", i, i+1)
		}
	}
	for i := range events {
		if _, err := Verify(slices.Insert(slices.Clone(events), i, events[i])); err == nil {
			t.Errorf("repeating entry %d goes unnoticed", i)
		}
	}
}

// An honestly re-encoded entry with one field changed, chain rebuilt by hand up
// to there, does not fit what follows.
func TestVerifyFindsAResealedEntry(t *testing.T) {
	events := slices.Clone(sampleLedger(t).Events())
	const planned = 6 // the first Plan
	e, _ := Decode(events[planned])
	p := e.(Plan)
	p.Nonce[0]++
	events[planned], _ = Encode(p)
	if _, err := Verify(events); !errors.Is(err, ErrStale) {
		t.Errorf("a resealed plan: %v", err)
	}
}

func TestReceiptIsUsedOnce(t *testing.T) {
	m := sampleLedger(t)
	run := RunID(named16("r"))
	raw, _ := Encode(Plan{Run: run, Prev: m.Head(), Phase: "b", Nonce: named16("n2"), Arithmetic: "cpu-f32"})
	p := m.Apply(raw).PlanID()
	m.Claim(named16("c2"))
	raw, _ = Encode(Charge{Run: run, Prev: m.Head(), Plan: p, Charge: named16("c2")})
	r := m.Apply(raw).Receipt
	if r.PlanID() != p || r.ChargeID() != named16("c2") || r.Mechanism() != mechanism("b", 2, 1) {
		t.Error("the receipt names another charge")
	}
	other := r
	if err := r.Consume(); err != nil {
		t.Fatal(err)
	}
	if other.Live() || other.Consume() == nil || r.Consume() == nil {
		t.Error("a receipt is used twice")
	}
	var none ChargeReceipt
	if none.Live() || none.Consume() == nil || none.PlanID() != (PlanID{}) || none.ChargeID() != (ChargeID{}) || none.Mechanism().Steps != 0 {
		t.Error("an empty receipt is good for something")
	}
}

func TestEncodeRefuses(t *testing.T) {
	ok := Budget{EpsilonMicro: 1, DeltaNumerator: 1, DeltaExponent: 5}
	one := []plan.Mechanism{mechanism("a", 1, 1)}
	admit := func(change func(a *Admit)) Admit {
		a := Admit{Domain: "d", Unit: UnitImage, Budget: ok, Phases: one, Costs: []uint64{1}}
		change(&a)
		return a
	}
	register := func(change func(r *Register)) Register {
		r := Register{Domain: "d", Budget: ok, Order: 25, Unit: UnitImage, Adjacency: AddRemove}
		change(&r)
		return r
	}
	for _, c := range []struct {
		name string
		e    Entry
		want string
	}{
		{"no domain", admit(func(a *Admit) { a.Domain = "" }), "data domain must have"},
		{"long domain", admit(func(a *Admit) { a.Domain = strings.Repeat("x", 201) }), "data domain must have"},
		{"control character", admit(func(a *Admit) { a.Domain = "a\nb" }), "control character"},
		{"no phase", admit(func(a *Admit) { a.Phases, a.Costs = nil, nil }), "1 to 64 phases"},
		{"two phases of a name", admit(func(a *Admit) { a.Phases, a.Costs = append(one, one...), []uint64{1, 1} }), `called "a"`},
		{"a bad mechanism", admit(func(a *Admit) { a.Phases = make([]plan.Mechanism, 1) }), "mechanism"},
		{"epsilon 0", admit(func(a *Admit) { a.Budget.EpsilonMicro = 0 }), "epsilon is 0"},
		{"delta 0", admit(func(a *Admit) { a.Budget.DeltaNumerator = 0 }), "delta is 0"},
		{"delta 1", admit(func(a *Admit) { a.Budget = Budget{EpsilonMicro: 1, DeltaNumerator: 10, DeltaExponent: 1} }), "not below 1"},
		{"infinite epsilon", admit(func(a *Admit) { a.Budget.EpsilonMicro = Unlimited }), "only there"},
		{"finite epsilon in test mode", admit(func(a *Admit) { a.TestMode = true }), "only there"},
		{"no unit", admit(func(a *Admit) { a.Unit = 0 }), "image or group"},
		{"another unit", admit(func(a *Admit) { a.Unit = 3 }), "image or group"},
		{"no cost", admit(func(a *Admit) { a.Costs = nil }), "one cost above 0"},
		{"two costs of one phase", admit(func(a *Admit) { a.Costs = []uint64{1, 1} }), "one cost above 0"},
		{"a charge for nothing", admit(func(a *Admit) { a.Costs = []uint64{0} }), "one cost above 0"},
		{"registered without a name", register(func(r *Register) { r.Domain = "" }), "data domain must have"},
		{"registered with epsilon 0", register(func(r *Register) { r.Budget.EpsilonMicro = 0 }), "epsilon is 0"},
		{"registered without a limit", register(func(r *Register) { r.Budget.EpsilonMicro = Unlimited }), "declared public"},
		{"a private domain with a public name", register(func(r *Register) { r.Domain = "public-d" }), "if and only if"},
		{"a public domain with a private name", register(func(r *Register) { r.Public = true }), "if and only if"},
		{"order 1", register(func(r *Register) { r.Order = 10 }), "more than 1 and at most 4096.0, not 1.0"},
		{"a huge order", register(func(r *Register) { r.Order = MaxOrder + 1 }), "more than 1"},
		{"a limit that stands for an overflow", register(func(r *Register) { r.Limit = math.MaxUint64 }), "too large"},
		{"registered without a unit", register(func(r *Register) { r.Unit = 0 }), "image or group"},
		{"no adjacency", register(func(r *Register) { r.Adjacency = 0 }), "add-remove or replace-one"},
		{"revised without a name", Revise{Budget: ok, Reason: "r"}, "data domain must have"},
		{"revised without a reason", Revise{Domain: "d", Budget: ok}, "reason of a revision must have"},
		{"revised beyond all limits", Revise{Domain: "d", Budget: ok, Reason: "r", Limit: math.MaxUint64}, "too large"},
		{"revised to infinity", Revise{Domain: "d", Budget: Budget{EpsilonMicro: Unlimited, DeltaNumerator: 1, DeltaExponent: 5}, Reason: "r"}, "only there"},
		{"no version", Attach{Domain: "d"}, "has no id"},
		{"a version of nothing", Attach{Version: named16("v")}, "data domain must have"},
		{"no arithmetic", Plan{Phase: "a"}, "arithmetic must have"},
		{"no phase's name", Complete{}, "phase must have"},
	} {
		if _, err := Encode(c.e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if b := (Budget{DeltaNumerator: 9, DeltaExponent: 1}); b.Delta() != 0.9 || (Budget{EpsilonMicro: 1500000}).Epsilon() != 1.5 {
		t.Errorf("a budget in floats: %v", b.Delta())
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range sampleLedger(f).Events() {
		f.Add(raw[:len(raw)-32])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := seal(slices.Clone(body)) // else no mutation would pass the hash
		e, err := Decode(raw)
		if err != nil {
			return
		}
		back, err := Encode(e)
		if err != nil || string(back) != string(raw) {
			t.Fatalf("%x decodes but encodes as %x (%v)", raw, back, err)
		}
	})
}

func FuzzImport(f *testing.F) {
	f.Add(sampleLedger(f).Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		if events, err := Import(b); err == nil && string(Export(events)) != string(b) {
			t.Fatal("an imported ledger exports differently")
		}
	})
}
