// Package natsfleet is package fleet's interface over the message bus.
//
// A worker's death is noticed by the server's word that its connection closed,
// which takes some tens of milliseconds for a killed process, and by the absence
// of heartbeats for one that was stopped. Whatever a lost worker still sends is
// of an old session or generation and is ignored.
//
// The exact sum arrives here in the clear, which is why the bus serves one
// machine only; see package ringallreduce for the place where chunks will be
// sealed between machines.
package natsfleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/ringallreduce"
	"github.com/dploda/dploda/worker/fleet"
)

// Options of a Fleet. Server, Kind and Job are required.
type Options struct {
	Server *bus.Server
	Run    [16]byte
	Kind   string // device and arithmetic that every worker must have
	Job    []byte // what every worker prepares its tasks from, at most wire.MaxJob bytes
	Term   uint64 // of the coordinator's leadership; workers refuse lower ones

	BeatEvery    time.Duration // between a worker's heartbeats; 0 means 100 ms
	BeatLimit    time.Duration // without a heartbeat a worker is lost; 0 means 2 s
	StallTimeout time.Duration // without progress of a transfer its receivers are lost; 0 means 30 s
	StepTimeout  time.Duration // from Start to the first number of the sum; 0 means 1 h
	Logger       *slog.Logger  // nil drops all
}

func (o Options) normalized() (Options, error) {
	switch {
	case o.Server == nil:
		return o, errors.New("fleet: Server must be set")
	case !wire.ValidName(o.Kind):
		return o, fmt.Errorf("fleet: %q cannot name a device kind", o.Kind)
	case len(o.Job) > wire.MaxJob:
		return o, fmt.Errorf("fleet: a job description of %d bytes, more than %d", len(o.Job), wire.MaxJob)
	}
	for d, value := range map[*time.Duration]time.Duration{
		&o.BeatEvery: 100 * time.Millisecond, &o.BeatLimit: 2 * time.Second,
		&o.StallTimeout: 30 * time.Second, &o.StepTimeout: time.Hour,
	} {
		if *d == 0 {
			*d = value
		}
	}
	if o.BeatEvery < time.Millisecond || o.BeatLimit < 2*o.BeatEvery {
		return o, fmt.Errorf("fleet: heartbeats every %v cannot be held to a limit of %v", o.BeatEvery, o.BeatLimit)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Fleet implements fleet.Fleet.
type Fleet struct {
	o        Options
	subjects wire.Subjects
	conn     *bus.Conn
	watch    *bus.Conn // of disconnections
	events   *queue
	stop     chan struct{}
	ticker   sync.WaitGroup

	mu         sync.Mutex // guards what follows
	closed     bool
	members    map[string]*member // by name
	generation uint64             // highest started or aborted
	step       *step              // under way, or nil
	newest     *release           // or nil before the first
	sequence   uint64             // of the newest release
	beat       time.Time          // of the ticker
}

var _ fleet.Fleet = (*Fleet)(nil)

// step is a generation under way.
type step struct {
	generation uint64
	ring       []string
	sum        *ringallreduce.Collector[int32]
	begun      bool      // a number of the sum has arrived
	progress   time.Time // when the last one did, or Start
}

// Open starts to listen for workers.
func Open(o Options) (*Fleet, error) {
	o, err := o.normalized()
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		o: o, subjects: wire.Subjects{Run: o.Server.Run()}, events: newQueue(), stop: make(chan struct{}),
		members: map[string]*member{}, beat: time.Now(),
	}
	if err := f.listen(); err != nil {
		f.release()
		return nil, err
	}
	f.ticker.Go(f.tick)
	return f, nil
}

func (f *Fleet) listen() (err error) {
	if f.conn, err = f.o.Server.Connect("coordinator"); err != nil {
		return err
	}
	for subject, handle := range map[string]nats.MsgHandler{
		f.subjects.AllUp():     f.hear,
		f.subjects.AllBeats():  f.hearBeat,
		f.subjects.AllShards(): f.hearShard,
	} {
		sub, err := f.conn.Subscribe(subject, handle)
		if err == nil {
			// Shards are bounded by the vector, the rest is small; a limit could
			// only lose messages.
			err = sub.SetPendingLimits(-1, -1)
		}
		if err != nil {
			return fmt.Errorf("message bus: %w", err)
		}
	}
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("message bus: %w", err)
	}
	f.watch, err = f.o.Server.WatchDisconnects(f.hearDisconnect)
	return err
}

// release closes connections and the event queue.
func (f *Fleet) release() {
	for _, c := range []*bus.Conn{f.conn, f.watch} {
		if c != nil {
			c.Close()
			<-c.Closed()
		}
	}
	f.events.close()
}

// Close implements fleet.Fleet.
func (f *Fleet) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	f.abandon()
	f.publish(f.subjects.All(), &wire.End{})
	for _, m := range f.members {
		f.leaveTransfer(m)
	}
	f.mu.Unlock()
	close(f.stop)
	f.ticker.Wait()
	err := f.conn.FlushTimeout(time.Second)
	f.release()
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) { // then the workers see the same
		return fmt.Errorf("the workers could not be told that the run is over: %w", err)
	}
	return nil
}

// Events implements fleet.Fleet.
func (f *Fleet) Events() <-chan fleet.Event { return f.events.out }

// Workers implements fleet.Fleet.
func (f *Fleet) Workers() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := []string{}
	for name, m := range f.members {
		if m.ready() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Start implements fleet.Fleet.
func (f *Fleet) Start(ctx context.Context, gen uint64, a fleet.Assignment, shares map[string][]uint32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(); err != nil {
		return err
	}
	if gen <= f.generation {
		return fmt.Errorf("fleet: generation %d is not above %d", gen, f.generation)
	}
	ring := make([]string, 0, len(shares))
	for name := range shares {
		if m := f.members[name]; m == nil || !m.ready() {
			return fmt.Errorf("fleet: worker %s is not ready", name)
		}
		ring = append(ring, name)
	}
	slices.Sort(ring)
	orders, err := f.encodeShares(gen, a, ring, shares)
	if err != nil {
		return err
	}
	defer wipe(orders)
	sum, err := ringallreduce.NewCollector[int32](ringallreduce.Config{
		Ranks: len(ring), Generation: gen, Step: a.Step, Attempt: a.Attempt,
	}, a.Dim+1)
	if err != nil {
		return err
	}
	f.abandon()
	f.publish(f.subjects.All(), &wire.Abort{Term: f.o.Term, Generation: gen - 1}) // also to those who are not in this ring
	f.generation = gen
	f.step = &step{generation: gen, ring: ring, sum: sum, progress: time.Now()}
	for rank, name := range ring {
		if err := f.conn.Publish(f.subjects.Down(name, f.members[name].session), orders[rank]); err != nil {
			return f.conn.Cause()
		}
	}
	return nil
}

// encodeShares encodes all assignments before any is sent.
func (f *Fleet) encodeShares(gen uint64, a fleet.Assignment, ring []string, shares map[string][]uint32) ([][]byte, error) {
	if a.Dim < 1 || a.Dim > wire.MaxDim {
		return nil, fmt.Errorf("fleet: a vector of %d coordinates; there can be 1 to %d", a.Dim, wire.MaxDim)
	}
	if len(ring) == 0 || len(ring) > wire.MaxRanks {
		return nil, fmt.Errorf("fleet: a ring of %d workers; there can be 1 to %d", len(ring), wire.MaxRanks)
	}
	orders := make([][]byte, len(ring))
	for rank, name := range ring {
		b, err := wire.Encode(&wire.Assign{
			Run: a.Run, Term: f.o.Term, Generation: gen, Attempt: a.Attempt, Step: a.Step, Phase: a.Phase,
			DrawKey: a.DrawKey, State: a.State, Dim: uint64(a.Dim), Rank: uint32(rank), Ring: ring, IDs: shares[name],
		})
		if err != nil {
			wipe(orders)
			return nil, fmt.Errorf("fleet: the assignment of worker %s: %w", name, err)
		}
		orders[rank] = b
	}
	return orders, nil
}

func wipe(buffers [][]byte) {
	for _, b := range buffers {
		clear(b)
	}
}

// Abort implements fleet.Fleet.
func (f *Fleet) Abort(gen uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if gen > f.generation {
		f.generation = gen
	}
	if f.step != nil && f.step.generation <= gen {
		f.abandon()
	}
	f.events.void(gen)
	f.publish(f.subjects.All(), &wire.Abort{Term: f.o.Term, Generation: gen})
}

// abandon drops the step under way.
func (f *Fleet) abandon() {
	if f.step != nil {
		f.step.sum.Wipe()
		f.step = nil
	}
}

// usable says why nothing can be sent any more, if so.
func (f *Fleet) usable() error {
	if f.closed {
		return errors.New("fleet: closed")
	}
	select {
	case <-f.conn.Closed():
		return f.conn.Cause()
	default:
		return nil
	}
}

// publish sends a message that is repeated or missed by a deadline if the
// connection, in process, is gone.
func (f *Fleet) publish(subject string, m wire.Message) {
	b, err := wire.Encode(m)
	if err == nil {
		err = f.conn.Publish(subject, b)
	}
	if err != nil {
		f.o.Logger.Error("a message to the workers could not be sent", "cause", err)
	}
}
