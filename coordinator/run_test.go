package coordinator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/worker/fleet"
)

func TestRunToTheEnd(t *testing.T) {
	x := newTrial(t, nil, 4, 3)
	x.mustRun()
	r := x.view()
	if !r.Complete() || r.Phases[0].Charges != 1 || r.Phases[1].Charges != 4 || r.Phases[1].Commits != 4 {
		t.Errorf("the ledger ends as %+v", r.Phases)
	}
	if n := len(x.fleet.releases); n != 2+5 {
		t.Errorf("%d releases, want the initial state and one per step of both phases", n)
	}
	if last := x.observed[len(x.observed)-1]; last != (Progress{Phase: "finetune", Step: 4, Steps: 4, Charges: 4, Workers: 2}) {
		t.Errorf("the last progress is %+v", last)
	}
	if _, err := os.Stat(keyPath(x.dir, x.id.ID)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the key of a completed run is still there")
	}
	// The same command again changes nothing and ends in the same state.
	before, state := len(x.events()), x.state()
	x.resume = true
	x.mustRun()
	if len(x.events()) != before || x.state() != state {
		t.Error("running a completed run again changes something")
	}
}

// One noise, whatever the number of workers, killed ones included: the same
// bits. Another seed gives other ones.
// (Tried with noise that depends on the number of workers.)
func TestWorkersChangeNoBit(t *testing.T) {
	states := map[string]string{}
	for name, f := range map[string]*fakeFleet{"one": newFleet("a"), "two": newFleet("a", "b"), "eight": newFleet("a", "b", "c", "d", "e", "f", "g", "h"), "dying": dyingFleet()} {
		x := newTrial(t, seed(7), 3, 3)
		x.id.ID = ledger.RunID([]byte(name + "................")[:16]) // the run's own name changes nothing either
		x.fleet = f
		x.mustRun()
		states[name] = x.state()
		if c := x.view().Phases[1].Charges; c != 3 {
			t.Errorf("%s: %d charges", name, c)
		}
	}
	for name, s := range states {
		if s != states["one"] {
			t.Errorf("%s workers give another state than one", name)
		}
	}
	x := newTrial(t, seed(8), 3, 3)
	x.mustRun()
	if x.state() == states["one"] {
		t.Error("another seed gives the same state")
	}
}

// dyingFleet loses a worker in every second generation, down to one; the last
// one is replaced.
func dyingFleet() *fakeFleet {
	f := newFleet("a", "b", "c")
	f.disturb = func(f *fakeFleet, n int, _ uint64, _ map[string][]uint32) bool {
		if n%2 == 0 {
			return false
		}
		f.lose(f.Workers()[0])
		if len(f.speeds) == 0 {
			f.join("new", 1)
		}
		return true
	}
	return f
}

func TestBelowTheMinimumTheRunWaits(t *testing.T) {
	x := newTrial(t, nil, 1, 3)
	x.fleet = newFleet("a")
	x.change = func(o *Options) { o.MinWorkers = 2 }
	waited := 0
	x.watch = func(p Progress) {
		if strings.Contains(p.Note, "1 of at least 2") {
			waited++
			x.fleet.join("b", 1)
		}
	}
	x.mustRun()
	if waited != 1 {
		t.Errorf("people were told %d times of the wait", waited)
	}
}

// A sum in which an example is missing is never charged, and the error tells
// no number.
func TestMiscountedSumsStopTheRun(t *testing.T) {
	var log bytes.Buffer
	x := newTrial(t, nil, 1, 3)
	x.change = func(o *Options) { o.Logger = timeless(&log) }
	x.fleet.disturb = func(f *fakeFleet, n int, gen uint64, shares map[string][]uint32) bool {
		f.events <- fleet.Sum{Generation: gen, Values: []int32{7777001, 7777001, 7777001, 7777001, 7777001, 39}}
		return true
	}
	err := x.process(context.Background())
	if err == nil || !strings.Contains(err.Error(), "failed 3 times") || !strings.Contains(err.Error(), "ledger is intact") {
		t.Fatalf("error %v", err)
	}
	for _, secret := range []string{"39", "40", "7777001"} {
		if strings.Contains(err.Error()+log.String(), secret) {
			t.Errorf("the error or the log tells %s:\n%v\n%s", secret, err, log.String())
		}
	}
	if p := x.view().Phases[0]; p.Charges != 0 {
		t.Errorf("%d charges", p.Charges)
	}
	x.fleet = newFleet("a")
	x.mustRun()
}

func TestFailingWorkersStopTheRun(t *testing.T) {
	x := newTrial(t, nil, 1, 3)
	x.fleet.disturb = func(f *fakeFleet, n int, gen uint64, _ map[string][]uint32) bool {
		f.events <- fleet.Failed{Worker: "a", Generation: gen, Reason: "an image cannot be read"}
		return true
	}
	if err := x.process(context.Background()); err == nil || !strings.Contains(err.Error(), "worker a: an image cannot be read") {
		t.Fatalf("error %v", err)
	}
}

// An empty sample is a full step: charged, noised, committed, released.
// (Tried with a core that gives up empty sums.)
func TestEmptySamplesAreFullSteps(t *testing.T) {
	x := newTrial(t, nil, 3, 3)
	x.id.Phases = x.id.Phases[1:]
	x.id.Phases[0].QThreshold, x.id.Phases[0].Divisor = 1, 1e-18
	c, err := x.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := newToy()
	before, _ := l.MarshalState()
	if err := c.Run(context.Background(), []Phase{{x.id.Phases[0], l, examples}}, nil); err != nil {
		t.Fatal(err)
	}
	after, _ := l.MarshalState()
	r, _ := c.Ledger().Run(x.id.ID)
	if len(x.fleet.seen[0].ids) != 0 || r.Phases[0].Charges != 3 || bytes.Equal(before, after) {
		t.Errorf("%d charges, state moved: %v", r.Phases[0].Charges, !bytes.Equal(before, after))
	}
}

// After a stop an uncharged plan is open; continuing computes the very same
// sample, and in test mode comes to the same end.
// (Tried with coins that depend on the process.)
func TestStopAndContinue(t *testing.T) {
	undisturbed := newTrial(t, seed(3), 3, 0)
	undisturbed.mustRun()
	x := newTrial(t, seed(3), 3, 0)
	ctx, cancel := context.WithCancel(context.Background())
	x.fleet.disturb = func(f *fakeFleet, n int, _ uint64, _ map[string][]uint32) bool {
		if n == 3 {
			cancel()
		}
		return n == 3
	}
	err := x.process(ctx)
	if !errors.Is(err, ErrStopped) || !errors.Is(err, context.Canceled) {
		t.Fatalf("stopping: %v", err)
	}
	p := x.view().Phases[1]
	if p.Charges != 1 || p.Commits != 1 {
		t.Fatalf("after the stop: %+v", p)
	}
	x.resume = true
	x.mustRun()
	if x.state() != undisturbed.state() {
		t.Error("a stopped and continued run ends in another state")
	}
	if seen := x.fleet.seen; seen[2].step != 1 || !equalSample(seen[2], seen[3]) {
		t.Errorf("the sample of an uncharged plan changed over a stop")
	}
}

// No file under the state directory holds an exact sum, and none but the key
// file the run's secret.
func TestNothingPrivateRests(t *testing.T) {
	x := newTrial(t, nil, 3, 3)
	var key []byte
	checked := 0
	x.arrow = func(name string) error {
		if key == nil && name == "before plan" {
			key, _ = os.ReadFile(keyPath(x.dir, x.id.ID))
			if info, err := os.Stat(keyPath(x.dir, x.id.ID)); err != nil || info.Mode() != 0o600 {
				t.Errorf("the key file: %v, %v", info, err)
			}
		}
		return filepath.WalkDir(x.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			b, _ := os.ReadFile(path)
			for _, sum := range x.fleet.sums {
				for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
					var enc []byte
					for _, v := range sum[:2] {
						enc = order.AppendUint32(enc, uint32(v))
					}
					checked++
					if bytes.Contains(b, enc) {
						t.Errorf("%s holds an exact sum", path)
					}
				}
			}
			if key != nil && !strings.HasSuffix(path, ".key") && bytes.Contains(b, key[:8]) {
				t.Errorf("%s holds the run's secret", path)
			}
			return nil
		})
	}
	x.mustRun()
	if len(key) != 32 || checked == 0 {
		t.Error("nothing was checked")
	}
}

func TestAnotherPhaseOrConfigurationIsRefused(t *testing.T) {
	x := newTrial(t, nil, 2, 3)
	c, err := x.open()
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]Phase{"not admitted like this": {Mechanism: mechanism("finetune", 99, 3), Learner: newToy()},
		"cannot begin before": {Mechanism: x.id.Phases[1], Learner: newToy()}} {
		if err := c.Run(context.Background(), []Phase{m}, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	whole := x.id
	for name, change := range map[string]func(){
		"spec":   func() { x.id.Spec = ledger.Hash{1} },
		"domain": func() { x.id.Public, x.id.Domain = false, "others" },
		"budget": func() { x.id.Budget.EpsilonMicro++ },
		"phases": func() { x.id.Phases = x.id.Phases[:1] },
	} {
		x.id = whole
		change()
		if _, err := x.open(); err == nil || !strings.Contains(err.Error(), "another configuration") {
			t.Errorf("another %s: %v", name, err)
		}
	}
	x.id = whole
	x.id.Budget.EpsilonMicro, x.seed = ledger.Unlimited, seed(1)
	if _, err := x.open(); err == nil || !strings.Contains(err.Error(), "never both") {
		t.Errorf("test mode in a real ledger: %v", err)
	}
}
