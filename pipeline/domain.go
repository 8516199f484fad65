package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/internal/config"
)

// ledgerUnit is the ledger's word for what the run protects.
func (r *resolved) ledgerUnit() ledger.Unit {
	if r.unit() == unitGroup {
		return ledger.UnitGroup
	}
	return ledger.UnitImage
}

// ledgerAdjacency is the ledger's word for which data sets the run's ε compares.
func (r *resolved) ledgerAdjacency() ledger.Adjacency {
	if r.spec.Privacy.Adjacency == config.ReplaceOne {
		return ledger.ReplaceOne
	}
	return ledger.AddRemove
}

func (r *resolved) adjacency() account.Adjacency {
	return domain.AccountantsAdjacency(r.ledgerAdjacency())
}

// DomainSpec is a data domain to be registered.
type DomainSpec struct {
	Name           string
	Epsilon, Delta float64
	Unit           string  // image or group
	Adjacency      string  // add-remove or replace-one
	Order          float64 // of the filter, one decimal place; 0: the accountant chooses
}

// entry is the ledger's entry, without its predecessor. Its error is a mistake
// in the specification.
func (s DomainSpec) entry() (ledger.Register, error) {
	var none ledger.Register
	if !config.ValidName(s.Name) || strings.HasPrefix(s.Name, ledger.PublicPrefix) {
		return none, fmt.Errorf("the name of a data domain must be 1 to 64 letters, digits, dots, dashes and underscores and not begin with %s, unlike %q", ledger.PublicPrefix, s.Name)
	}
	b, err := domainBudget(s.Epsilon, s.Delta)
	if err != nil {
		return none, err
	}
	unit, adjacency := ledger.UnitImage, ledger.AddRemove
	switch s.Unit {
	case unitImage:
	case unitGroup:
		unit = ledger.UnitGroup
	default:
		return none, fmt.Errorf("--unit must be image or group, not %q", s.Unit)
	}
	switch s.Adjacency {
	case ledger.AddRemove.String():
	case ledger.ReplaceOne.String():
		adjacency = ledger.ReplaceOne
	default:
		return none, fmt.Errorf("--adjacency must be add-remove or replace-one, not %q", s.Adjacency)
	}
	tenths := math.Round(10 * s.Order)
	if s.Order != 0 && !(tenths > 10 && tenths <= float64(ledger.MaxOrder) && math.Abs(10*s.Order-tenths) < 1e-6) {
		return none, fmt.Errorf("--order must be more than 1 and at most %v, in tenths, not %v", ledger.MaxOrder, s.Order)
	}
	return domain.Register(s.Name, b, ledger.Order(tenths), unit, adjacency), nil
}

func domainBudget(epsilon, delta float64) (ledger.Budget, error) {
	if !(epsilon > 0 && epsilon <= 1000) {
		return ledger.Budget{}, fmt.Errorf("--epsilon must be more than 0 and at most 1000, not %v", epsilon)
	}
	if !(delta > 0 && delta < 1) {
		return ledger.Budget{}, fmt.Errorf("--delta must lie between 0 and 1, not %v", delta)
	}
	return budget(config.Privacy{Epsilon: epsilon, Delta: delta}, false)
}

// ErrUsage is in the chain of an error about what a person typed.
var ErrUsage = errors.New("usage")

type usage struct{ error }

func (usage) Is(target error) bool { return target == ErrUsage }

// RegisterDomain registers a data domain in the site's state folder, "" for the
// default one, and returns what domain show says of it.
func RegisterDomain(state string, s DomainSpec) (*DomainFacts, error) {
	e, err := s.entry()
	if err != nil {
		return nil, usage{err}
	}
	return changeDomain(state, s.Name, func(*coordinator.Site) (ledger.Entry, error) { return e, nil })
}

// ReviseDomain raises a domain's ε, for ever visible with its reason.
func ReviseDomain(state, name string, epsilon float64, reason string) (*DomainFacts, error) {
	if len(reason) < 1 || len(reason) > 200 {
		return nil, usage{errors.New("--reason must say in 1 to 200 bytes why the budget is raised: it stays in the ledger")}
	}
	return changeDomain(state, name, func(site *coordinator.Site) (ledger.Entry, error) {
		d, ok := site.View().Domain(name)
		if !ok {
			return nil, errNoDomain(name, state)
		}
		b, err := domainBudget(epsilon, d.Budget.Delta())
		if err != nil {
			return nil, usage{err}
		}
		return ledger.Revise{Domain: name, Budget: b, Limit: domain.Limit(b, d.Register.Order), Reason: reason}, nil
	})
}

func changeDomain(state, name string, make func(*coordinator.Site) (ledger.Entry, error)) (*DomainFacts, error) {
	dir, err := siteDir(state)
	if err != nil {
		return nil, err
	}
	site, err := coordinator.OpenSite(dir, nil)
	if err != nil {
		return nil, err
	}
	defer site.Close()
	e, err := make(site)
	if err != nil {
		return nil, err
	}
	if err := site.Propose(func(prev ledger.Hash) ledger.Entry { return after(e, prev) }); err != nil {
		return nil, err
	}
	view := site.View()
	d, _ := view.Domain(name)
	return describeDomain(view, d)
}

// after is e behind the entry prev.
func after(e ledger.Entry, prev ledger.Hash) ledger.Entry {
	switch e := e.(type) {
	case ledger.Register:
		e.Prev = prev
		return e
	case ledger.Revise:
		e.Prev = prev
		return e
	}
	return e
}

func errNoDomain(name, state string) error {
	where := "the site's state folder"
	if state != "" {
		where = state
	}
	return fmt.Errorf("data domain %q is not registered in %s", name, where)
}

// ShowDomains describes the domain of that name, or all of them.
func ShowDomains(state, name string) (value any, text string, err error) {
	events, err := readSite(state)
	if err != nil {
		return nil, "", err
	}
	view, err := ledger.Verify(events)
	if err != nil {
		return nil, "", err
	}
	found, public := []*DomainFacts{}, 0
	var t table
	for _, d := range view.Domains {
		if name != "" && d.Register.Domain != name {
			continue
		}
		f, err := describeDomain(view, d)
		if err != nil {
			return nil, "", err
		}
		found = append(found, f)
		if f.Public && name == "" {
			public++
			continue
		}
		f.rows(&t)
	}
	switch {
	case name != "" && len(found) == 0:
		return nil, "", errNoDomain(name, state)
	case name != "":
		return found[0], harmless(t.String()), nil
	case public > 0:
		t.row("and", "%s on images declared public", count(public, "run"))
	case len(found) == 0:
		t.row("no data domain", "register one with 'dploda domain register NAME --epsilon E --delta D'")
	}
	return found, harmless(t.String()), nil
}

// DomainPreview says, before anything private is read, whether a run would be
// admitted to its data domain.
type DomainPreview struct {
	Name     string       `json:"domain"`
	Admitted bool         `json:"admitted"` // if the domain may have the images
	Verdict  string       `json:"verdict"`
	Facts    *DomainFacts `json:"now,omitempty"`
}

// previewDomain asks a copy of the site's ledger.
func (r *resolved) previewDomain(state string) (*DomainPreview, error) {
	p := &DomainPreview{Name: r.spec.Privacy.Domain}
	if r.spec.Data.Public {
		return nil, nil
	}
	events, err := readSite(state)
	if errors.Is(err, fs.ErrNotExist) {
		p.Verdict = fmt.Sprintf("not registered yet; register it with 'dploda domain register %s --epsilon E --delta D'", p.Name)
		return p, nil
	}
	if err != nil { // in use or damaged: a run would say the same
		p.Verdict = err.Error()
		return p, nil
	}
	m, err := ledger.Replay(events)
	if err != nil {
		return nil, err
	}
	d, known := m.View().Domain(p.Name)
	if !known {
		p.Verdict = errNoDomain(p.Name, state).Error()
		return p, nil
	}
	if p.Facts, err = describeDomain(m.View(), d); err != nil {
		return nil, err
	}
	b, err := budget(r.spec.Privacy, false)
	if err != nil {
		return nil, err
	}
	// A run id and a version that no ledger has: they are random.
	a := ledger.Admit{Run: ledger.RunID{1}, Domain: p.Name, Version: ledger.VersionID{1}, Unit: r.ledgerUnit(), Budget: b, Phases: r.mechanisms}
	if err := applyTo(m, ledger.Attach{Prev: m.Head(), Domain: p.Name, Version: a.Version}); err != nil {
		return nil, err
	}
	if a, err = domain.Fill(a, m.View()); err != nil {
		return nil, err
	}
	a.Prev = m.Head()
	if err := applyTo(m, a); err != nil {
		p.Verdict = "this run would be refused: " + err.Error()
		return p, nil
	}
	p.Admitted, p.Verdict = true, "this run would be admitted"
	return p, nil
}

func applyTo(m *ledger.Machine, e ledger.Entry) error {
	raw, err := ledger.Encode(e)
	if err != nil {
		return err
	}
	return m.Apply(raw).Err
}
