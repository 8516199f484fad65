package core

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/ledger/ledgertest"
	"github.com/dploda/dploda/dp/plan"
)

// sim is a dumb world around a core: a real ledger, a sample of ten examples,
// and noised sums and states that are names. What it keeps survives a crash;
// the core does not.
type sim struct {
	machine ledger.Machine
	run     ledger.RunID
	core    *Core
	cfg     Config
	seq     int

	state   ledger.Hash                      // of the newest durable or applied learner
	blobs   map[ledger.ChargeID]bool         // durable noised sums
	samples map[ledger.PlanID][]uint32       // what was drawn for each plan
	noises  map[ledger.ChargeID]int          // noise draws
	mark    Mark                             // durable checkpoint
	receipt ledger.ChargeID                  // held, lost in a crash
	hold    string                           // proposals of this kind are not answered
	release map[int]map[ledger.Hash]struct{} // states released after so many commits
	running *StartGeneration                 // last started
	err     error
	ended   bool
	log     []string
	silent  bool
}

func newSim(steps, reserve int, cfg Config) *sim {
	s := &sim{cfg: cfg, blobs: map[ledger.ChargeID]bool{}, samples: map[ledger.PlanID][]uint32{},
		noises: map[ledger.ChargeID]int{}, mark: NoCheckpoint,
		release: map[int]map[ledger.Hash]struct{}{}}
	m := plan.Mechanism{Phase: "finetune", QThreshold: 1 << 60, Dim: 3, Delta: 1000, SigmaInt: 1100, ClipNorm: 1, Steps: steps, Reserve: reserve, Divisor: 4}
	budget := ledger.Budget{EpsilonMicro: 1, DeltaNumerator: 1, DeltaExponent: 5}
	s.apply(ledgertest.PublicDomain("d", budget))
	s.apply(ledger.Admit{Domain: "public-d", Prev: s.machine.Head(), Unit: ledger.UnitImage, Budget: budget, Phases: []plan.Mechanism{m}, Costs: []uint64{1}})
	s.restart()
	return s
}

// restart loses everything in memory.
func (s *sim) restart() {
	s.core = New(s.cfg, s.mark)
	s.cfg.Generation += 1000
	s.receipt, s.ended, s.err, s.running = ledger.ChargeID{}, false, nil, nil
	if v := s.view(); v.Phases[0].Started {
		s.state = v.Phases[0].State
	}
}

func (s *sim) view() ledger.RunView {
	v, _ := s.machine.Run(s.run)
	return v
}

func (s *sim) apply(e ledger.Entry) ledger.Answer {
	raw, err := ledger.Encode(e)
	if err != nil {
		return ledger.Answer{Err: err}
	}
	return s.machine.Apply(raw)
}

func (s *sim) fresh(what string) (id [16]byte) {
	s.seq++
	h := sha256.Sum256(fmt.Append(nil, what, s.seq))
	copy(id[:], h[:])
	return id
}

// feed gives the core an event and plays the world until nothing is left to do.
func (s *sim) feed(events ...Event) {
	for len(events) > 0 {
		e := events[0]
		events = events[1:]
		for _, effect := range s.core.Step(e) {
			s.say(effect)
			if answer := s.play(effect); answer != nil {
				events = append(events, answer)
			}
		}
	}
}

func (s *sim) play(effect Effect) Event {
	switch e := effect.(type) {
	case ProposePlan:
		return s.propose("plan", ledger.Plan{Prev: s.machine.Head(), Phase: e.Phase, Step: e.Step, Nonce: s.fresh("nonce"), Arithmetic: "test", State: s.state})
	case ProposeCharge:
		id := ledger.ChargeID(s.fresh("charge"))
		s.machine.Claim(id)
		return s.propose("charge", ledger.Charge{Prev: s.machine.Head(), Plan: e.Plan, Charge: id})
	case ProposeCommit:
		return s.propose("commit", ledger.Commit{Prev: s.machine.Head(), Plan: e.Plan, Charge: e.Charge, Blob: e.Blob, PrevState: e.PrevState, NewState: e.NewState})
	case ProposeComplete:
		return s.propose("complete", ledger.Complete{Prev: s.machine.Head(), Phase: e.Phase})
	case Resync:
		return Ledger{View: s.view(), Receipt: s.receipt}
	case DrawSample:
		ids := []uint32{}
		for i := range uint32(10) {
			ids = append(ids, uint32(e.Plan.Plan.Nonce[0])<<8+i)
		}
		s.samples[e.Plan.ID] = ids
		return Sampled{e.Plan.ID, ids}
	case StartGeneration:
		s.running = &e
	case AbortGeneration:
		s.running = nil
	case AddNoise:
		s.noises[e.Plan.Charge]++
		if s.receipt != e.Plan.Charge {
			panic("noise without the receipt")
		}
		s.receipt = ledger.ChargeID{}
		if s.hold == "noise" {
			s.hold = ""
			return nil
		}
		s.blobs[e.Plan.Charge] = true
		return s.noised(e.Plan.Charge)
	case FindNoised:
		if s.blobs[e.Plan.Charge] {
			return s.noised(e.Plan.Charge)
		}
		return Missing{e.Plan.Charge}
	case Release:
		if s.release[e.Commits] == nil {
			s.release[e.Commits] = map[ledger.Hash]struct{}{}
		}
		s.release[e.Commits][e.State] = struct{}{}
		return Done{}
	case Checkpoint:
		s.mark = e.At
		return Done{}
	case Finish:
		s.ended, s.err = true, e.Err
	}
	return nil
}

// noised is the answer for a durable noised sum; applying it twice gives the
// same state.
func (s *sim) noised(charge ledger.ChargeID) Event {
	s.state = sha256.Sum256(append([]byte("state after "), charge[:]...))
	return Durable{Charge: charge, Blob: sha256.Sum256(charge[:]), NewState: s.state}
}

// propose applies an entry, unless its kind is held: "lost" drops it, "kept"
// applies it; both leave the proposer without an answer.
func (s *sim) propose(kind string, e ledger.Entry) Event {
	held, what, _ := strings.Cut(s.hold, " ")
	if held == "lost" && what == kind {
		s.hold = ""
		return Unknown{fmt.Errorf("timed out")}
	}
	a := s.apply(e)
	if a.Err != nil {
		return Refused{a.Err}
	}
	if held == "kept" && what == kind {
		s.hold = ""
		return Unknown{fmt.Errorf("timed out")}
	}
	if held == "crash" && what == kind {
		s.hold = ""
		return nil
	}
	if a.Receipt.Live() {
		s.receipt = a.Receipt.ChargeID()
	}
	return Ledger{View: s.view(), Receipt: s.receipt}
}

// say writes an effect without hashes.
func (s *sim) say(effect Effect) {
	if s.silent {
		return
	}
	text := strings.TrimPrefix(fmt.Sprintf("%T", effect), "core.")
	switch e := effect.(type) {
	case ProposePlan:
		text += fmt.Sprintf(" step %d", e.Step)
	case StartGeneration:
		text += fmt.Sprintf(" %d, attempt %d:", e.Generation, e.Attempt)
		for _, w := range slices.Sorted(maps.Keys(e.Shares)) {
			text += fmt.Sprintf(" %s has %d", w, len(e.Shares[w]))
		}
	case AbortGeneration:
		text += fmt.Sprint(" ", e.Generation)
	case Release:
		text += fmt.Sprintf(" after %d commits", e.Commits)
	case Checkpoint:
		text += fmt.Sprintf(" after %d commits, %d charges", e.At.Commits, e.At.Charges)
	case Wait:
		text += fmt.Sprintf(" with %d of %d workers", e.Ready, e.Need)
	case Retry:
		text += ": " + e.Reason
	case Finish:
		text += fmt.Sprint(": ", e.Err)
	}
	s.log = append(s.log, text)
}
