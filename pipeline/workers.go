package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// startWorkers starts the bus, the fleet and the config's workers: goroutines
// of this process or processes of their own. They outlive ctx until the crew is
// closed, so that a run that is stopped can end its step in order; broken is
// called if too many of them fail for good.
func (r *run) startWorkers(ctx context.Context, broken context.CancelCauseFunc) (_ *crew, err error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &crew{cancel: cancel, need: max(1, r.spec.Workers.Min), alive: r.spec.Workers.Count, broken: broken}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	w := r.spec.Workers
	name := hexID(r.identity.RunID)[:16]
	if c.server, err = bus.Start(bus.Options{Run: name, Listen: w.Processes, Logger: r.log}); err != nil {
		return nil, err
	}
	content, err := r.job()
	if err != nil {
		return nil, err
	}
	opened, err := natsfleet.Open(natsfleet.Options{Server: c.server, Run: r.identity.RunID, Kind: r.dev.Kind(), Job: content, Logger: r.log})
	if err != nil {
		return nil, err
	}
	c.fleet = opened // not before: an interface that holds a nil fleet is not nil
	for i := range w.Count {
		credentials, err := c.server.AddWorker(fmt.Sprintf("worker-%d", i+1))
		if err != nil {
			return nil, err
		}
		start := r.goroutineWorker
		if w.Processes {
			start = r.processWorker
		}
		c.group.Add(1)
		go func() {
			defer c.group.Done()
			c.fail(start(ctx, c, credentials))
		}()
	}
	return c, nil
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
func (r *run) processWorker(ctx context.Context, c *crew, credentials bus.Credentials) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for restart := 0; ; restart++ {
		err := runProcess(ctx, program, credentials)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		r.log.Warn("a worker process ended", "worker", credentials.Worker, "error", err)
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
