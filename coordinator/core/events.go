// Package core decides what a coordinator does next. It is a pure,
// single-threaded state machine: Step takes an event and returns effects; no
// socket, clock, disk or goroutine. The caller
//
//  1. carries out the effects in their order;
//  2. answers every effect that names an answer with exactly one event;
//  3. feeds the ledger's own view, never a guess, after every proposal;
//  4. keeps vectors, keys and receipts itself: the core handles ids and counts.
//
// What is durable and what was spent the core reads from the ledger alone. It
// remembers only what a crash may lose: who is there, which generation runs,
// whether its sum has come.
package core

import "github.com/dploda/dploda/dp/ledger"

// Event is something that happened.
type Event interface{ event() }

// Ledger is the run's view in the ledger: at the start, in answer to Resync,
// and after an accepted proposal. Receipt names the charge whose live receipt
// the caller holds, if any.
type Ledger struct {
	View    ledger.RunView
	Receipt ledger.ChargeID
}

// Refused says that the ledger's state machine itself refused a proposal.
type Refused struct{ Err error }

// Unknown says that it is not known whether a proposal is in the ledger.
type Unknown struct{ Err error }

// Joined says that a worker is ready.
type Joined struct {
	Worker string
	Speed  float64 // examples per second, or 0 if not known
}

// Lost says that a worker is gone.
type Lost struct{ Worker, Cause string }

// Failed says that a worker is alive but could not compute its share, or that
// the generation failed by no one worker's fault.
type Failed struct {
	Worker     string // empty for none in particular
	Generation uint64
	Reason     string
}

// Sampled answers DrawSample. The ids are private.
type Sampled struct {
	Plan ledger.PlanID
	IDs  []uint32
}

// SumArrived says that the caller holds a generation's exact sum, whose last
// coordinate is Count. Count is private.
type SumArrived struct {
	Generation uint64
	Count      int64
}

// Durable answers AddNoise, and FindNoised if there was something: the noised
// sum of a charge is durable under Blob and leads to NewState.
type Durable struct {
	Charge         ledger.ChargeID
	Blob, NewState ledger.Hash
}

// Missing answers FindNoised: no whole noised sum of this charge exists.
type Missing struct{ Charge ledger.ChargeID }

// Done answers Release and Checkpoint.
type Done struct{}

// Broken answers any effect that cannot be carried out.
type Broken struct{ Err error }

// Stop asks for an orderly end.
type Stop struct{}

func (Ledger) event()     {}
func (Refused) event()    {}
func (Unknown) event()    {}
func (Joined) event()     {}
func (Lost) event()       {}
func (Failed) event()     {}
func (Sampled) event()    {}
func (SumArrived) event() {}
func (Durable) event()    {}
func (Missing) event()    {}
func (Done) event()       {}
func (Broken) event()     {}
func (Stop) event()       {}

// Effect is something to be done.
type Effect interface{ effect() }

// ProposePlan asks for a Plan of a step, with a fresh nonce and the learner's
// state. Answer: Ledger, Refused or Unknown, as for every proposal.
type ProposePlan struct {
	Phase string
	Step  uint64
}

// ProposeCharge asks for the Charge of an open Plan, with a fresh id.
type ProposeCharge struct{ Plan ledger.PlanID }

// ProposeCommit asks for the Commit of a charged Plan. Its noised sum is
// durable.
type ProposeCommit struct {
	Plan                      ledger.PlanID
	Charge                    ledger.ChargeID
	Blob, PrevState, NewState ledger.Hash
}

// ProposeComplete closes a phase.
type ProposeComplete struct{ Phase string }

// Resync asks for the ledger's view after everything proposed so far is either
// in it or never will be. Answer: Ledger.
type Resync struct{}

// DrawSample asks for the sample of an open Plan. Answer: Sampled.
type DrawSample struct{ Plan ledger.OpenPlan }

// StartGeneration gives each worker its share of the open Plan's sample.
type StartGeneration struct {
	Generation uint64
	Attempt    uint32 // how often this Plan was started before
	Plan       ledger.OpenPlan
	Shares     map[string][]uint32
}

// AbortGeneration ends a generation; a sum of it is wiped.
type AbortGeneration struct{ Generation uint64 }

// AddNoise noises the held sum of a charged Plan with the held receipt, computes
// the new state and makes the noised sum durable. Answer: Durable.
type AddNoise struct {
	Plan       ledger.OpenPlan
	Generation uint64
}

// FindNoised looks for the durable noised sum of a charged Plan, and if it is
// whole computes the new state. Answer: Durable or Missing.
type FindNoised struct{ Plan ledger.OpenPlan }

// Release broadcasts the state after so many Commits. Its Commit is accepted.
// Answer: Done.
type Release struct {
	Commits int
	State   ledger.Hash
}

// Checkpoint makes the learner's state durable. Answer: Done.
type Checkpoint struct{ At Mark }

// Wait says that fewer workers than needed are ready.
type Wait struct{ Ready, Need int }

// Retry says why a step is computed again.
type Retry struct{ Reason string }

// Finish is the last effect: nil for a complete phase, ErrStopped after Stop.
type Finish struct{ Err error }

func (ProposePlan) effect()     {}
func (ProposeCharge) effect()   {}
func (ProposeCommit) effect()   {}
func (ProposeComplete) effect() {}
func (Resync) effect()          {}
func (DrawSample) effect()      {}
func (StartGeneration) effect() {}
func (AbortGeneration) effect() {}
func (AddNoise) effect()        {}
func (FindNoised) effect()      {}
func (Release) effect()         {}
func (Checkpoint) effect()      {}
func (Wait) effect()            {}
func (Retry) effect()           {}
func (Finish) effect()          {}
