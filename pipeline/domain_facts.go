package pipeline

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
)

// DomainFacts is what the ledger has of a data domain.
type DomainFacts struct {
	Domain    string   `json:"domain"`
	Public    bool     `json:"public"`  // made for one run on images declared public
	Epsilon   *bounded `json:"epsilon"` // the budget; null in test mode
	Delta     float64  `json:"delta"`
	Unit      string   `json:"unit"`
	Adjacency string   `json:"adjacency"`
	Versions  int      `json:"versions"`
	// EpsilonDeclared is the ε that the runs may reach which were declared before
	// the domain's first charge, EpsilonSpent that of the charges made. Both are
	// null once a run was admitted later: then the filter holds the budget.
	EpsilonDeclared *bounded `json:"epsilon_declared"`
	EpsilonSpent    *bounded `json:"epsilon_spent"`
	// Filter holds runs that are admitted after the first charge.
	Filter    FilterFacts     `json:"filter"`
	Runs      []DomainRun     `json:"runs"`
	Revisions []DomainRevised `json:"revisions"`
}

// bounded is a float64 that is null in JSON where it is not finite.
type bounded float64

// MarshalJSON writes a number or null.
func (b bounded) MarshalJSON() ([]byte, error) {
	if f := float64(b); !math.IsInf(f, 0) && !math.IsNaN(f) {
		return json.Marshal(f)
	}
	return []byte("null"), nil
}

func finite(x float64) *bounded {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return nil
	}
	b := bounded(x)
	return &b
}

// FilterFacts are parts of what the filter allows, from 0 to 1.
type FilterFacts struct {
	Order string   `json:"order"`
	InUse bool     `json:"in_use"` // the domain was charged: further runs pass the filter
	Full  bool     `json:"full"`   // what was declared first leaves no room, whatever is spent
	Used  *bounded `json:"used"`   // spent or reserved; null: more than all
	Spent *bounded `json:"spent"`
	Left  float64  `json:"left"`
}

// DomainRun is one run of a domain.
type DomainRun struct {
	Run      string `json:"run"`
	Status   string `json:"status"` // open, complete or closed
	Charges  int    `json:"charges"`
	Declared bool   `json:"declared"` // before the domain's first charge
}

// DomainRevised is one raise of a domain's budget.
type DomainRevised struct {
	Epsilon float64 `json:"epsilon"`
	Reason  string  `json:"reason"`
}

func describeDomain(view ledger.View, d ledger.DomainView) (*DomainFacts, error) {
	spending, err := domain.Spend(view, d)
	if err != nil {
		return nil, fmt.Errorf("what data domain %s spent cannot be computed: %w", d.Register.Domain, err)
	}
	f := &DomainFacts{
		Domain: d.Register.Domain, Public: d.Register.Public, Epsilon: finite(d.Budget.Epsilon()), Delta: d.Budget.Delta(),
		Unit: d.Register.Unit.String(), Adjacency: d.Register.Adjacency.String(), Versions: len(d.Versions),
		EpsilonDeclared: finite(spending.Granted), EpsilonSpent: finite(spending.Spent),
		Filter: FilterFacts{
			Order: d.Register.Order.String(), InUse: d.Charged, Full: spending.Closed,
			Used: finite(spending.UsedShare), Spent: finite(spending.SpentShare),
		},
		Runs: []DomainRun{}, Revisions: []DomainRevised{},
	}
	if !spending.Closed {
		f.Filter.Left = math.Max(0, 1-spending.UsedShare)
	}
	for _, r := range view.Runs {
		if r.Admit.Domain == f.Domain {
			f.Runs = append(f.Runs, DomainRun{r.Admit.Run.String(), runStatus(r), charges(r), r.Admit.Declared != 0})
		}
	}
	for _, r := range d.Revisions {
		f.Revisions = append(f.Revisions, DomainRevised{r.Budget.Epsilon(), r.Reason})
	}
	return f, nil
}

// Limit is the budget's ε; +Inf in test mode.
func (f *DomainFacts) Limit() float64 {
	if f.Epsilon == nil {
		return math.Inf(1)
	}
	return float64(*f.Epsilon)
}

// Summary is the domain in one line.
func (f *DomainFacts) Summary() string {
	if f.Public {
		return fmt.Sprintf("%s, made for this run on images declared public", f.Domain)
	}
	s := fmt.Sprintf("%s: ε %g at δ %g for one %s, %s, %s in this ledger", f.Domain, f.Limit(), f.Delta, f.Unit, f.Adjacency, count(len(f.Runs), "run"))
	switch {
	case f.EpsilonDeclared != nil:
		s += fmt.Sprintf(", which may reach ε %s together", up(float64(*f.EpsilonDeclared)))
	case f.Filter.InUse:
		s += fmt.Sprintf(", held by a Rényi filter of order %s", f.Filter.Order)
	}
	return s
}

func runStatus(r ledger.RunView) string {
	switch {
	case r.Closed:
		return "closed"
	case r.Complete():
		return "complete"
	}
	return "open"
}

// rows are what a person reads of the domain.
func (f *DomainFacts) rows(t *table) {
	if f.Epsilon == nil {
		t.row("domain", "%s, of one run in test mode", f.Domain)
		return
	}
	t.row("domain", "%s: ε %g at δ %g for one %s, %s", f.Domain, *f.Epsilon, f.Delta, f.Unit, f.Adjacency)
	for _, r := range f.Revisions {
		t.row("  revised", "to ε %g: %s", r.Epsilon, r.Reason)
	}
	if len(f.Runs) > 0 && f.EpsilonDeclared != nil && f.EpsilonSpent != nil {
		t.row("  declared", "ε %.6f, of which ε %.6f is spent", *f.EpsilonDeclared, *f.EpsilonSpent)
	}
	switch {
	case f.Filter.Full:
		t.row("  left", "nothing: what was declared first fills the budget")
	case f.Filter.InUse:
		t.row("  left", "%.1f %% (runs chosen after the first charge add up at Rényi order %s)", math.Floor(1000*f.Filter.Left)/10, f.Filter.Order)
	default:
		t.row("  left", "all runs declared before the first charge may reach ε %g together", *f.Epsilon)
	}
	if !f.Public {
		t.row("  data", "%s", count(f.Versions, "version"))
	}
	for _, r := range f.Runs {
		t.row("  run", "%s, %s, %d charges", r.Run, r.Status, r.Charges)
	}
}

// Text is the domain for people.
func (f *DomainFacts) Text() string {
	var t table
	f.rows(&t)
	return harmless(t.String())
}
