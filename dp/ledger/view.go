package ledger

import (
	"slices"

	"github.com/dploda/dploda/dp/plan"
)

// View is a copy of what the machine knows, for those who decide and those who
// account.
type View struct {
	Head    Hash
	Entries int
	Domains []DomainView // in the order of their registration
	Runs    []RunView    // in the order of their admission
}

// DomainView is one data domain's part of a View. Amounts are Rényi divergences
// of the domain's order in units of CostUnit; MaxUint64 stands for more than
// that.
type DomainView struct {
	Register  Register
	Budget    Budget // after the revisions
	Limit     uint64 // after the revisions
	Revisions []Revise
	Versions  []VersionID
	// Charged: some run was charged. Those admitted later passed the filter.
	Charged bool
	// Declared is what the runs admitted before the first charge could cost.
	Declared uint64
	Used     uint64 // spent, or reserved by runs that are not at their end
	Spent    uint64 // by the charges in the ledger
}

// RunView is one run's part of a View.
type RunView struct {
	Admit  Admit
	Phases []PhaseView // as admitted
	Open   *OpenPlan   // nil between a Commit and the next Plan
	Closed bool        // for ever, before it was complete
	Used   uint64      // as in DomainView
}

// PhaseView counts what was spent and released in one phase.
type PhaseView struct {
	Mechanism        plan.Mechanism
	Charges, Commits int
	Complete         bool
	Started          bool // State is known
	State            Hash // of the learner, after the last Commit or at the first Plan
}

// OpenPlan is a Plan without its Commit.
type OpenPlan struct {
	ID      PlanID
	Plan    Plan
	Charged bool
	Charge  ChargeID // if Charged
}

// View returns a copy of the machine's state.
func (m *Machine) View() View {
	v := View{Head: m.Head(), Entries: len(m.events)}
	for _, name := range m.names {
		v.Domains = append(v.Domains, m.domains[name].view())
	}
	for _, id := range m.order {
		v.Runs = append(v.Runs, m.runs[id].view())
	}
	return v
}

// Run returns the view of one run, false if the ledger does not know it.
func (m *Machine) Run(id RunID) (RunView, bool) {
	r := m.runs[id]
	if r == nil {
		return RunView{}, false
	}
	return r.view(), true
}

func (d *domain) view() DomainView {
	return DomainView{Register: d.register, Budget: d.budget, Limit: d.limit, Revisions: slices.Clone(d.revisions),
		Versions: slices.Clone(d.versions), Charged: d.charged, Declared: d.declared, Used: d.used(), Spent: d.spent()}
}

func (r *run) view() RunView {
	v := RunView{Admit: r.admit, Closed: r.closed, Used: r.used()}
	for i, p := range r.phases {
		v.Phases = append(v.Phases, PhaseView{Mechanism: r.admit.Phases[i], Charges: p.charges,
			Commits: p.commits, Complete: p.done, Started: p.started, State: p.state})
	}
	if r.open != nil {
		v.Open = &OpenPlan{ID: r.open.id, Plan: r.open.plan, Charged: r.open.charged, Charge: r.open.charge}
	}
	return v
}

// Domain returns the view of one data domain, false if it is not registered.
func (v View) Domain(name string) (DomainView, bool) {
	for _, d := range v.Domains {
		if d.Register.Domain == name {
			return d, true
		}
	}
	return DomainView{}, false
}

// Run returns the view of one run, false if the ledger does not know it.
func (v View) Run(id RunID) (RunView, bool) {
	for _, r := range v.Runs {
		if r.Admit.Run == id {
			return r, true
		}
	}
	return RunView{}, false
}

// Current returns the index of the open phase, -1 if the run is complete.
func (v RunView) Current() int {
	for i, p := range v.Phases {
		if !p.Complete {
			return i
		}
	}
	return -1
}

// Complete reports whether every phase is complete.
func (v RunView) Complete() bool { return v.Current() < 0 }
