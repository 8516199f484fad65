package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

// crew is the bus, the fleet and the workers that this process started.
type crew struct {
	fleet  fleet.Fleet
	server *bus.Server
	cancel context.CancelFunc
	group  sync.WaitGroup
	log    *slog.Logger

	mu     sync.Mutex
	need   int                     // fewer workers than this cannot go on
	alive  int                     // that this process started and that have not failed
	broken context.CancelCauseFunc // ends the run when there are too few
	err    error                   // the first worker's failure that nothing mended
}

// restartAfter is how long a worker process that died is left dead, and
// mostRestarts how often one is started again.
const (
	restartAfter = time.Second
	mostRestarts = 20
)

// crewOptions say what a crew works for.
type crewOptions struct {
	run       [16]byte
	kind      string // of the device
	job       []byte
	count     int // of the workers
	need      int
	processes bool // each worker is a process of its own
	log       *slog.Logger
	// goroutine is a worker of this process.
	goroutine func(ctx context.Context, c *crew, credentials bus.Credentials) error
}

// startCrew starts the bus, the fleet and the workers: goroutines of this
// process or processes of their own. They outlive ctx until the crew is closed,
// so that a run that is stopped can end its step in order; broken is called if
// too many of them fail for good.
func startCrew(ctx context.Context, o crewOptions, broken context.CancelCauseFunc) (_ *crew, err error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &crew{cancel: cancel, need: o.need, alive: o.count, broken: broken, log: o.log}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.server, err = bus.Start(bus.Options{Run: hexID(o.run)[:16], Listen: o.processes, Logger: o.log}); err != nil {
		return nil, err
	}
	opened, err := natsfleet.Open(natsfleet.Options{Server: c.server, Run: o.run, Kind: o.kind, Job: o.job, Logger: o.log})
	if err != nil {
		return nil, err
	}
	c.fleet = opened // not before: an interface that holds a nil fleet is not nil
	for i := range o.count {
		credentials, err := c.server.AddWorker(fmt.Sprintf("worker-%d", i+1))
		if err != nil {
			return nil, err
		}
		start := o.goroutine
		if o.processes {
			start = processWorker
		}
		c.group.Add(1)
		go func() {
			defer c.group.Done()
			c.fail(start(ctx, c, credentials))
		}()
	}
	return c, nil
}

// startWorkers starts the config's workers.
func (r *run) startWorkers(ctx context.Context, broken context.CancelCauseFunc) (*crew, error) {
	content, err := r.job()
	if err != nil {
		return nil, err
	}
	w := r.spec.Workers
	return startCrew(ctx, crewOptions{
		run: r.identity.RunID, kind: r.dev.Kind(), job: content, count: w.Count, need: max(1, w.Min),
		processes: w.Processes, log: r.log, goroutine: r.goroutineWorker,
	}, broken)
}

// job is what the workers are told of the run.
func (r *run) job() ([]byte, error) {
	folder := ""
	if !r.spec.Data.Drawn() {
		var err error
		if folder, err = dataFolder(r.spec.Data, r.opts.Data); err != nil {
			return nil, err
		}
	}
	return json.Marshal(job{
		Config: string(r.spec.Resolved()), Data: folder, BaseHash: r.base.Hash, Threads: threads(r.spec.Workers),
		DataKey: r.identity.DataKey, Fingerprint: r.identity.Fingerprint,
	})
}

// goroutineWorker works in this process, on the images already in memory.
func (r *run) goroutineWorker(ctx context.Context, c *crew, credentials bus.Credentials) error {
	factory := &taskFactory{resolved: r.resolved, data: r.train, units: r.units, dev: r.dev, threads: threads(r.spec.Workers)}
	return worker.Run(ctx, worker.Options{
		Connection: worker.InProcess(c.server, credentials), Kind: r.dev.Kind(), Logger: r.log,
		NewTasks: func([]byte) (map[string]worker.Task, error) { return factory.tasks() },
	})
}

// processWorker keeps a worker process running until the run is over. The
// credentials go through its standard input; its end tells it to leave.
func processWorker(ctx context.Context, c *crew, credentials bus.Credentials) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for restart := 0; ; restart++ {
		err := runProcess(ctx, program, credentials)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		c.log.Warn("a worker process ended", "worker", credentials.Worker, "error", err)
		if restart == mostRestarts {
			return fmt.Errorf("%s ended %d times, the last time with: %w", credentials.Worker, restart+1, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartAfter):
		}
	}
}

// runProcess runs one worker process to its end.
func runProcess(ctx context.Context, program string, credentials bus.Credentials) error {
	cmd := exec.CommandContext(ctx, program, "worker")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var complaint strings.Builder
	cmd.Stderr = &complaint
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a worker process: %w", err)
	}
	err = errors.Join(credentials.Write(stdin), stdin.Close(), cmd.Wait())
	if err != nil && complaint.Len() > 0 {
		err = fmt.Errorf("%s (%w)", lastWords(complaint.String()), err)
	}
	return err
}

// lastWords is what a worker process wrote before it ended, without the trace of
// a crash: its message and its arguments may be private values.
func lastWords(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		for _, crash := range []string{"panic: ", "fatal error: ", "runtime: ", "goroutine ", "SIG", "unexpected fault"} {
			if strings.HasPrefix(line, crash) {
				return strings.Join(append(said, "it crashed"), "; ")
			}
		}
		if line = strings.TrimSpace(line); line != "" {
			said = append(said, line)
		}
	}
	return strings.Join(said, "; ")
}

// ServeWorker is a worker process: it reads its credentials and works until
// the run is over.
func ServeWorker(ctx context.Context, credentials io.Reader) error {
	c, err := bus.ReadCredentials(credentials)
	if err != nil {
		return err
	}
	return worker.Run(ctx, worker.Options{Connection: worker.Dial(c), Kind: NewDevice().Kind(), NewTasks: newTasks})
}

// fail takes in how a worker ended.
func (c *crew) fail(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	if c.alive--; c.alive < c.need {
		c.broken(c.err)
	}
}

// explain puts what the workers died of in the place of the run's error, if
// that is why the run ended; stopped says that a person asked for it.
func (c *crew) explain(err error, stopped bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stopped || c.err == nil || c.alive >= c.need {
		return err
	}
	return fmt.Errorf("too few workers are left: %w", c.err)
}

// close ends the fleet, then the workers, then the bus.
func (c *crew) close() {
	if c.fleet != nil {
		_ = c.fleet.Close() // the run is over either way
	}
	c.cancel()
	c.group.Wait()
	if c.server != nil {
		c.server.Shutdown()
	}
}
