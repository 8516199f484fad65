package core

import (
	"errors"
	"fmt"
	"maps"

	"github.com/dploda/dploda/dp/ledger"
)

// ErrStopped is Finish's error after Stop.
var ErrStopped = errors.New("stopped as asked; the same command continues")

// Config is fixed for a phase.
type Config struct {
	Phase           int    // index into the run's phases
	MinWorkers      int    // below it the run waits; at least 1
	MaxFailures     int    // failed attempts of one Plan after which the run stops; at least 1
	CheckpointEvery int    // charges that may follow a checkpoint; at least 1
	Generation      uint64 // generations start above it
}

// Core runs one phase of a run to its end.
type Core struct {
	cfg    Config
	view   ledger.RunView
	speeds map[string]float64

	known    bool // the view is current: no proposal is under way
	busy     bool // an effect's answer is awaited
	stopping bool
	finished bool
	waiting  int // workers ready when Wait was said last, -1 if not waiting

	generation uint64
	members    map[string][]uint32 // shares of the running generation, nil if none runs
	sample     *Sampled            // of the open Plan
	attempts   uint32              // generations of the open Plan
	failures   int                 // failed attempts of the open Plan
	sumOf      *ledger.PlanID      // the Plan whose checked sum the caller holds
	receipt    ledger.ChargeID
	searched   ledger.ChargeID // its noised sum was looked for and is missing
	durable    *Durable

	released   int // Commits of the last Release, -1 before
	checkpoint Mark
}

// Mark is a place in a phase.
type Mark struct{ Commits, Charges int }

// NoCheckpoint marks that a phase has none yet.
var NoCheckpoint = Mark{Commits: -1}

// New returns a core that waits for its first Ledger event. The newest durable
// checkpoint was made at the mark given.
func New(cfg Config, checkpoint Mark) *Core {
	return &Core{cfg: cfg, speeds: map[string]float64{}, generation: cfg.Generation, waiting: -1, released: -1, checkpoint: checkpoint}
}

// Step takes in what happened and returns what to do, in order.
func (c *Core) Step(e Event) []Effect {
	if c.finished {
		return nil
	}
	out := c.take(e)
	if c.finished || c.busy || !c.known {
		return out
	}
	return append(out, c.decide()...)
}

// take updates what the core remembers. Effects come from it only where an
// event ends something that is under way.
func (c *Core) take(e Event) []Effect {
	switch e := e.(type) {
	case Ledger:
		c.busy, c.known = false, true
		c.see(e)
	case Refused:
		return c.finish(fmt.Errorf("the ledger refused a proposal: %w", e.Err))
	case Unknown:
		c.known, c.busy = false, true
		return []Effect{Resync{}}
	case Joined:
		c.speeds[e.Worker] = e.Speed
	case Lost:
		return c.lose(e)
	case Failed:
		if c.members != nil && e.Generation == c.generation {
			return c.fail(cause(e))
		}
	case Sampled:
		c.busy = false
		c.sample = &e
	case SumArrived:
		return c.sum(e)
	case Durable:
		c.busy = false
		c.durable = &e
	case Missing:
		c.busy = false
		c.searched = e.Charge
	case Done:
		c.busy = false
	case Broken:
		return c.finish(e.Err)
	case Stop:
		c.stopping = true
	}
	return nil
}

// see adopts a view. Everything that belongs to another Plan is forgotten.
func (c *Core) see(e Ledger) {
	before := c.view.Open
	c.view, c.receipt = e.View, e.Receipt
	if now := c.view.Open; before == nil || now == nil || before.ID != now.ID {
		c.sample, c.sumOf, c.durable, c.members = nil, nil, nil, nil
		c.attempts, c.failures = 0, 0
	}
}

func (c *Core) lose(e Lost) []Effect {
	if _, ok := c.speeds[e.Worker]; !ok {
		return nil
	}
	delete(c.speeds, e.Worker)
	if _, ok := c.members[e.Worker]; !ok {
		return nil
	}
	return c.abort(fmt.Sprintf("worker %s is gone (%s)", e.Worker, e.Cause))
}

func cause(e Failed) string {
	if e.Worker == "" {
		return e.Reason
	}
	return fmt.Sprintf("worker %s: %s", e.Worker, e.Reason)
}

// fail counts a failed attempt of the running generation.
func (c *Core) fail(reason string) []Effect {
	c.failures++
	out := c.abort(reason)
	if c.failures >= c.cfg.MaxFailures {
		out = append(out, c.finish(fmt.Errorf("step %d of phase %q failed %d times, the last time because of %s; nothing was released and the ledger is intact",
			c.view.Open.Plan.Step, c.view.Open.Plan.Phase, c.failures, reason))...)
	}
	return out
}

func (c *Core) abort(reason string) []Effect {
	c.members = nil
	return []Effect{AbortGeneration{c.generation}, Retry{reason}}
}

// sum takes in a generation's sum if every example of the sample has
// contributed once. The numbers are private: a mismatch is told without them.
func (c *Core) sum(e SumArrived) []Effect {
	if c.members == nil || e.Generation != c.generation {
		return nil
	}
	if e.Count != int64(len(c.sample.IDs)) {
		return c.fail("a sum in which not every example of the sample was counted exactly once")
	}
	c.members = nil
	id := c.view.Open.ID
	c.sumOf = &id
	return nil
}

func (c *Core) finish(err error) []Effect {
	c.finished = true
	var out []Effect
	if c.members != nil {
		out = append(out, AbortGeneration{c.generation})
	}
	c.members = nil
	return append(out, Finish{err})
}

// await marks the effect as the one whose answer comes next.
func (c *Core) await(e Effect) []Effect {
	c.busy = true
	return []Effect{e}
}

// propose is await for an entry: the view is out of date until it is answered.
func (c *Core) propose(e Effect) []Effect {
	c.known = false
	return c.await(e)
}

// decide is the step protocol: what the ledger says decides what comes next.
func (c *Core) decide() []Effect {
	switch open := c.view.Open; {
	case open == nil:
		return c.between()
	case !open.Charged:
		return c.computing(open)
	default:
		return c.charged(open)
	}
}

// between two steps: release what was committed, then plan the next step.
func (c *Core) between() []Effect {
	p := c.phase()
	if p.Complete {
		return c.finish(nil)
	}
	if p.Started && c.released != p.Commits {
		c.released = p.Commits
		return c.await(Release{Commits: p.Commits, State: p.State})
	}
	last := p.Commits == p.Mechanism.Steps
	switch {
	case (last || c.stopping) && c.checkpoint != c.here():
		return c.save()
	case last:
		return c.propose(ProposeComplete{p.Mechanism.Phase})
	case c.stopping:
		return c.finish(ErrStopped)
	}
	return c.plan()
}

// plan proposes the next step's Plan, or a step's next Plan.
func (c *Core) plan() []Effect {
	p := c.phase()
	if c.checkpoint.Commits < 0 || p.Charges-c.checkpoint.Charges >= c.cfg.CheckpointEvery {
		return c.save()
	}
	if p.Charges >= p.Mechanism.Charges() {
		return c.finish(fmt.Errorf("%w: all %d charges of phase %q (%d steps and a reserve of %d) are spent with %d steps released, because the others were lost in crashes",
			ledger.ErrSpent, p.Charges, p.Mechanism.Phase, p.Mechanism.Steps, p.Mechanism.Reserve, p.Commits))
	}
	return c.propose(ProposePlan{Phase: p.Mechanism.Phase, Step: uint64(p.Commits)})
}

func (c *Core) here() Mark { return Mark{Commits: c.phase().Commits, Charges: c.phase().Charges} }

func (c *Core) save() []Effect {
	c.checkpoint = c.here()
	return c.await(Checkpoint{c.checkpoint})
}

// computing: the Plan has no charge. It is retried for ever with one sample.
func (c *Core) computing(open *ledger.OpenPlan) []Effect {
	switch {
	case c.stopping:
		return c.abandon()
	case c.sumOf != nil:
		return c.propose(ProposeCharge{open.ID})
	case c.members != nil:
		return nil
	case c.released != c.phase().Commits:
		c.released = c.phase().Commits
		return c.await(Release{Commits: c.phase().Commits, State: open.Plan.State})
	case c.sample == nil:
		return c.await(DrawSample{*open})
	}
	if len(c.speeds) < c.cfg.MinWorkers {
		if c.waiting == len(c.speeds) {
			return nil
		}
		c.waiting = len(c.speeds)
		return []Effect{Wait{Ready: len(c.speeds), Need: c.cfg.MinWorkers}}
	}
	c.waiting = -1
	return c.start(open)
}

func (c *Core) start(open *ledger.OpenPlan) []Effect {
	shares := share(c.sample.IDs, maps.Clone(c.speeds))
	if err := checkPartition(c.sample.IDs, shares); err != nil {
		return c.finish(err)
	}
	c.generation++
	c.members = shares
	e := StartGeneration{Generation: c.generation, Attempt: c.attempts, Plan: *open, Shares: shares}
	c.attempts++
	return []Effect{e}
}

// abandon leaves an uncharged Plan open: resuming it has the same sample.
func (c *Core) abandon() []Effect {
	if c.checkpoint != c.here() {
		return c.save()
	}
	return c.finish(ErrStopped)
}

// charged: the noise is paid for. It is added once, by the holder of the
// receipt; whoever has neither receipt nor noised sum begins a new Plan.
func (c *Core) charged(open *ledger.OpenPlan) []Effect {
	switch {
	case c.durable != nil && c.durable.Charge == open.Charge:
		d := c.durable
		return c.propose(ProposeCommit{Plan: open.ID, Charge: open.Charge, Blob: d.Blob, PrevState: open.Plan.State, NewState: d.NewState})
	case c.receipt == open.Charge && c.sumOf != nil:
		c.sumOf = nil
		return c.await(AddNoise{Plan: *open, Generation: c.generation})
	case c.searched != open.Charge:
		return c.await(FindNoised{*open})
	case c.stopping:
		return c.abandon()
	}
	return c.plan()
}

func (c *Core) phase() ledger.PhaseView { return c.view.Phases[c.cfg.Phase] }
