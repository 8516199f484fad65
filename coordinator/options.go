// Package coordinator takes a run through its phases: it keeps the ledger in
// raft on disk, gives the steps to a fleet of workers, adds the noise and hands
// the noised sums to the phase's learner. The decisions are core's; this
// package does raft, disk, keys and the fleet.
//
// Whatever happens to the process, opening the same state directory again and
// running the same phases continues: the ledger says what was spent and
// released, a checkpoint and the noised sums committed after it rebuild the
// learner, and its hash must be the ledger's.
package coordinator

import (
	"errors"
	"log/slog"

	"github.com/dploda/dploda/coordinator/core"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/tags"
	"github.com/dploda/dploda/worker/fleet"
)

// RunIdentity is what Admit freezes: the ledger refuses to continue the run
// under another one.
type RunIdentity struct {
	ID     ledger.RunID
	Domain string      // registered data domain that is charged; "" if Public
	Public bool        // the images are declared public: the run gets a domain of its own
	Unit   ledger.Unit // what the run protects
	// Adjacency is that of the run's own budget; the domain's must be the same.
	Adjacency ledger.Adjacency // default AddRemove
	Spec      ledger.Hash
	Budget    ledger.Budget // Unlimited in test mode
	Phases    []plan.Mechanism
	// Tags returns the tags of the run's images under a key, in ascending order.
	// Public images are only asked for theirs where private ones are known. The
	// error, for which nothing is admitted, names no image.
	Tags func(key []byte) ([]tags.Tag, error)
}

// Options of Open. Fields without a default must be set.
type Options struct {
	// StateDir holds the site's ledger, the runs' keys, checkpoints and noised
	// sums. One process at a time uses it.
	StateDir string
	Run      RunIdentity
	// Resume says that the run folder knows the run as admitted. If the ledger
	// does not, Open refuses: what was spent is not known.
	Resume bool
	// Fleet computes the steps. Its owner closes it. A completed run needs none.
	Fleet fleet.Fleet
	// Arithmetic names the kind of device and the version of its arithmetic.
	Arithmetic string
	// TestSeed makes secret, nonces and noise predictable, for public data only.
	TestSeed *uint64

	Logger          *slog.Logger // default: none
	MinWorkers      int          // below it the run waits; default 1
	MaxFailures     int          // failed attempts of one step after which the run stops; default 5
	CheckpointEvery int          // charges that may follow a checkpoint; default 20

	// arrow, in tests, is called at every arrow of the protocol; its error ends
	// the process's work there as a crash would.
	arrow func(name string) error
	// wrapLog and fault, in tests, put a failing disk under the ledger and under
	// checkpoints and noised sums.
	wrapLog func(logStore) logStore
	fault   func(op string) (limit int, err error)
}

func (o *Options) defaults() error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value    *int
		standard int
	}{{&o.MinWorkers, 1}, {&o.MaxFailures, 5}, {&o.CheckpointEvery, 20}} {
		if *d.value < 0 {
			return errors.New("the coordinator's MinWorkers, MaxFailures and CheckpointEvery must not be negative")
		}
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if o.Run.Adjacency == 0 {
		o.Run.Adjacency = ledger.AddRemove
	}
	switch {
	case o.StateDir == "":
		return errors.New("the coordinator needs a state directory (--state)")
	case o.Run.Tags == nil:
		return errors.New("the coordinator must be able to ask for the tags of the run's images")
	case o.Arithmetic == "":
		return errors.New("the coordinator must be told on which arithmetic the run computes")
	}
	return nil
}

// Learner consumes one phase's noised sums, deterministically: the same sums
// from the same state give the same state on every machine.
type Learner interface {
	// Apply takes in the noised sum of a step: Dim values in grid units, modulo
	// 2³². It must not keep or change them. After a restart the steps since the
	// last checkpoint are applied again.
	Apply(step uint64, noised []int32) error
	// Parameters returns what the workers need for the next step, in memory that
	// does not change afterwards.
	Parameters() []byte
	// MarshalState returns everything that Apply depends on, in canonical bytes:
	// their hash is the state's name in the ledger.
	MarshalState() ([]byte, error)
	UnmarshalState([]byte) error
}

// Phase is one admitted phase with the learner of its sums.
type Phase struct {
	Mechanism plan.Mechanism // as in RunIdentity.Phases
	Learner   Learner        // in its initial state; Run restores a later one
	Examples  int            // ids 0 … Examples-1 toss coins; private
}

// Progress is what a person may watch: released and planned values only.
type Progress struct {
	Phase   string
	Step    int // released steps of the phase
	Steps   int // planned
	Charges int // in the ledger, for this phase
	Workers int // ready
	Note    string
}

// ErrStopped is in the chain of Run's error after its context ended, beside the
// context's own error.
var ErrStopped = core.ErrStopped
