// Package fleet is what a coordinator sees of its workers: who is ready, a
// step's assignment to them, the exact sum that comes back, and the release of
// new parameters. It names no transport; package natsfleet implements it, and
// a coordinator's tests use a fake.
//
// Assignments and sums are private data (example ids, un-noised values). Their
// types have no encoder and print nothing of their content.
package fleet

import (
	"context"
	"fmt"
	"log/slog"
)

// Assignment is one step of one Plan, the same for every rank. A worker refuses
// it unless it has loaded the parameters whose hash is State.
type Assignment struct {
	Run     [16]byte
	Phase   string   // names the task; at most 64 bytes
	Step    uint64   // step of the phase
	Attempt uint32   // how often this Plan was assigned before
	DrawKey [32]byte // key of the Plan's noise, time and augmentation draws
	State   [32]byte // StateHash of the Release that the step starts from
	Dim     int      // private coordinates; sums have Dim+1, the last counts contributions
}

// String names the step and nothing private.
func (a Assignment) String() string { return fmt.Sprintf("step %d of %s", a.Step, a.Phase) }

// GoString keeps the draw key from %#v.
func (a Assignment) GoString() string { return a.String() }

// LogValue keeps the draw key out of structured logs.
func (a Assignment) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Release is the newest state of a phase for the workers.
type Release struct {
	Phase      string
	Step       uint64   // steps applied so far
	StateHash  [32]byte // what Assignment.State must name
	Parameters []byte   // what the phase's Learner published; the fleet keeps it, so it must not change afterwards
}

// Event is what happened to the fleet: Joined, Lost, Sum or Failed.
type Event interface{ fleetEvent() }

// Joined says that a worker has loaded its tasks and the newest Release and may
// be given work.
type Joined struct {
	Worker string
	Speed  float64 // examples per second as the worker announced them, greater than 0
}

// Lost says that a worker that had joined is gone: it left, its connection
// closed, its heartbeats stopped, or it missed a deadline. Its part in a
// generation under way is void; the coordinator aborts that generation and
// starts a higher one.
type Lost struct {
	Worker string
	Cause  string // one clause for people
}

// Sum is the exact sum of a generation, assembled from the segments of all
// ranks: Dim+1 coordinates, wrapping. The receiver owns Values and wipes them.
type Sum struct {
	Generation uint64
	Values     []int32
}

// String hides the values.
func (s Sum) String() string {
	return fmt.Sprintf("sum of generation %d [%d values, redacted]", s.Generation, len(s.Values))
}

// Format keeps every verb of package fmt from printing the values.
func (s Sum) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue keeps the values out of structured logs.
func (s Sum) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON refuses: an un-noised sum has no encoder.
func (s Sum) MarshalJSON() ([]byte, error) {
	return nil, fmt.Errorf("an un-noised sum has no encoder")
}

// Failed says that a worker is alive but could not compute its share of a
// generation. The generation cannot complete.
type Failed struct {
	Worker     string
	Generation uint64
	Reason     string // prints no values
}

func (Joined) fleetEvent() {}
func (Lost) fleetEvent()   {}
func (Sum) fleetEvent()    {}
func (Failed) fleetEvent() {}

// Fleet is the workers of one run. Its methods may be called from any
// goroutine.
type Fleet interface {
	// Events delivers what happened, in order, without ever blocking the fleet.
	// It is closed by Close.
	Events() <-chan Event

	// Workers returns the names of those that may be given work, ascending: they
	// have loaded their tasks and the newest Release.
	Workers() []string

	// Start gives each worker of shares its example ids (ascending, each once,
	// possibly none) and forms the ring over the sorted names. gen must exceed every generation
	// started or aborted before; what was under way before is aborted. A nil
	// error means that the assignments were sent; the outcome is an event: Sum,
	// Failed, or Lost for a rank of this generation. Start copies the ids.
	Start(ctx context.Context, gen uint64, a Assignment, shares map[string][]uint32) error

	// Abort is pushed to the workers. From its return on, nothing of
	// generations up to gen is ever delivered by Events. (A Sum already in the
	// channel must be compared with the generation awaited.)
	Abort(gen uint64)

	// Release hands new parameters to all workers and keeps them for those that
	// join later. It returns when every worker has loaded them; a worker that
	// does not in time is Lost and does not hold up the others. With no worker
	// present it returns at once.
	Release(ctx context.Context, r Release) error

	// Close tells the workers that the run is over, releases everything and
	// closes Events.
	Close() error
}
