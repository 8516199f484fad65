package ledger

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/big"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dploda/dploda/dp/plan"
)

// books is the stupid twin of the domains' rules: it reads accepted entries
// alone, from the first one on every time, and adds up numbers of any size.
type books struct {
	events []Entry
	ids    []PlanID
}

func (b books) add(e Entry, raw []byte) books {
	return books{append(b.events, e), append(b.ids, PlanID(HashOf(raw)))}
}

// charges counts those of a run's phase.
func (b books) charges(run RunID, phase string) (n int) {
	for _, e := range b.events {
		c, ok := e.(Charge)
		for i, p := range b.events {
			if p, isPlan := p.(Plan); ok && isPlan && b.ids[i] == c.Plan && p.Run == run && p.Phase == phase {
				n++
			}
		}
	}
	return n
}

func (b books) has(e Entry) bool {
	for _, other := range b.events {
		switch e := e.(type) {
		case Close:
			if o, ok := other.(Close); ok && o.Run == e.Run {
				return true
			}
		case Complete:
			if o, ok := other.(Complete); ok && o.Run == e.Run && o.Phase == e.Phase {
				return true
			}
		}
	}
	return false
}

// budget is the last (ε, limit) of a domain.
func (b books) budget(domain string) (epsilon, limit uint64) {
	for _, e := range b.events {
		switch e := e.(type) {
		case Register:
			if e.Domain == domain {
				epsilon, limit = e.Budget.EpsilonMicro, e.Limit
			}
		case Revise:
			if e.Domain == domain {
				epsilon, limit = e.Budget.EpsilonMicro, e.Limit
			}
		}
	}
	return epsilon, limit
}

// cost of a run: of the charges made, or of those that it may make.
func (b books) cost(a Admit, made bool) *big.Int {
	total := new(big.Int)
	for i, m := range a.Phases {
		n := m.Steps + m.Reserve
		if made {
			n = b.charges(a.Run, m.Phase)
		}
		total.Add(total, new(big.Int).Mul(new(big.Int).SetUint64(a.Costs[i]), big.NewInt(int64(n))))
	}
	return total
}

// used is what the domain's runs have spent or may still spend.
func (b books) used(domain string) *big.Int {
	total := new(big.Int)
	for _, e := range b.events {
		a, ok := e.(Admit)
		if !ok || a.Domain != domain {
			continue
		}
		for i, m := range a.Phases {
			one := Admit{Run: a.Run, Phases: []plan.Mechanism{m}, Costs: a.Costs[i : i+1]}
			total.Add(total, b.cost(one, b.has(Close{Run: a.Run}) || b.has(Complete{Run: a.Run, Phase: m.Phase})))
		}
	}
	return total
}

// firstCharge is the number of entries before the domain's first charge.
func (b books) firstCharge(domain string) (before int, charged bool) {
	of := map[RunID]bool{}
	for i, e := range b.events {
		switch e := e.(type) {
		case Admit:
			of[e.Run] = e.Domain == domain
		case Charge:
			if of[e.Run] {
				return i, true
			}
		}
	}
	return len(b.events), false
}

// allows is the rule as docs/privacy.md has it.
func (b books) allows(a Admit) bool {
	epsilon, limit := b.budget(a.Domain)
	before, charged := b.firstCharge(a.Domain)
	if !charged {
		return a.Declared <= epsilon
	}
	top := new(big.Int).SetUint64(limit)
	declared := books{b.events[:before], b.ids[:before]}.used(a.Domain)
	total := new(big.Int).Add(b.used(a.Domain), b.cost(a, false))
	return a.Declared == 0 && declared.Cmp(top) <= 0 && total.Cmp(top) <= 0
}

// Whatever is proposed: a run is admitted exactly if the twin allows it, and at
// every moment a domain's charges stay within its budget: either nothing was
// admitted after its first charge and the last declaration is within ε, or all
// charges that were made or may be made are within the filter's limit.
//
// Tried: leaving out the declared runs' rule, freeing the reserve of an open
// run's first phase, wrapping sums, forgetting closed runs' charges, comparing
// with the registered limit alone.
func TestNoDomainExceedsItsBudget(t *testing.T) {
	domains := []string{"d", "e"}
	rapid.Check(t, func(rt *rapid.T) {
		number := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(rt, name) }
		m, b := &Machine{}, books{}
		scale := rapid.SampledFrom([]uint64{1, 1 << 40, 1<<62 - 1, 1 << 56}).Draw(rt, "scale")
		budget := func(e int) Budget { return Budget{EpsilonMicro: uint64(e), DeltaNumerator: 1, DeltaExponent: 5} }
		try := func(e Entry) error {
			raw, err := Encode(e)
			if err != nil {
				rt.Fatal(err)
			}
			a, isAdmit := e.(Admit)
			allowed := isAdmit && b.allows(a)
			err = m.Apply(raw).Err
			if isAdmit && (err == nil) != allowed {
				rt.Fatalf("the machine says %v, the twin %v", err, allowed)
			}
			if err == nil {
				b = b.add(e, raw)
			}
			return err
		}
		for _, d := range domains {
			limit := min(scale*uint64(number("limit", 0, 40)), maxLimit)
			must(rt, try(Register{Prev: m.Head(), Domain: d, Budget: budget(number("epsilon", 1, 20)), Order: 25, Limit: limit, Unit: UnitImage, Adjacency: AddRemove}))
			must(rt, try(Attach{Prev: m.Head(), Domain: d, Version: named16(d)}))
		}
		for i := range number("proposals", 1, 60) {
			d := rapid.SampledFrom(domains).Draw(rt, "domain")
			view, _ := m.View().Domain(d)
			runs := m.View().Runs
			switch number("kind", 0, 7) {
			case 0, 1:
				a := Admit{Run: named16(fmt.Sprint(i)), Prev: m.Head(), Domain: d, Version: named16(d), Unit: UnitImage, Budget: budget(1),
					Phases: []plan.Mechanism{mechanism("a", number("steps", 1, 2), number("reserve", 0, 2)), mechanism("b", 1, 1)}}
				for range a.Phases {
					a.Costs = append(a.Costs, 1+scale*uint64(number("cost", 0, 6)))
				}
				if !view.Charged || number("odd", 0, 9) == 0 {
					a.Declared = uint64(number("declared", 0, 25))
				}
				try(a)
			case 2:
				epsilon, limit := b.budget(d)
				try(Revise{Prev: m.Head(), Domain: d, Budget: budget(int(epsilon) + number("more", 0, 3)), Reason: "r",
					Limit: min(limit+scale*uint64(number("more limit", 0, 3)), maxLimit)})
			default:
				if len(runs) == 0 {
					continue
				}
				r := runs[number("run", 0, len(runs)-1)]
				if number("close", 0, 9) == 0 {
					try(Close{Run: r.Admit.Run, Prev: m.Head()})
				} else if e := next(r, i, m.Head()); e != nil {
					try(e)
				}
			}
			for _, d := range domains {
				checkDomain(rt, b, d, m.View())
			}
		}
		checkReplay(rt, m)
	})
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// next is what follows in a run's life; every third charged plan is redone.
func next(r RunView, i int, prev Hash) Entry {
	c := r.Current()
	switch {
	case c < 0:
		return nil
	case r.Open != nil && !r.Open.Charged:
		return Charge{Run: r.Admit.Run, Prev: prev, Plan: r.Open.ID, Charge: named16(fmt.Sprint("c", i))}
	case r.Open != nil && i%3 != 0:
		return Commit{Run: r.Admit.Run, Prev: prev, Plan: r.Open.ID, Charge: r.Open.Charge, PrevState: r.Open.Plan.State, NewState: r.Open.Plan.State}
	case r.Phases[c].Commits == r.Phases[c].Mechanism.Steps:
		return Complete{Run: r.Admit.Run, Prev: prev, Phase: r.Phases[c].Mechanism.Phase}
	}
	return Plan{Run: r.Admit.Run, Prev: prev, Phase: r.Phases[c].Mechanism.Phase, Step: uint64(r.Phases[c].Commits),
		Nonce: named16(fmt.Sprint("n", i)), Arithmetic: "test", State: r.Phases[c].State}
}

func checkDomain(t *rapid.T, b books, domain string, v View) {
	epsilon, limit := b.budget(domain)
	before, charged := b.firstCharge(domain)
	later, declared := false, uint64(0)
	spent := new(big.Int)
	for i, e := range b.events {
		if a, ok := e.(Admit); ok && a.Domain == domain {
			spent.Add(spent, b.cost(a, true))
			if charged && i > before {
				later = true
			} else {
				declared = max(declared, a.Declared)
			}
		}
	}
	top := new(big.Int).SetUint64(limit)
	switch used := b.used(domain); {
	case later && used.Cmp(top) > 0:
		t.Fatalf("domain %s: %v is spent or reserved of %d", domain, used, limit)
	case declared > epsilon:
		t.Fatalf("domain %s: %d is declared of %d", domain, declared, epsilon)
	case spent.Cmp(used) > 0:
		t.Fatalf("domain %s: %v is spent, more than the %v used", domain, spent, used)
	default:
		d, _ := v.Domain(domain)
		if d.Charged != charged || d.Used != clamped(used) || d.Spent != clamped(spent) || d.Limit != limit || d.Budget.EpsilonMicro != epsilon {
			t.Fatalf("domain %s: the view says %+v, the entries used %v and spent %v", domain, d, used, spent)
		}
	}
}

func clamped(x *big.Int) uint64 {
	if x.IsUint64() {
		return x.Uint64()
	}
	return math.MaxUint64
}

// The state machine compares integers: its replicas may run on machines that
// round differently. The two functions with floats are for people and for the
// accountant, outside of it.
//
// Tried: a float64 comparison in affords; math.Ceil in product.
func TestRulesHaveNoFloats(t *testing.T) {
	forPeople := map[string]bool{"Epsilon": true, "Delta": true} // of Budget
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || forPeople[fn.Name.Name] {
				continue
			}
			seen++
			ast.Inspect(fn, func(n ast.Node) bool {
				if problem := usesFloats(n); problem != "" {
					t.Errorf("%s, func %s: %s", f.Name(), fn.Name.Name, problem)
				}
				return true
			})
		}
	}
	if seen < 50 {
		t.Errorf("only %d functions were read", seen)
	}
}

func usesFloats(n ast.Node) string {
	switch n := n.(type) {
	case *ast.Ident:
		if strings.HasPrefix(n.Name, "float") || strings.HasPrefix(n.Name, "complex") || n.Name == "CostUnit" {
			return "it names " + n.Name
		}
	case *ast.BasicLit:
		// An untyped 1e6 is an integer where it meets one.
		if n.Kind == token.FLOAT && !strings.Contains("1e6 1e9", n.Value) {
			return "it holds the number " + n.Value
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && (x.Name == "math" && !strings.HasPrefix(n.Sel.Name, "Max") || x.Name == "big" || x.Name == "strconv") {
			return "it uses " + x.Name + "." + n.Sel.Name
		}
		if n.Sel.Name == "SampleRate" || n.Sel.Name == "NoiseMultiplier" || n.Sel.Name == "Epsilon" || n.Sel.Name == "Delta" {
			return "it reads " + n.Sel.Name
		}
	}
	return ""
}

// A ledger from before there were domains is refused in a sentence.
func TestLedgersWithoutDomainsAreRefused(t *testing.T) {
	_, err := Import([]byte("dploda ledger events 1\n"))
	_, err2 := Decode([]byte("dploda ledger 1\n and so on"))
	for _, err := range []error{err, err2} {
		if err == nil || !strings.Contains(err.Error(), "begin a new one in another folder with --state") {
			t.Errorf("%v", err)
		}
	}
}
