package coordinator

import (
	"fmt"
	"slices"
	"testing"
)

// An example that kills every worker that touches it is not left out, and takes
// nobody else's contribution with it: the same sample is given out again and
// again, nothing is charged meanwhile, and when a worker survives it at last the
// run goes on with the same bits as if nobody had died.
//
// (Tried with a core that leaves the lost worker's share out of the sample, and
// with one that draws the sample anew after a loss.)
func TestADeadlyExampleChangesNoContribution(t *testing.T) {
	const deaths = 7
	undisturbed := newTrial(t, seed(3), 2, 3)
	undisturbed.mustRun()
	x := newTrial(t, seed(3), 2, 3)
	dead := 0
	var victim uint32
	x.fleet.disturb = func(f *fakeFleet, _ int, _ uint64, shares map[string][]uint32) bool {
		last := f.seen[len(f.seen)-1]
		if last.phase != "finetune" || last.step != 1 || dead == deaths {
			return false
		}
		if dead == 0 {
			victim = last.ids[len(last.ids)/2]
		}
		for name, ids := range shares {
			if slices.Contains(ids, victim) {
				dead++
				f.lose(name)
				f.join(fmt.Sprint("next-", dead), 1)
				return true
			}
		}
		t.Errorf("the deadly example %d was left out of a sample of %d", victim, len(last.ids))
		return false
	}
	x.mustRun()
	if dead != deaths {
		t.Fatalf("%d workers died, want %d", dead, deaths)
	}
	attempts := x.fleet.seen[len(x.fleet.seen)-1-deaths:]
	for _, a := range attempts {
		if !equalSample(a, attempts[0]) {
			t.Error("a step that was computed again has another sample or other draws")
		}
	}
	if x.state() != undisturbed.state() {
		t.Error("deaths changed the result")
	}
	if p := x.view().Phases[1]; p.Charges != 2 || p.Commits != 2 {
		t.Errorf("%d charges and %d commits of 2 steps", p.Charges, p.Commits)
	}
}
