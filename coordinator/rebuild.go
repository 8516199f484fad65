package coordinator

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/coordinator/core"
	"github.com/dploda/dploda/dp/ledger"
)

// commit is a Commit of one phase with the step it committed.
type commit struct {
	ledger.Commit
	Step uint64
}

// commitsOf returns a phase's commits in order; commit i is of step i.
func commitsOf(events [][]byte, run ledger.RunID, phase string) []commit {
	steps := map[ledger.PlanID]uint64{}
	var commits []commit
	for _, raw := range events {
		e, err := ledger.Decode(raw)
		if err != nil {
			panic(err) // the machine accepted it
		}
		switch e := e.(type) {
		case ledger.Plan:
			if e.Run == run && e.Phase == phase {
				steps[ledger.PlanID(ledger.HashOf(raw))] = e.Step
			}
		case ledger.Commit:
			if step, ok := steps[e.Plan]; ok {
				commits = append(commits, commit{e, step})
			}
		}
	}
	return commits
}

func stateHash(l Learner) (ledger.Hash, []byte, error) {
	b, err := l.MarshalState()
	return sha256.Sum256(b), b, err
}

// rebuild brings the learner to the state that the ledger names: from the
// newest checkpoint that is whole, or from its initial state, over the noised
// sums committed since. It returns the mark of the checkpoint.
func (s *session) rebuild() (core.Mark, error) {
	view := s.phaseView()
	initialHash, initial, err := stateHash(s.phase.Learner)
	if err != nil {
		return core.NoCheckpoint, err
	}
	commits := commitsOf(s.c.ledger.fsm.events(), s.c.run, s.mechanism.Phase)
	want := func(n int) (ledger.Hash, bool) { // the ledger's state after n commits
		switch {
		case n > 0:
			return commits[n-1].NewState, true
		case len(commits) > 0:
			return commits[0].PrevState, true
		}
		return view.State, view.Started
	}
	refs, err := s.files.checkpoints.List()
	if err != nil {
		return core.NoCheckpoint, err
	}
	for _, ref := range slices.Backward(refs) {
		p, learner, err := s.files.checkpoint(ref)
		if err != nil {
			s.c.log.Warn("a checkpoint is damaged; an earlier one serves", "cause", err)
			continue
		}
		if err := s.checkPosition(p, ref, len(commits)); err != nil {
			return core.NoCheckpoint, err
		}
		if state, known := want(p.Commits); !known || p.State != state.String() || sha256.Sum256(learner) != [32]byte(state) {
			continue // of an initial state that was never planned with
		}
		if err := s.phase.Learner.UnmarshalState(learner); err != nil {
			return core.NoCheckpoint, fmt.Errorf("the checkpoint %s does not fit this run's learner: %w", s.files.checkpoints.Path(ref), err)
		}
		return p.mark(), s.replaySums(commits, p.Commits)
	}
	if state, known := want(0); known && state != initialHash {
		return core.NoCheckpoint, fmt.Errorf("phase %q was begun from another initial state (another base model or configuration), and no whole checkpoint is left in %s", s.mechanism.Phase, runFolder(s.c.opt.StateDir, s.c.run))
	}
	if err := s.phase.Learner.UnmarshalState(initial); err != nil {
		return core.NoCheckpoint, fmt.Errorf("the learner of phase %q does not take its own initial state: %w", s.mechanism.Phase, err)
	}
	return core.NoCheckpoint, s.replaySums(commits, 0)
}

// checkPosition refuses a ledger that is behind a checkpoint or not the one
// that it was made with.
func (s *session) checkPosition(p position, ref checkpoint.Ref, commits int) error {
	head, err := parseHash(p.Head)
	if err != nil {
		return err
	}
	events := s.c.ledger.fsm.events()
	switch {
	case p.Run != s.c.run.String() || p.Phase != s.mechanism.Phase:
		return fmt.Errorf("the checkpoint %s is of another run or phase", s.files.checkpoints.Path(ref))
	case p.Commits < 0 || p.Commits > commits || p.Entries < 1 || p.Entries > len(events) || ledger.HashOf(events[p.Entries-1]) != head:
		return fmt.Errorf("the ledger in %s is not the one with which the checkpoint %s was made: it was lost, edited or rolled back, and what was spent is not known", s.c.opt.StateDir, s.files.checkpoints.Path(ref))
	}
	return nil
}

// replaySums applies the noised sums committed from step from on. Every state
// must be the ledger's.
func (s *session) replaySums(commits []commit, from int) error {
	for _, c := range commits[from:] {
		values, err := s.files.sum(c.Blob, c.Plan, c.Charge)
		if err != nil {
			return fmt.Errorf("step %d of phase %q cannot be applied again, and no later checkpoint is whole: %w", c.Step, s.mechanism.Phase, err)
		}
		if err := s.learn(c.Step, values); err != nil {
			return err
		}
		if s.state != c.NewState {
			return fmt.Errorf("applying step %d of phase %q again gives another state than the ledger's: the learner or the arithmetic has changed", c.Step, s.mechanism.Phase)
		}
	}
	s.applied = len(commits)
	var err error
	s.state, _, err = stateHash(s.phase.Learner)
	return err
}

// learn applies one noised sum and takes the new state's hash.
func (s *session) learn(step uint64, noised []int32) error {
	if len(noised) != s.mechanism.Dim {
		return fmt.Errorf("a noised sum of phase %q has %d coordinates instead of %d", s.mechanism.Phase, len(noised), s.mechanism.Dim)
	}
	err := s.phase.Learner.Apply(step, noised)
	if err != nil {
		return fmt.Errorf("the learner of phase %q failed on step %d: %w", s.mechanism.Phase, step, err)
	}
	s.state, _, err = stateHash(s.phase.Learner)
	s.applied++
	return err
}
