package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
)

// Coordinator holds one run and the site's ledger. Its methods are for one
// goroutine, Ledger, Events and Export excepted.
type Coordinator struct {
	opt     Options
	log     *slog.Logger
	run     ledger.RunID
	site    *Site
	ledger  *raftLedger // the site's
	secrets *secrets    // nil once the run is complete
	speeds  map[string]float64
	starts  uint64 // phases begun by this process; part of generation numbers
}

// Open locks the state directory, recovers the ledger and admits the run if
// the ledger does not know it yet. ctx is not kept.
func Open(ctx context.Context, o Options) (_ *Coordinator, err error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	site, err := openSite(o.StateDir, o.Logger, o.wrapLog)
	if err != nil {
		return nil, err
	}
	c := &Coordinator{opt: o, log: o.Logger, run: o.Run.ID, site: site, ledger: site.ledger, speeds: map[string]float64{}}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.checkRun(); err != nil {
		return nil, err
	}
	return c, c.admit()
}

// checkRun compares what lies on disk with the ledger, before anything is added
// to it.
func (c *Coordinator) checkRun() error {
	view := c.ledger.fsm.view()
	for _, r := range view.Runs {
		if r.Admit.TestMode != (c.opt.TestSeed != nil) {
			return fmt.Errorf("the ledger in %s holds runs with real noise or runs in test mode, never both; choose another directory with --state", c.opt.StateDir)
		}
	}
	known := map[string]bool{}
	for _, raw := range c.ledger.fsm.events() {
		if e, _ := ledger.Decode(raw); e != nil {
			if charge, ok := e.(ledger.Charge); ok && charge.Run == c.run {
				known[charge.Charge.String()] = true
			}
		}
	}
	_, admitted := view.Run(c.run)
	if _, err := os.Stat(runFolder(c.opt.StateDir, c.run)); err == nil && !admitted {
		return c.unknownRun()
	}
	if !admitted && c.opt.Resume {
		return c.unknownRun()
	}
	for _, m := range c.opt.Run.Phases {
		if !admitted {
			break
		}
		files, err := openPhaseFiles(c.opt.StateDir, c.run, m.Phase)
		if err != nil {
			return err
		}
		if err := files.checkSums(known, c.opt.StateDir); err != nil {
			return err
		}
	}
	return nil
}

func (c *Coordinator) unknownRun() error {
	return fmt.Errorf("the ledger in %s does not know run %s, which was begun: a run cannot continue without its ledger, for what it spent is not known; give the right directory with --state or start a new run", c.opt.StateDir, c.run)
}

// Run takes the run through the phases given, which follow on one another and
// on the completed ones; a completed phase's learner is brought to its final
// state. observe may be nil; it is called from Run's goroutine.
//
// When ctx ends, an uncharged step is abandoned, a charged one is finished, a
// checkpoint is written and Run returns ctx's error with ErrStopped. After any
// other error what is in memory may be ahead of the ledger: close the
// Coordinator and open it again.
func (c *Coordinator) Run(ctx context.Context, phases []Phase, observe func(Progress)) error {
	if observe == nil {
		observe = func(Progress) {}
	}
	for _, p := range phases {
		if err := c.runPhase(ctx, p, observe); err != nil {
			return err
		}
	}
	if r, _ := c.ledger.fsm.run(c.run); r.Complete() {
		if err := c.arrow("before key is destroyed"); err != nil {
			return err
		}
		return destroyKey(c.opt.StateDir, c.run)
	}
	return nil
}

func (c *Coordinator) runPhase(ctx context.Context, p Phase, observe func(Progress)) error {
	r, ok := c.ledger.fsm.run(c.run)
	i := slices.Index(r.Admit.Phases, p.Mechanism)
	if !ok || i < 0 {
		return fmt.Errorf("phase %q was not admitted like this", p.Mechanism.Phase)
	}
	if current := r.Current(); current >= 0 && current < i {
		return fmt.Errorf("phase %q cannot begin before phase %q is complete", p.Mechanism.Phase, r.Admit.Phases[current].Phase)
	}
	s, err := newSession(c, p, i, observe)
	if err != nil {
		return err
	}
	defer s.end()
	mark, err := s.rebuild()
	if err != nil || r.Phases[i].Complete {
		return err
	}
	if c.opt.Fleet == nil {
		return errors.New("the coordinator has no fleet to compute with")
	}
	return s.loop(ctx, mark)
}

// propose proposes what make builds on the ledger's head. The answer's own
// error, a refusal, is returned as the state machine gave it; any other error
// is an errUnknown.
func (c *Coordinator) propose(kind string, make func(prev ledger.Hash) ledger.Entry) (ledger.Answer, error) {
	if err := c.arrow("before " + kind); err != nil {
		return ledger.Answer{}, err
	}
	answer, err := c.ledger.propose(make(c.ledger.fsm.head()))
	if err != nil {
		return answer, errUnknown{err}
	}
	if answer.Err != nil {
		return answer, answer.Err
	}
	return answer, c.arrow("after " + kind)
}

// errUnknown: the entry may or may not be in the ledger.
type errUnknown struct{ error }

func (e errUnknown) Unwrap() error { return e.error }

// errCrash ends a process's work at an arrow, in tests.
type errCrash struct{ error }

func (e errCrash) Unwrap() error { return e.error }

func (c *Coordinator) arrow(name string) error {
	if c.opt.arrow == nil {
		return nil
	}
	if err := c.opt.arrow(name); err != nil {
		return errCrash{err}
	}
	return nil
}

// Ledger returns what the ledger knows, of all runs.
func (c *Coordinator) Ledger() ledger.View { return c.ledger.fsm.view() }

// Events returns the ledger's entries since it began, for accounting and
// verification. They must not be changed.
func (c *Coordinator) Events() [][]byte { return c.ledger.fsm.events() }

// Export returns the ledger as one file's content; see ledger.Import.
func (c *Coordinator) Export() []byte { return ledger.Export(c.Events()) }

// Mechanisms returns the run's admitted phases.
func (c *Coordinator) Mechanisms() []plan.Mechanism {
	r, _ := c.ledger.fsm.run(c.run)
	return slices.Clone(r.Admit.Phases)
}

// Close stops the ledger and frees the state directory. The fleet stays open.
func (c *Coordinator) Close() error {
	if c.secrets != nil {
		clear(c.secrets.key[:])
	}
	return c.site.Close()
}
