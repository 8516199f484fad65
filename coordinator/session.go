package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/dploda/dploda/coordinator/core"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/noise"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/worker/fleet"
)

// session carries one phase from where the ledger has it to its end. It holds
// what the core must not see: vectors, noise and receipts.
type session struct {
	c         *Coordinator
	phase     Phase
	mechanism plan.Mechanism
	index     int
	files     *phaseFiles
	observe   func(Progress)
	core      *core.Core

	state   ledger.Hash // of the learner, as it is in memory
	applied int         // noised sums that the learner has taken in

	generation uint64          // whose sum is awaited or held; 0 for none
	sum        *noise.ExactSum // of generation
	receipt    ledger.ChargeReceipt
	source     *noise.Source // of the open Plan
	drawing    sync.WaitGroup

	result error
	done   bool
}

func newSession(c *Coordinator, p Phase, index int, observe func(Progress)) (*session, error) {
	files, err := openPhaseFiles(c.opt.StateDir, c.run, p.Mechanism.Phase)
	if err != nil {
		return nil, err
	}
	files.checkpoints.InjectFaults(c.opt.fault)
	files.sums.InjectFaults(c.opt.fault)
	return &session{c: c, phase: p, mechanism: p.Mechanism, index: index, files: files, observe: observe}, nil
}

// loop feeds the core until it finishes. Effects are carried out in this
// goroutine, in their order; only noise is drawn beside it.
func (s *session) loop(ctx context.Context, mark core.Mark) error {
	s.c.starts++
	s.core = core.New(core.Config{
		Phase: s.index, MinWorkers: s.c.opt.MinWorkers, MaxFailures: s.c.opt.MaxFailures, CheckpointEvery: s.c.opt.CheckpointEvery,
		// Above every generation of earlier phases and processes: workers ignore lower ones.
		Generation: s.c.ledger.term()<<40 | s.c.starts<<32,
	}, mark)
	for _, name := range s.c.opt.Fleet.Workers() {
		s.core.Step(core.Joined{Worker: name, Speed: s.c.speeds[name]})
	}
	s.feed(ctx, s.ledgerEvent())
	stop := ctx.Done()
	for !s.done {
		select {
		case e, ok := <-s.c.opt.Fleet.Events():
			if !ok {
				s.feed(ctx, core.Broken{Err: errors.New("the fleet of workers was closed while the run needs it")})
				break
			}
			s.hear(ctx, e)
		case <-stop:
			stop = nil
			s.feed(ctx, core.Stop{})
		}
	}
	if errors.Is(s.result, core.ErrStopped) {
		return fmt.Errorf("%w: %w", s.result, ctx.Err())
	}
	return s.result
}

// end waits for what runs beside the loop and wipes what it holds.
func (s *session) end() {
	s.wipeSum()
	if s.source != nil {
		s.source.Wipe()
	}
	s.drawing.Wait()
}

func (s *session) feed(ctx context.Context, events ...core.Event) {
	for len(events) > 0 {
		e := events[0]
		events = events[1:]
		for _, effect := range s.core.Step(e) {
			answers, err := s.do(ctx, effect)
			if err != nil {
				answers = []core.Event{core.Broken{Err: err}}
			}
			events = append(events, answers...)
		}
	}
}

// hear turns what the fleet says into the core's events.
func (s *session) hear(ctx context.Context, e fleet.Event) {
	switch e := e.(type) {
	case fleet.Joined:
		s.c.speeds[e.Worker] = e.Speed
		s.feed(ctx, core.Joined{Worker: e.Worker, Speed: e.Speed})
	case fleet.Lost:
		s.c.log.Warn("a worker is gone", "worker", e.Worker, "cause", e.Cause)
		s.feed(ctx, core.Lost{Worker: e.Worker, Cause: e.Cause})
	case fleet.Failed:
		s.feed(ctx, core.Failed{Worker: e.Worker, Generation: e.Generation, Reason: e.Reason})
	case fleet.Sum:
		if err := s.c.arrow("sum arrived"); err != nil {
			s.feed(ctx, core.Broken{Err: err})
			return
		}
		s.feed(ctx, s.hold(e))
	}
}

// hold takes a generation's sum in. The count coordinate is stripped here; the
// core compares it in memory and forgets it.
func (s *session) hold(e fleet.Sum) core.Event {
	open := s.view().Open
	if e.Generation != s.generation || s.sum != nil || open == nil {
		clear(e.Values)
		return core.SumArrived{} // of a generation that ended; the core ignores it
	}
	if len(e.Values) != s.mechanism.Dim+1 {
		clear(e.Values)
		return core.Failed{Generation: e.Generation, Reason: "the workers' sum has the wrong length"}
	}
	count := int64(e.Values[s.mechanism.Dim])
	e.Values[s.mechanism.Dim] = 0
	sum, err := noise.NewExactSum(s.mechanism, open.ID, e.Values[:s.mechanism.Dim])
	if err != nil {
		clear(e.Values)
		return core.Broken{Err: err}
	}
	s.sum = &sum
	return core.SumArrived{Generation: e.Generation, Count: count}
}

func (s *session) wipeSum() {
	if s.sum != nil {
		s.sum.Wipe()
	}
	s.sum, s.generation = nil, 0
}

func (s *session) view() ledger.RunView {
	r, _ := s.c.ledger.fsm.run(s.c.run)
	return r
}

func (s *session) phaseView() ledger.PhaseView { return s.view().Phases[s.index] }

func (s *session) ledgerEvent() core.Event {
	e := core.Ledger{View: s.view()}
	if s.receipt.Live() {
		e.Receipt = s.receipt.ChargeID()
	}
	return e
}

func (s *session) report(note string) {
	p := s.phaseView()
	s.observe(Progress{Phase: s.mechanism.Phase, Step: p.Commits, Steps: s.mechanism.Steps, Charges: p.Charges,
		Workers: len(s.c.opt.Fleet.Workers()), Note: note})
}

// missing returns the ranks of shares that the fleet no longer counts as ready.
func (s *session) missing(shares map[string][]uint32) []string {
	ready := s.c.opt.Fleet.Workers()
	var gone []string
	for name := range shares {
		if !slices.Contains(ready, name) {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone
}

var errState = errors.New("the learner is not in the state that the ledger names; close the coordinator and open it again")

func (s *session) checkState(commits int, state ledger.Hash) error {
	if s.applied != commits || s.state != state {
		return fmt.Errorf("phase %q: %w", s.mechanism.Phase, errState)
	}
	return nil
}
