package ledger

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dploda/dploda/dp/plan"
)

// Refusals that a proposer tells apart. Every refusal leaves the machine as it was.
var (
	// ErrStale: the entry names another predecessor than the chain's head. The
	// proposer read the machine too early; it must read it again.
	ErrStale = errors.New("the entry does not follow the ledger's last entry")
	// ErrSpent: the phase has no charge left.
	ErrSpent = errors.New("the ledger refuses another charge")
)

// Machine is the replicated state machine. The zero value is the empty ledger.
// It is not safe for concurrent use.
type Machine struct {
	events [][]byte
	runs   map[RunID]*run
	order  []RunID
	claims map[ChargeID]struct{}

	domains map[string]*domain
	names   []string // of domains, in the order of their registration
}

type run struct {
	admit  Admit
	domain *domain
	closed bool
	phases []phase
	nonces map[Nonce]struct{}
	open   *openPlan
	last   []byte // the run's last accepted Commit: it alone is accepted twice
}

type phase struct {
	charges, commits int
	state            Hash // the learner's state after the last Commit, or of the first Plan
	started, done    bool
}

type openPlan struct {
	id      PlanID
	plan    Plan
	charged bool
	charge  ChargeID
}

// Answer is the machine's own word on one entry. Err is nil exactly if the
// entry is in the ledger.
type Answer struct {
	Err     error
	Hash    Hash // of the entry; the new head if it was accepted
	Receipt ChargeReceipt
}

// PlanID returns the id of an accepted Plan.
func (a Answer) PlanID() PlanID { return PlanID(a.Hash) }

// Claim announces that this process is about to propose the Charge id. Only the
// answer to a claimed Charge holds a live receipt, once: an entry replayed from
// a log after a restart, or proposed by another replica, pays for no noise
// here. Claims are no part of the replicated state.
func (m *Machine) Claim(id ChargeID) {
	if m.claims == nil {
		m.claims = map[ChargeID]struct{}{}
	}
	m.claims[id] = struct{}{}
}

// Apply appends the encoded entry to the ledger or says why not. A Commit equal
// to the run's last one is accepted again and changes nothing.
func (m *Machine) Apply(raw []byte) Answer {
	e, err := Decode(raw)
	if err != nil {
		return Answer{Err: err}
	}
	_, id, prev := e.head()
	r := m.runs[id]
	if r != nil && r.open == nil && slices.Equal(raw, r.last) {
		return Answer{Hash: HashOf(raw)}
	}
	if prev != m.Head() {
		return Answer{Err: ErrStale}
	}
	answer := Answer{Hash: HashOf(raw)}
	switch e := e.(type) {
	case Register:
		answer.Err = m.register(e)
	case Revise:
		answer.Err = m.revise(e)
	case Attach:
		answer.Err = m.attach(e)
	case Admit:
		answer.Err = m.admit(e)
	default:
		answer.Receipt, answer.Err = m.step(id, r, e, raw)
	}
	if answer.Err != nil {
		return Answer{Err: answer.Err}
	}
	m.events = append(m.events, slices.Clone(raw))
	return answer
}

// Head returns the hash of the last entry; zero in an empty ledger.
func (m *Machine) Head() Hash {
	if len(m.events) == 0 {
		return Hash{}
	}
	return HashOf(m.events[len(m.events)-1])
}

func (m *Machine) step(id RunID, r *run, e Entry, raw []byte) (ChargeReceipt, error) {
	switch {
	case r == nil:
		return ChargeReceipt{}, fmt.Errorf("the ledger does not know run %s", id)
	case r.closed:
		return ChargeReceipt{}, fmt.Errorf("run %s was closed", id)
	}
	switch e := e.(type) {
	case Plan:
		return ChargeReceipt{}, r.plan(e, PlanID(HashOf(raw)))
	case Charge:
		_, claimed := m.claims[e.Charge]
		delete(m.claims, e.Charge)
		if err := r.charge(e); err != nil || !claimed {
			return ChargeReceipt{}, err
		}
		return ChargeReceipt{&receipt{plan: e.Plan, charge: e.Charge, mechanism: r.mechanism(), testMode: r.admit.TestMode}}, nil
	case Commit:
		err := r.commit(e)
		if err == nil {
			r.last = slices.Clone(raw)
		}
		return ChargeReceipt{}, err
	case Complete:
		return ChargeReceipt{}, r.complete(e)
	case Close:
		return ChargeReceipt{}, r.close()
	}
	return ChargeReceipt{}, fmt.Errorf("the ledger has no rule for %T", e)
}

// current returns the index of the first phase that is not complete.
func (r *run) current() int {
	return slices.IndexFunc(r.phases, func(p phase) bool { return !p.done })
}

func (r *run) mechanism() plan.Mechanism { return r.admit.Phases[r.current()] }

func (r *run) plan(e Plan, id PlanID) error {
	i := r.current()
	if i < 0 {
		return fmt.Errorf("run %s is complete", e.Run)
	}
	m, p := r.admit.Phases[i], &r.phases[i]
	_, used := r.nonces[e.Nonce]
	switch {
	case e.Phase != m.Phase:
		return fmt.Errorf("a plan of phase %q while phase %q is open", e.Phase, m.Phase)
	case e.Step != uint64(p.commits):
		return fmt.Errorf("a plan of step %d while phase %q is at step %d", e.Step, m.Phase, p.commits)
	case p.commits == m.Steps:
		return fmt.Errorf("phase %q has no step left", m.Phase)
	case r.open != nil && !r.open.charged:
		return errors.New("the open plan has no charge yet; it is retried, not replaced")
	case used && !r.admit.TestMode:
		return errors.New("a plan's nonce was used before in this run")
	case p.started && e.State != p.state:
		return fmt.Errorf("a plan of step %d of phase %q begins from another state than the ledger's", e.Step, m.Phase)
	}
	p.started, p.state = true, e.State
	r.nonces[e.Nonce] = struct{}{}
	r.open = &openPlan{id: id, plan: e}
	return nil
}

func (r *run) charge(e Charge) error {
	if r.open == nil || r.open.id != e.Plan {
		return errors.New("a charge of a plan that is not open")
	}
	if r.open.charged {
		return errors.New("a second charge of one plan")
	}
	i := r.current()
	m, p := r.admit.Phases[i], &r.phases[i]
	if p.charges >= m.Charges() {
		return fmt.Errorf("%w: all %d charges of phase %q (%d steps and a reserve of %d) are spent",
			ErrSpent, m.Charges(), m.Phase, m.Steps, m.Reserve)
	}
	r.domain.beginCharging()
	p.charges++
	r.open.charged, r.open.charge = true, e.Charge
	return nil
}

func (r *run) commit(e Commit) error {
	switch {
	case r.open == nil || r.open.id != e.Plan:
		return errors.New("a commit of a plan that is not open")
	case !r.open.charged || r.open.charge != e.Charge:
		return errors.New("a commit without the charge of its plan")
	case e.PrevState != r.open.plan.State:
		return errors.New("a commit begins from another state than its plan")
	}
	p := &r.phases[r.current()]
	p.commits++
	p.state = e.NewState
	r.open = nil
	return nil
}

func (r *run) complete(e Complete) error {
	i := r.current()
	if i < 0 {
		return fmt.Errorf("run %s is complete", e.Run)
	}
	m, p := r.admit.Phases[i], &r.phases[i]
	if e.Phase != m.Phase || p.commits != m.Steps {
		return fmt.Errorf("phase %q cannot be completed: phase %q has committed %d of %d steps", e.Phase, m.Phase, p.commits, m.Steps)
	}
	p.done = true
	return nil
}

func (r *run) close() error {
	if r.current() < 0 {
		return fmt.Errorf("run %s is complete: it holds nothing that it has not spent", r.admit.Run)
	}
	r.closed, r.open = true, nil
	return nil
}
