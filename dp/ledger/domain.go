package ledger

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Register opens a data domain: a name for everything that is computed on the
// same people's images, with one budget for all of its runs together. A name is
// registered once.
//
// Runs that were admitted before the domain's first charge were all chosen
// before anybody saw an output of its images: they compose like phases of one
// run, and Admit.Declared ≤ Budget.EpsilonMicro is their rule. A run that is
// admitted later may have been chosen in the light of earlier outputs. For
// those the Rényi divergences of one fixed order add up, at most to Limit: the
// fully adaptive filter of Feldman, Zrnic 2021 (Individual Privacy Accounting
// via a Rényi Filter, arXiv 2008.11193, Section 4).
type Register struct {
	Prev   Hash
	Domain string
	Budget Budget
	// Order of the filter's Rényi divergence; never changed.
	Order Order
	// Limit is the largest sum of divergences of order Order that implies Budget,
	// rounded down, in units of CostUnit; 0 if none does.
	Limit     uint64
	Unit      Unit
	Adjacency Adjacency
	// Public: the images are declared public. Such a domain serves one run and
	// has no versions; its name begins with PublicPrefix.
	Public bool
}

// Revise raises a domain's budget. Every revision stays in the ledger: whoever
// relies on the domain's promise sees that it was weakened, and why.
type Revise struct {
	Prev   Hash
	Domain string
	Budget Budget // δ as registered, ε above the one before
	Limit  uint64 // of Budget, at the registered Order
	Reason string
}

// Attach makes a version of data part of a domain. What the version holds is
// not in the ledger: the site keeps keyed tags of its images.
type Attach struct {
	Prev    Hash
	Domain  string
	Version VersionID
}

// CostUnit is the Rényi divergence, in nats, that one unit of costs and limits
// stands for.
const CostUnit = 1.0 / (1 << 48)

// maxLimit keeps every limit below the sum that stands for an overflow.
const maxLimit = math.MaxUint64 >> 1

// PublicPrefix begins the names of domains whose images are declared public,
// and of no others.
const PublicPrefix = "public-"

// Order is a Rényi order in tenths: 25 is order 2.5.
type Order uint32

// MaxOrder bounds the orders that a domain may have.
const MaxOrder Order = 40960

func (o Order) String() string { return fmt.Sprintf("%d.%d", o/10, o%10) }

// Unit is what a domain's budget protects.
type Unit uint8

const (
	UnitImage Unit = 1 + iota // one image
	UnitGroup                 // all images of one group, such as a patient
)

func (u Unit) String() string {
	if u == UnitGroup {
		return "group"
	}
	return "image"
}

// Adjacency says which data sets a domain's budget compares: one unit more or
// less, or one unit exchanged.
type Adjacency uint8

const (
	AddRemove Adjacency = 1 + iota
	ReplaceOne
)

func (a Adjacency) String() string {
	if a == ReplaceOne {
		return "replace-one"
	}
	return "add-remove"
}

// ErrBudget: the domain's budget does not allow the run.
var ErrBudget = errors.New("the budget of the data domain does not allow this run")

// domain is what the machine knows of a registered domain.
type domain struct {
	register  Register
	budget    Budget // the last revision's
	limit     uint64
	revisions []Revise
	versions  []VersionID
	runs      []*run
	// charged: some run of the domain was charged, and declared is from then on
	// what the runs admitted before might cost in all, whatever becomes of them.
	charged  bool
	declared uint64
}

func (m *Machine) register(e Register) error {
	if m.domains[e.Domain] != nil {
		return fmt.Errorf("data domain %q was registered before; its budget is shown by 'dploda domain show' and raised by 'dploda domain revise'", e.Domain)
	}
	if m.domains == nil {
		m.domains = map[string]*domain{}
	}
	m.domains[e.Domain] = &domain{register: e, budget: e.Budget, limit: e.Limit}
	m.names = append(m.names, e.Domain)
	return nil
}

func (m *Machine) revise(e Revise) error {
	d := m.domains[e.Domain]
	switch {
	case d == nil:
		return errNoDomain(e.Domain)
	case d.register.Public:
		return fmt.Errorf("data domain %q was made for one run on public images; its budget is the run's", e.Domain)
	case e.Budget.DeltaNumerator != d.budget.DeltaNumerator || e.Budget.DeltaExponent != d.budget.DeltaExponent:
		return fmt.Errorf("a revision changes the epsilon of data domain %q, not its delta", e.Domain)
	case e.Budget.EpsilonMicro <= d.budget.EpsilonMicro || e.Limit < d.limit:
		return fmt.Errorf("the budget of data domain %q can only be raised, from epsilon %s to more", e.Domain, micro(d.budget.EpsilonMicro))
	}
	d.budget, d.limit = e.Budget, e.Limit
	d.revisions = append(d.revisions, e)
	return nil
}

func (m *Machine) attach(e Attach) error {
	d := m.domains[e.Domain]
	switch {
	case d == nil:
		return errNoDomain(e.Domain)
	case d.register.Public:
		return fmt.Errorf("data domain %q is of public images, of which no versions are kept", e.Domain)
	}
	for _, other := range m.domains {
		if slices.Contains(other.versions, e.Version) {
			return fmt.Errorf("version %s of data was attached before", e.Version)
		}
	}
	d.versions = append(d.versions, e.Version)
	return nil
}

func (m *Machine) admit(a Admit) error {
	d := m.domains[a.Domain]
	switch {
	case m.runs[a.Run] != nil:
		return fmt.Errorf("run %s was admitted before; run ids are never used again", a.Run)
	case d == nil:
		return errNoDomain(a.Domain)
	case a.TestMode != (d.budget.EpsilonMicro == Unlimited):
		return errors.New("a run in test mode belongs to a data domain without a limit, and no other run does")
	case a.Unit != d.register.Unit:
		return fmt.Errorf("the run protects one %s, data domain %q one %s", a.Unit, a.Domain, d.register.Unit)
	case d.register.Public && a.Version != (VersionID{}):
		return fmt.Errorf("data domain %q is of public images, of which no versions are kept", a.Domain)
	case d.register.Public && len(d.runs) > 0:
		return fmt.Errorf("data domain %q was made for another run", a.Domain)
	case !d.register.Public && !slices.Contains(d.versions, a.Version):
		return fmt.Errorf("version %s of the data is not attached to data domain %q", a.Version, a.Domain)
	}
	r := &run{admit: a, domain: d, phases: make([]phase, len(a.Phases)), nonces: map[Nonce]struct{}{}}
	if err := d.affords(r); err != nil {
		return err
	}
	if m.runs == nil {
		m.runs = map[RunID]*run{}
	}
	m.runs[a.Run] = r
	m.order = append(m.order, a.Run)
	d.runs = append(d.runs, r)
	return nil
}

func errNoDomain(name string) error {
	return fmt.Errorf("data domain %q is not registered; register it with 'dploda domain register %[1]s --epsilon E --delta D'", name)
}

// affords is the rule of a domain's budget. docs/privacy.md proves that it
// implies the budget.
func (d *domain) affords(r *run) error {
	a := r.admit
	if !d.charged {
		if a.Declared > d.budget.EpsilonMicro {
			return fmt.Errorf("%w: with it the runs declared in data domain %q could reach epsilon %s of %s; choose a smaller privacy.epsilon, or close a run that is given up with 'dploda ledger close RUN'",
				ErrBudget, a.Domain, micro(a.Declared), micro(d.budget.EpsilonMicro))
		}
		return nil
	}
	if a.Declared != 0 {
		return errors.New("a run declares an epsilon although its data domain was charged before")
	}
	if d.declared > d.limit {
		return fmt.Errorf("%w: the runs declared before the first charge of data domain %q fill its budget alone, so that no other can follow them", ErrBudget, a.Domain)
	}
	used, needed := d.used(), r.reserved()
	if sum(used, needed) > d.limit {
		return fmt.Errorf("%w: it could take %s of the budget of data domain %q, of which %s is left (runs chosen after the first charge add up at Rényi order %v); choose a smaller privacy.epsilon, or close a run that is given up with 'dploda ledger close RUN'",
			ErrBudget, share(needed, d.limit), a.Domain, share(d.limit-min(used, d.limit), d.limit), d.register.Order)
	}
	return nil
}

// used is what the domain's runs have spent or still may spend.
func (d *domain) used() (total uint64) {
	for _, r := range d.runs {
		total = sum(total, r.used())
	}
	return total
}

// spent is what the domain's runs were charged.
func (d *domain) spent() (total uint64) {
	for _, r := range d.runs {
		for i, p := range r.phases {
			total = sum(total, product(r.admit.Costs[i], p.charges))
		}
	}
	return total
}

// beginCharging fixes what was declared before the first charge. A run that was
// closed until then never had an output.
func (d *domain) beginCharging() {
	if !d.charged {
		d.charged, d.declared = true, d.used()
	}
}

// used counts the charges made where no more can follow, else those reserved.
func (r *run) used() (total uint64) {
	for i, p := range r.phases {
		charges := r.admit.Phases[i].Charges()
		if r.closed || p.done {
			charges = p.charges
		}
		total = sum(total, product(r.admit.Costs[i], charges))
	}
	return total
}

// reserved is what the run may cost at most.
func (r *run) reserved() (total uint64) {
	for i, m := range r.admit.Phases {
		total = sum(total, product(r.admit.Costs[i], m.Charges()))
	}
	return total
}

// sum is a + b, or the greatest number, which is above every limit, where that
// overflows.
func sum(a, b uint64) uint64 {
	s, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return s
}

// product is cost·charges, or the greatest number where that overflows.
func product(cost uint64, charges int) uint64 {
	hi, lo := bits.Mul64(cost, uint64(charges))
	if hi != 0 {
		return math.MaxUint64
	}
	return lo
}

// micro writes an ε in millionths, for people.
func micro(e uint64) string {
	if e == Unlimited {
		return "infinity"
	}
	return fmt.Sprintf("%d.%06d", e/1e6, e%1e6)
}

// share writes part/whole, for people, in tenths of a per cent.
func share(part, whole uint64) string {
	hi, lo := bits.Mul64(part, 1000)
	if whole == 0 || hi >= whole {
		return "more than all"
	}
	thousandths, _ := bits.Div64(hi, lo, whole)
	return fmt.Sprintf("%d.%d %%", thousandths/10, thousandths%10)
}
