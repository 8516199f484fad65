package audit

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/tags"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

// kind names the arithmetic of the audit's own tasks: integers.
const kind = "audit-integers-1"

// trial is one run of one phase, from Admit to Complete, through everything
// that a real run goes through: a ledger in raft on disk, a bus, a fleet, the
// ring, workers, coins, noise. Only what the examples contribute and who reads
// the releases are the audit's.
type trial struct {
	mechanism plan.Mechanism
	budget    ledger.Budget
	examples  int
	workers   int
	kind      string // of arithmetic
	newTask   func() (worker.Task, error)
	learner   coordinator.Learner // nil: the releases are recorded, and nothing is learned
	testSeed  *uint64             // predictable noise: for the control and for tests

	// process, if set, is the command that runs ServeWorker; every worker is then
	// a process of its own, the task the one that job describes, and the last
	// worker is killed in the middle of a step.
	process func(ctx context.Context, args ...string) *exec.Cmd
	job     []byte
}

// release is what one step let out, with what the workers computed it from.
type release struct {
	noised     []int32
	parameters []byte // before the step
}

// outcome is what a trial let out and what it was charged.
type outcome struct {
	releases []release
	charges  int
	killed   bool // a worker, in the middle of a step
}

const (
	phaseName = "audit"
	joinLimit = 30 * time.Second
)

// perform runs the trial in a throw-away state folder.
func (t trial) perform(ctx context.Context) (_ *outcome, err error) {
	dir, err := os.MkdirTemp("", "dploda-audit-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var run ledger.RunID
	rand.Read(run[:])
	server, err := bus.Start(bus.Options{Run: run.String()[:16], Listen: t.process != nil})
	if err != nil {
		return nil, err
	}
	defer server.Shutdown()
	f, err := natsfleet.Open(natsfleet.Options{Server: server, Run: run, Kind: t.kind, Job: t.job})
	if err != nil {
		return nil, err
	}
	out := &outcome{}
	crew := crew{trial: t, server: server, out: out, broken: cancel}
	defer func() {
		err = errors.Join(err, f.Close())
		cancel(nil) // for those that never joined
		crew.group.Wait()
	}()
	for i := range t.workers {
		if err := crew.start(ctx, i); err != nil {
			return nil, err
		}
	}
	if err := awaitWorkers(ctx, f, t.workers); err != nil {
		return nil, err
	}
	c, err := coordinator.Open(ctx, coordinator.Options{
		StateDir: dir, Fleet: f, Arithmetic: t.kind, TestSeed: t.testSeed,
		Run: coordinator.RunIdentity{
			ID: run, Public: true, Unit: ledger.UnitImage, Budget: t.budget, Phases: []plan.Mechanism{t.mechanism},
			Tags: func([]byte) ([]tags.Tag, error) { return nil, nil }, // the data are made up
		},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	phase := coordinator.Phase{Mechanism: t.mechanism, Examples: t.examples, Learner: &recorder{inner: t.learner, out: out}}
	if err := c.Run(ctx, []coordinator.Phase{phase}, nil); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	r, _ := c.Ledger().Run(run)
	out.charges = r.Phases[0].Charges
	return out, nil
}

func awaitWorkers(ctx context.Context, f *natsfleet.Fleet, n int) error {
	late := time.After(joinLimit)
	for len(f.Workers()) < n {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return fmt.Errorf("%d of %d workers joined within %v", len(f.Workers()), n, joinLimit)
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// crew are a trial's workers.
type crew struct {
	trial
	server *bus.Server
	out    *outcome
	broken context.CancelCauseFunc
	group  sync.WaitGroup
}

// start starts worker i. All end when the fleet is closed.
func (c *crew) start(ctx context.Context, i int) error {
	credentials, err := c.server.AddWorker(fmt.Sprintf("worker-%d", i+1))
	if err != nil {
		return err
	}
	if c.process != nil {
		return c.startProcess(ctx, credentials, i == c.workers-1)
	}
	c.group.Go(func() {
		err := worker.Run(ctx, worker.Options{
			Connection: worker.InProcess(c.server, credentials), Kind: c.kind,
			NewTasks: func([]byte) (map[string]worker.Task, error) {
				task, err := c.newTask()
				return map[string]worker.Task{phaseName: task}, err
			},
		})
		if err != nil {
			c.broken(err)
		}
	})
	return nil
}

// victimFlag makes a worker process say so when it is in the middle of a step
// and stay there.
const victimFlag = "--stay"

const midStep = "in the middle of a step"

func (c *crew) startProcess(ctx context.Context, credentials bus.Credentials, victim bool) error {
	var args []string
	if victim {
		args = append(args, victimFlag)
	}
	cmd := c.process(ctx, args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a worker process: %w", err)
	}
	c.group.Go(func() {
		sent := errors.Join(credentials.Write(stdin), stdin.Close())
		if heard := hears(stdout, midStep); victim && heard {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
			c.out.killed = true
			return
		}
		if err := errors.Join(sent, cmd.Wait()); err != nil {
			c.broken(fmt.Errorf("%s: %s (%w)", credentials.Worker, strings.TrimSpace(complaint.String()), err))
		}
	})
	return nil
}

// hears reads r until a line says what, or until its end.
func hears(r io.Reader, what string) bool {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if lines.Text() == what {
			return true
		}
	}
	return false
}

// recorder keeps what a phase releases, and lets the phase's own learner learn.
type recorder struct {
	inner coordinator.Learner
	out   *outcome
}

// Apply implements coordinator.Learner.
func (r *recorder) Apply(step uint64, noised []int32) error {
	if step != uint64(len(r.out.releases)) {
		return fmt.Errorf("step %d was released after %d others", step, len(r.out.releases))
	}
	r.out.releases = append(r.out.releases, release{noised: slices.Clone(noised), parameters: r.Parameters()})
	if r.inner == nil {
		return nil
	}
	return r.inner.Apply(step, noised)
}

// Parameters implements coordinator.Learner.
func (r *recorder) Parameters() []byte {
	if r.inner == nil {
		return nil
	}
	return r.inner.Parameters()
}

// MarshalState implements coordinator.Learner.
func (r *recorder) MarshalState() ([]byte, error) {
	if r.inner == nil {
		return strconv.AppendInt(nil, int64(len(r.out.releases)), 10), nil
	}
	return r.inner.MarshalState()
}

// UnmarshalState implements coordinator.Learner. A trial is never resumed: it
// is asked for its initial state only.
func (r *recorder) UnmarshalState(state []byte) error {
	if r.inner == nil {
		return nil
	}
	return r.inner.UnmarshalState(state)
}
