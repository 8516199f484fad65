package ledger

import "github.com/dploda/dploda/dp/plan"

// View is a copy of what the machine knows, for those who decide and those who
// account.
type View struct {
	Head    Hash
	Entries int
	Runs    []RunView // in the order of their admission
}

// RunView is one run's part of a View.
type RunView struct {
	Admit  Admit
	Phases []PhaseView // as admitted
	Open   *OpenPlan   // nil between a Commit and the next Plan
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

func (r *run) view() RunView {
	v := RunView{Admit: r.admit}
	for i, p := range r.phases {
		v.Phases = append(v.Phases, PhaseView{Mechanism: r.admit.Phases[i], Charges: p.charges,
			Commits: p.commits, Complete: p.done, Started: p.started, State: p.state})
	}
	if r.open != nil {
		v.Open = &OpenPlan{ID: r.open.id, Plan: r.open.plan, Charged: r.open.charged, Charge: r.open.charge}
	}
	return v
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
