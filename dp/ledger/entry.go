// Package ledger is the state machine that says what may be spent and what was.
// It is pure: integers only, no clock, no disk, no network. A coordinator
// replicates its entries through raft; every replica applies the same entries
// in the same order and comes to the same state.
//
// The life of one step is
//
//	Plan   → the sample is fixed; retried for ever, with the same sample
//	Charge → the privacy of one noised release is paid; noise may now be drawn
//	Commit → the noised sum is durable and the state it leads to is named
//
// and Machine.Apply refuses everything else: a second Charge of a Plan, a
// Charge beyond what Admit reserved, a Commit without its Charge, a nonce that
// was used before. Noise can be added only with a ChargeReceipt, which exists
// only in the answer to a newly accepted Charge.
//
// Every run is charged to a data domain, whose budget holds for all of its runs
// together: see Register.
package ledger

import (
	"fmt"
	"math"
	"strconv"

	"github.com/dploda/dploda/dp/plan"
)

// Entry is one of Register, Revise, Attach, Admit, Plan, Charge, Commit,
// Complete and Close.
type Entry interface {
	head() (kind byte, run RunID, prev Hash)
	appendFields(b []byte) []byte
	validate() error
}

// Unlimited is the ε of a run in test mode and of its domain: its noise is
// predictable, so that its ε is infinite.
const Unlimited = math.MaxUint64

// Budget is an (ε, δ) in exact integers: ε = EpsilonMicro·10⁻⁶,
// δ = DeltaNumerator·10^-DeltaExponent.
type Budget struct {
	EpsilonMicro   uint64
	DeltaNumerator uint64
	DeltaExponent  uint8
}

// Epsilon returns ε as a float64, for people and the accountant.
func (b Budget) Epsilon() float64 {
	if b.EpsilonMicro == Unlimited {
		return math.Inf(1)
	}
	return float64(b.EpsilonMicro) / 1e6
}

// Delta returns the float64 nearest to δ.
func (b Budget) Delta() float64 {
	d, _ := strconv.ParseFloat(fmt.Sprintf("%de-%d", b.DeltaNumerator, b.DeltaExponent), 64) // always a number
	return d
}

// Admit opens a run and freezes its phases, in their order. Before it is
// proposed the accountant has verified that all phases, charged Steps+Reserve
// times each, stay within the run's own budget, and has computed Costs and
// Declared; the machine decides on these integers whether the domain's budget
// allows the run.
type Admit struct {
	Run      RunID
	Prev     Hash      // hash of the entry before; every entry has it
	Domain   string    // registered; it is charged
	Version  VersionID // of the data, attached to Domain; zero if Domain is public
	Unit     Unit      // what the run protects; the domain's
	Spec     Hash      // of the frozen run specification
	Budget   Budget    // the run's own
	TestMode bool      // public data, predictable noise, ε = ∞
	Phases   []plan.Mechanism
	// Costs holds, for each of Phases, the Rényi divergence of one charge at the
	// domain's Order, rounded up, in units of CostUnit.
	Costs []uint64
	// Declared is the ε at the domain's δ, in millionths and rounded up, of all
	// charges that this run and the domain's others may make, if the domain was
	// never charged; else 0.
	Declared uint64
}

// Plan fixes one step: its sample is a function of the run's secret and these
// fields. State is the hash of the learner's state on which the step computes.
type Plan struct {
	Run        RunID
	Prev       Hash
	Phase      string
	Step       uint64 // within the phase, from 0
	Nonce      Nonce
	Arithmetic string // kind of device and version of its arithmetic, such as cpu-f32-2
	State      Hash
}

// Charge pays for one noised release of the open Plan.
type Charge struct {
	Run    RunID
	Prev   Hash
	Plan   PlanID
	Charge ChargeID
}

// Commit names the noised sum, durable under the hash Blob, and the state that
// it leads to.
type Commit struct {
	Run       RunID
	Prev      Hash
	Plan      PlanID
	Charge    ChargeID
	Blob      Hash
	PrevState Hash // equals the Plan's State
	NewState  Hash
}

// Complete closes a phase whose planned steps are all committed. What its
// reserve did not use can never be charged again.
type Complete struct {
	Run   RunID
	Prev  Hash
	Phase string
}

// Close ends a run that is not complete, for ever: it can be charged no more,
// and what it reserved and did not use is the domain's again.
type Close struct {
	Run  RunID
	Prev Hash
}

const (
	kindAdmit byte = 1 + iota
	kindPlan
	kindCharge
	kindCommit
	kindComplete
	kindClose
	kindRegister
	kindRevise
	kindAttach
)

func (e Admit) head() (byte, RunID, Hash)    { return kindAdmit, e.Run, e.Prev }
func (e Plan) head() (byte, RunID, Hash)     { return kindPlan, e.Run, e.Prev }
func (e Charge) head() (byte, RunID, Hash)   { return kindCharge, e.Run, e.Prev }
func (e Commit) head() (byte, RunID, Hash)   { return kindCommit, e.Run, e.Prev }
func (e Complete) head() (byte, RunID, Hash) { return kindComplete, e.Run, e.Prev }
func (e Close) head() (byte, RunID, Hash)    { return kindClose, e.Run, e.Prev }
func (e Register) head() (byte, RunID, Hash) { return kindRegister, RunID{}, e.Prev }
func (e Revise) head() (byte, RunID, Hash)   { return kindRevise, RunID{}, e.Prev }
func (e Attach) head() (byte, RunID, Hash)   { return kindAttach, RunID{}, e.Prev }
