package noise

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
)

// ExactSum is the un-noised sum of a Plan's contributions. It can be given to
// AddNoise, once, or wiped; it cannot be read, printed or encoded. All copies
// of an ExactSum are one.
type ExactSum struct{ s *exactSum }

type exactSum struct {
	mechanism plan.Mechanism
	plan      ledger.PlanID
	values    []int32
	used      atomic.Bool
}

// NewExactSum takes over values: the sum modulo 2³² of the contributions of all
// examples in the Plan's sample, m.Dim coordinates in grid units, the count
// stripped. The caller must not touch values again.
func NewExactSum(m plan.Mechanism, id ledger.PlanID, values []int32) (ExactSum, error) {
	if err := m.Validate(); err != nil {
		return ExactSum{}, err
	}
	if len(values) != m.Dim {
		return ExactSum{}, fmt.Errorf("a sum of %d coordinates was given for phase %q, which has %d", len(values), m.Phase, m.Dim)
	}
	return ExactSum{&exactSum{mechanism: m, plan: id, values: values}}, nil
}

var errNoSum = errors.New("this exact sum is empty or was used before")

// take hands the values over, once.
func (e ExactSum) take() ([]int32, error) {
	if e.s == nil || e.s.used.Swap(true) {
		return nil, errNoSum
	}
	values := e.s.values
	e.s.values = nil
	return values, nil
}

// Wipe destroys the sum, for a Plan that was given up.
func (e ExactSum) Wipe() {
	if values, err := e.take(); err == nil {
		clear(values)
	}
}

// NoisedSum is what a step releases: the exact sum plus one draw of noise, paid
// for by one Charge.
type NoisedSum struct {
	values []int32
	plan   ledger.PlanID
	charge ledger.ChargeID
}

// Values returns the noised sum modulo 2³², in grid units. The caller owns it;
// every call returns the same slice.
func (n NoisedSum) Values() []int32 { return n.values }

// PlanID returns the Plan whose sum this is.
func (n NoisedSum) PlanID() ledger.PlanID { return n.plan }

// ChargeID returns the Charge that paid for it.
func (n NoisedSum) ChargeID() ledger.ChargeID { return n.charge }

// AddNoise releases sum: it adds round(N(0, SigmaInt²)) to every coordinate,
// modulo 2³², independently. The receipt must be of an accepted Charge of the
// sum's own Plan, and src of the same mechanism and predictable only in a run
// that was admitted in test mode; else nothing is touched. From
// there on sum, receipt and source are used up, whether AddNoise succeeds or
// finds one of them used before, and the exact sum's memory holds the noised
// sum or zeros.
func AddNoise(sum ExactSum, r ledger.ChargeReceipt, src *Source) (NoisedSum, error) {
	switch {
	case sum.s == nil:
		return NoisedSum{}, errNoSum
	case src == nil:
		return NoisedSum{}, errors.New("there is no noise to add")
	case r.PlanID() != sum.s.plan:
		return NoisedSum{}, fmt.Errorf("the charge is for plan %v, the sum is of plan %v", r.PlanID(), sum.s.plan)
	case r.Mechanism() != sum.s.mechanism:
		return NoisedSum{}, errors.New("the charge and the sum have different mechanisms")
	case src.mechanism != sum.s.mechanism:
		return NoisedSum{}, errors.New("the noise was made for another mechanism than the sum's")
	case src.predictable && !r.TestMode():
		return NoisedSum{}, errors.New("predictable noise protects nobody, and the charged run is not in test mode")
	}
	values, noSum := sum.take()
	noise, noNoise := src.take(runtime.GOMAXPROCS(0))
	if err := errors.Join(noSum, noNoise, r.Consume()); err != nil {
		clear(values)
		clear(noise)
		return NoisedSum{}, err
	}
	for i := range values {
		values[i] += noise[i] // wraps
	}
	clear(noise)
	return NoisedSum{values: values, plan: sum.s.plan, charge: r.ChargeID()}, nil
}

const redactedSum = "noise.ExactSum(redacted)"

var errRedacted = errors.New("an exact sum has no encoding")

// Format prints nothing of the sum, whatever the verb.
func (e ExactSum) Format(f fmt.State, _ rune) { fmt.Fprint(f, redactedSum) }

// String prints nothing of the sum.
func (e ExactSum) String() string { return redactedSum }

// GoString prints nothing of the sum.
func (e ExactSum) GoString() string { return redactedSum }

// LogValue keeps the sum out of logs.
func (e ExactSum) LogValue() slog.Value { return slog.StringValue(redactedSum) }

// MarshalJSON refuses: an exact sum never leaves its process.
func (e ExactSum) MarshalJSON() ([]byte, error) { return nil, errRedacted }

// MarshalText refuses: an exact sum never leaves its process.
func (e ExactSum) MarshalText() ([]byte, error) { return nil, errRedacted }

// MarshalBinary refuses: an exact sum never leaves its process.
func (e ExactSum) MarshalBinary() ([]byte, error) { return nil, errRedacted }

// GobEncode refuses: an exact sum never leaves its process.
func (e ExactSum) GobEncode() ([]byte, error) { return nil, errRedacted }
