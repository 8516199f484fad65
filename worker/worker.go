// Package worker is the process that computes: it joins a run, loads the run's
// tasks, and for every assignment sums its examples' contributions, reduces the
// sum with the other workers over a ring and sends its finished segment to the
// coordinator.
//
// A worker keeps nothing between steps but the newest parameters. Un-noised
// vectors are zeroed after use, and nothing of them is logged or put in errors.
//
// The traffic is not sealed: workers and coordinator must be on one machine.
// Between machines, ringallreduce.Link is where chunks will be sealed.
package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/wire"
)

// Task computes one phase's clipped integer contributions. Its methods are
// called by one goroutine at a time. Their errors reach the coordinator's log:
// they must not name an example or a value.
type Task interface {
	// SetParameters loads what the phase's Learner published. It must not keep
	// state.
	SetParameters(state []byte) error

	// Accumulate adds the contributions of the examples ids to sum, which comes
	// zeroed with Dim+1 coordinates; the last counts contributions. It returns
	// promptly when ctx is cancelled, and keeps no trace of the contributions.
	Accumulate(ctx context.Context, step uint64, key [32]byte, ids []uint32, sum []int32) error
}

// Connection is how a worker reaches its coordinator.
type Connection struct {
	worker, run string
	dial        bus.Dialer
}

// Dial connects a worker process over TCP.
func Dial(c bus.Credentials) Connection { return Connection{c.Worker, c.Run, c.Dial} }

// InProcess connects a goroutine of the coordinator's process.
func InProcess(s *bus.Server, c bus.Credentials) Connection {
	return Connection{c.Worker, c.Run, s.InProcess(c)}
}

// Options of a worker. Connection, Kind and NewTasks are required.
type Options struct {
	Connection Connection
	Kind       string  // device and arithmetic, wire.ValidName; the coordinator's must be the same
	Speed      float64 // examples per second; 0 means 1

	// NewTasks prepares the tasks of a job by the names of their phases. It is
	// called once for every time the worker joins.
	NewTasks func(job []byte) (map[string]Task, error)

	JoinTimeout time.Duration // for an answer to the request to join; 0 means 10 s
	Logger      *slog.Logger  // nil drops all
}

func (o Options) normalized() (Options, error) {
	switch {
	case o.Connection.dial == nil || o.NewTasks == nil:
		return o, errors.New("worker: Connection and NewTasks must be set")
	case !wire.ValidName(o.Kind):
		return o, fmt.Errorf("worker: %q cannot name a device kind", o.Kind)
	case o.Speed < 0:
		return o, fmt.Errorf("worker: a speed of %v examples per second", o.Speed)
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.JoinTimeout == 0 {
		o.JoinTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

const (
	helloEvery  = 200 * time.Millisecond // until the coordinator answers
	leaveWithin = time.Second
)

var (
	errEnd    = errors.New("the run is over")
	errRejoin = errors.New("the coordinator had given this worker up")
)

// Run works until the run is over or ctx is cancelled, which both return nil
// (the worker leaves), or until something fails that the worker cannot mend: a
// lost connection, a refusal, tasks that cannot be loaded. A worker that the
// coordinator gave up, because it was stopped or starved for a while, joins
// again by itself.
func Run(ctx context.Context, o Options) error {
	o, err := o.normalized()
	if err != nil {
		return err
	}
	for {
		err := attend(ctx, o)
		switch {
		case ctx.Err() != nil || errors.Is(err, errEnd):
			return nil
		case errors.Is(err, errRejoin):
			o.Logger.Info("worker joins again", "worker", o.Connection.worker)
		default:
			return fmt.Errorf("worker %s: %w", o.Connection.worker, err)
		}
	}
}

// attend joins once and works until the session ends.
func attend(ctx context.Context, o Options) error {
	s := &session{o: o, subjects: wire.Subjects{Run: o.Connection.run}, name: o.Connection.worker, id: newSession()}
	defer s.close()
	if err := s.connect(); err != nil {
		return err
	}
	if err := s.join(ctx); err != nil {
		return err
	}
	err := s.serve(ctx)
	if ctx.Err() != nil {
		s.leave("stopped")
	} else if errors.As(err, new(taskError)) {
		s.leave(err.Error())
	}
	return err
}

func newSession() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
