package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/dploda/dploda/coordinator/core"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/noise"
	"github.com/dploda/dploda/dp/sampler"
	"github.com/dploda/dploda/worker/fleet"
)

// do carries out one effect and returns its answer. An error is the answer
// Broken.
func (s *session) do(ctx context.Context, effect core.Effect) ([]core.Event, error) {
	switch e := effect.(type) {
	case core.ProposePlan, core.ProposeCharge, core.ProposeCommit, core.ProposeComplete:
		return s.propose(e)
	case core.Resync:
		if err := s.c.ledger.barrier(); err != nil {
			return nil, s.c.ledger.explain(err)
		}
		return []core.Event{s.ledgerEvent()}, nil
	case core.DrawSample:
		return s.drawSample(e)
	case core.StartGeneration:
		return s.start(ctx, e)
	case core.AbortGeneration:
		s.c.opt.Fleet.Abort(e.Generation)
		s.wipeSum()
	case core.AddNoise:
		return s.addNoise(e)
	case core.FindNoised:
		return s.findNoised(e)
	case core.Release:
		return s.release(ctx, e)
	case core.Checkpoint:
		return s.checkpoint(e)
	case core.Wait:
		note := fmt.Sprintf("waiting for workers: %d of at least %d are ready", e.Ready, e.Need)
		s.c.log.Info(note)
		s.report(note)
	case core.Retry:
		s.c.log.Warn("the step is computed again", "step", s.phaseView().Commits, "cause", e.Reason)
		s.report("computing the step again: " + e.Reason)
	case core.Finish:
		s.done, s.result = true, e.Err
	}
	return nil, nil
}

// propose turns the core's proposal into an entry on the ledger's head.
func (s *session) propose(effect core.Effect) ([]core.Event, error) {
	kind, build := s.entry(effect)
	answer, err := s.c.propose(kind, build)
	var unknown errUnknown
	var crash errCrash
	switch {
	case errors.As(err, &crash):
		return nil, err
	case errors.As(err, &unknown):
		return []core.Event{core.Unknown{Err: err}}, nil
	case err != nil:
		return []core.Event{core.Refused{Err: err}}, nil
	}
	if answer.Receipt.Live() {
		s.receipt = answer.Receipt
	}
	return []core.Event{s.ledgerEvent()}, nil
}

func (s *session) entry(effect core.Effect) (kind string, build func(prev ledger.Hash) ledger.Entry) {
	run := s.c.run
	switch e := effect.(type) {
	case core.ProposePlan:
		nonce := s.c.secrets.nonce(e.Phase, e.Step)
		return "plan", func(prev ledger.Hash) ledger.Entry {
			return ledger.Plan{Run: run, Prev: prev, Phase: e.Phase, Step: e.Step, Nonce: nonce, Arithmetic: s.c.opt.Arithmetic, State: s.state}
		}
	case core.ProposeCharge:
		id := newChargeID()
		s.c.ledger.fsm.claim(id)
		return "charge", func(prev ledger.Hash) ledger.Entry {
			return ledger.Charge{Run: run, Prev: prev, Plan: e.Plan, Charge: id}
		}
	case core.ProposeCommit:
		return "commit", func(prev ledger.Hash) ledger.Entry {
			return ledger.Commit{Run: run, Prev: prev, Plan: e.Plan, Charge: e.Charge, Blob: e.Blob, PrevState: e.PrevState, NewState: e.NewState}
		}
	case core.ProposeComplete:
		return "complete", func(prev ledger.Hash) ledger.Entry {
			return ledger.Complete{Run: run, Prev: prev, Phase: e.Phase}
		}
	}
	panic(fmt.Sprintf("no entry for %T", effect))
}

// drawSample tosses the Plan's coins, and begins to draw the Plan's noise while
// the workers compute.
func (s *session) drawSample(e core.DrawSample) ([]core.Event, error) {
	s.wipeSum()
	if s.source != nil {
		s.source.Wipe()
	}
	source := s.c.secrets.source(s.mechanism, e.Plan.Plan.Step)
	s.source = source
	s.drawing.Go(func() { source.Prepare(1) })
	ids := sampler.Coins(s.c.secrets.key, s.c.secrets.plan(s.mechanism, e.Plan.Plan)).Sample(s.phase.Examples)
	return []core.Event{core.Sampled{Plan: e.Plan.ID, IDs: ids}}, nil
}

func (s *session) start(ctx context.Context, e core.StartGeneration) ([]core.Event, error) {
	if e.Plan.Plan.Arithmetic != s.c.opt.Arithmetic {
		return nil, fmt.Errorf("step %d was planned for arithmetic %s, and this coordinator's workers compute in %s", e.Plan.Plan.Step, e.Plan.Plan.Arithmetic, s.c.opt.Arithmetic)
	}
	s.wipeSum()
	s.generation = e.Generation
	a := fleet.Assignment{Run: s.c.run, Phase: s.mechanism.Phase, Step: e.Plan.Plan.Step, Attempt: e.Attempt,
		DrawKey: sampler.DrawKey(s.c.secrets.key, s.c.secrets.plan(s.mechanism, e.Plan.Plan)), State: e.Plan.Plan.State, Dim: s.mechanism.Dim}
	err := s.c.opt.Fleet.Start(context.WithoutCancel(ctx), e.Generation, a, e.Shares)
	if err == nil {
		return nil, s.c.arrow("generation started")
	}
	var events []core.Event
	for _, name := range s.missing(e.Shares) {
		events = append(events, core.Lost{Worker: name, Cause: "it left before the step began"})
	}
	if events == nil {
		events = []core.Event{core.Failed{Generation: e.Generation, Reason: "the step could not be given to the workers: " + err.Error()}}
	}
	return events, nil
}

// addNoise: the only place where a sum leaves its exact form. The state is
// computed before the Commit that names it; if that Commit does not come to be,
// the learner is ahead of the ledger and is rebuilt at the next opening.
func (s *session) addNoise(e core.AddNoise) ([]core.Event, error) {
	if s.sum == nil || s.source == nil {
		return nil, errors.New("there is no sum to add noise to")
	}
	noised, err := noise.AddNoise(*s.sum, s.receipt, s.source)
	s.wipeSum()
	s.receipt, s.source = ledger.ChargeReceipt{}, nil
	if err != nil {
		return nil, err
	}
	if err := s.c.arrow("noise added"); err != nil {
		return nil, err
	}
	blob, err := s.files.putSum(noised)
	if err != nil {
		return nil, err
	}
	if err := s.c.arrow("noised sum durable"); err != nil {
		return nil, err
	}
	return s.durable(e.Plan, blob, noised.Values())
}

func (s *session) durable(open ledger.OpenPlan, blob ledger.Hash, noised []int32) ([]core.Event, error) {
	if err := s.checkState(int(open.Plan.Step), open.Plan.State); err != nil {
		return nil, err
	}
	if err := s.learn(open.Plan.Step, noised); err != nil {
		return nil, err
	}
	return []core.Event{core.Durable{Charge: open.Charge, Blob: blob, NewState: s.state}}, nil
}

func (s *session) findNoised(e core.FindNoised) ([]core.Event, error) {
	blob, noised, found := s.files.findSum(e.Plan.ID, e.Plan.Charge)
	if !found {
		s.c.log.Warn("a charge has no noised sum; its step is computed again with a new sample, at the cost of one more charge", "step", e.Plan.Plan.Step)
		return []core.Event{core.Missing{Charge: e.Plan.Charge}}, nil
	}
	return s.durable(e.Plan, blob, noised)
}

func (s *session) release(ctx context.Context, e core.Release) ([]core.Event, error) {
	if err := s.checkState(e.Commits, e.State); err != nil {
		return nil, err
	}
	if err := s.c.arrow("before release"); err != nil {
		return nil, err
	}
	err := s.c.opt.Fleet.Release(ctx, fleet.Release{Phase: s.mechanism.Phase, Step: uint64(e.Commits), StateHash: e.State, Parameters: s.phase.Learner.Parameters()})
	if err != nil && ctx.Err() == nil { // when stopping, the next opening releases again
		return nil, fmt.Errorf("the released state cannot be handed to the workers: %w", err)
	}
	s.report("")
	return []core.Event{core.Done{}}, s.c.arrow("after release")
}

func (s *session) checkpoint(e core.Checkpoint) ([]core.Event, error) {
	if s.applied != e.At.Commits {
		return nil, errState
	}
	state, learner, err := stateHash(s.phase.Learner)
	if err != nil {
		return nil, err
	}
	if err := s.c.arrow("before checkpoint"); err != nil {
		return nil, err
	}
	view := s.c.ledger.fsm.view()
	p := position{Run: s.c.run.String(), Phase: s.mechanism.Phase, Commits: e.At.Commits, Charges: e.At.Charges,
		State: state.String(), Entries: view.Entries, Head: view.Head.String()}
	if err := s.files.putCheckpoint(p, learner); err != nil {
		return nil, err
	}
	if err := s.c.arrow("checkpoint durable"); err != nil {
		return nil, err
	}
	commits := commitsOf(s.c.ledger.fsm.events(), s.c.run, s.mechanism.Phase)
	return []core.Event{core.Done{}}, s.files.retain(commits, s.view().Open)
}
