package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/dploda/dploda/dp/ledger"
)

var errTestCrash = errors.New("crash")

func equalSample(a, b sampleSeen) bool {
	return a.phase == b.phase && a.step == b.step && a.key == b.key && slices.Equal(a.ids, b.ids)
}

// countArrows runs undisturbed and returns the arrows that it passes.
func countArrows(t *testing.T, s *uint64, steps int) (arrows []string, state string) {
	x := newTrial(t, s, steps, 3)
	x.arrow = func(name string) error {
		arrows = append(arrows, name)
		return nil
	}
	x.mustRun()
	return arrows, x.state()
}

// The process dies at every arrow of the protocol in turn; another process
// finds the disk as it was at that moment and continues.
// (Tried with the same nonce for every Plan, without looking for a durable noised
// sum, and with a Commit of a sum that is on no disk.)
func TestCrashAtEveryArrow(t *testing.T) {
	for _, mode := range []struct {
		name string
		seed *uint64
	}{{"test mode", seed(5)}, {"real noise", nil}} {
		arrows, want := countArrows(t, mode.seed, 2)
		if len(arrows) < 40 {
			t.Fatalf("only %d arrows", len(arrows))
		}
		for i, name := range arrows {
			x := newTrial(t, mode.seed, 2, 3)
			crashAt(x, i)
			x.mustRun()
			lost := 0 // charges that the crash costs: those of noise that is nowhere
			if name == "after charge" || name == "noise added" {
				lost = 1
			}
			if mode.seed != nil && x.state() != want {
				t.Errorf("%s: a crash at arrow %d (%s) changes the final state", mode.name, i, name)
			}
			checkRun(t, fmt.Sprintf("%s, crash at arrow %d (%s)", mode.name, i, name), x, lost, lost)
		}
	}
}

// crashAt runs x until arrow i of its first process and moves it to a copy of
// the disk as it was there: nothing that the dying process does later counts.
func crashAt(x *trial, i int) {
	passed := 0
	x.arrow = func(string) error {
		if passed++; passed-1 != i {
			return nil
		}
		clone := memoryDir(x.t)
		if err := os.CopyFS(clone, os.DirFS(x.dir)); err != nil {
			x.t.Fatal(err)
		}
		if err := os.Chmod(clone, 0o700); err != nil {
			x.t.Fatal(err)
		}
		x.dir = clone
		return errTestCrash
	}
	if err := x.process(context.Background()); !errors.Is(err, errTestCrash) {
		x.t.Fatalf("the crash ends as %v", err)
	}
	x.arrow = nil
	x.fleet = survivingFleet(x.fleet)
}

// survivingFleet is what a new process finds: fresh workers, the old record.
func survivingFleet(old *fakeFleet) *fakeFleet {
	f := newFleet("a", "b", "c")
	f.seen, f.sums, f.releases, f.highest = old.seen, old.sums, old.releases, old.highest
	return f
}

// checkRun holds a completed run, in which least to most charges were lost, to
// the invariants, from the ledger and from what the fleet saw alone.
func checkRun(t *testing.T, name string, x *trial, least, most int) {
	t.Helper()
	r := x.view()
	charges, steps := 0, 0
	for _, p := range r.Phases {
		charges += p.Charges
		steps += p.Mechanism.Steps
	}
	if lost := charges - steps; !r.Complete() || lost < least || lost > most {
		t.Errorf("%s: complete %v, %d charges for %d steps", name, r.Complete(), charges, steps)
	}
	released := map[string]map[[32]byte]bool{}
	for _, rel := range x.fleet.releases {
		key := fmt.Sprint(rel.Phase, rel.Step)
		if released[key] == nil {
			released[key] = map[[32]byte]bool{}
		}
		released[key][rel.StateHash] = true
	}
	for key, states := range released {
		if len(states) != 1 {
			t.Errorf("%s: step %s was released with %d states", name, key, len(states))
		}
	}
	if len(released)-2 > charges { // the two initial states are public
		t.Errorf("%s: %d releases, %d charges", name, len(released)-2, charges)
	}
	checkSamples(t, name, x)
}

// checkSamples: generations of one plan have one sample; plans have samples of
// their own, but for test mode.
func checkSamples(t *testing.T, name string, x *trial) {
	t.Helper()
	plans, nonces := 0, map[ledger.Nonce]bool{}
	for _, raw := range x.events() {
		if e, _ := ledger.Decode(raw); e != nil {
			if p, ok := e.(ledger.Plan); ok {
				plans++
				nonces[p.Nonce] = true
			}
		}
	}
	keys := map[[32]byte]sampleSeen{}
	for _, s := range x.fleet.seen {
		if before, ok := keys[s.key]; ok && !equalSample(before, s) {
			t.Errorf("%s: one plan had two samples", name)
		}
		keys[s.key] = s
	}
	if x.seed == nil && (len(keys) != len(nonces) && len(keys) != len(nonces)-1 || len(nonces) != plans) {
		t.Errorf("%s: %d plans, %d nonces, %d draw keys", name, plans, len(nonces), len(keys))
	}
}

// Every process dies at its n-th arrow, again and again, until the run is
// through. In test mode the end is that of an undisturbed run.
func TestCrashAgainAndAgain(t *testing.T) {
	_, want := countArrows(t, seed(5), 3)
	for _, lifetime := range []int{9, 13, 16} {
		x := newTrial(t, seed(5), 3, 40)
		crashes := 0
		for {
			left := lifetime
			x.arrow = func(string) error {
				if left--; left == 0 {
					return errTestCrash
				}
				return nil
			}
			err := x.process(context.Background())
			if err == nil {
				break
			}
			if crashes++; !errors.Is(err, errTestCrash) || crashes > 60 {
				t.Fatalf("after %d crashes: %v", crashes, err)
			}
			x.fleet = survivingFleet(x.fleet)
		}
		x.arrow = nil
		x.mustRun()
		if x.state() != want {
			t.Errorf("crashes every %d arrows change the final state", lifetime)
		}
		checkRun(t, fmt.Sprintf("crashes every %d arrows", lifetime), x, 0, crashes)
	}
}

// Redone steps are paid from the reserve; when it is gone the run stops, and
// the ledger holds no more charges than admitted.
func TestReserveRunsOut(t *testing.T) {
	x := newTrial(t, nil, 1, 2)
	x.arrow = func(name string) error {
		if name == "after charge" {
			return errTestCrash
		}
		return nil
	}
	for range 3 {
		if err := x.process(context.Background()); !errors.Is(err, errTestCrash) {
			t.Fatal(err)
		}
		x.fleet = survivingFleet(x.fleet)
	}
	for range 2 {
		if err := x.process(context.Background()); !errors.Is(err, ledger.ErrSpent) {
			t.Fatalf("the reserve is spent: %v", err)
		}
	}
	if p := x.view().Phases[0]; p.Charges != 3 || p.Commits != 0 {
		t.Errorf("%d charges, %d commits", p.Charges, p.Commits)
	}
}
