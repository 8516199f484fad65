package pipeline

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/worker/task"
)

// TestWorkersHoldTheCoordinatorsUnits: a worker process reads the unit file
// itself, and refuses one that groups the same images otherwise: else a person
// could take part in two workers' shares as two units. Tried: tasks without the
// units, phases with a coin for each image.
func TestWorkersHoldTheCoordinatorsUnits(t *testing.T) {
	r := tinyRun(t, "batch: 16", "batch: 12", "nominal_size: 60", "nominal_size: 12, units: people.csv")
	if r.unit() != unitGroup || tinyRun(t).unit() != unitImage {
		t.Errorf("a run with a unit file protects the unit %s, one without %s", r.unit(), tinyRun(t).unit())
	}
	r.opts.Data = t.TempDir()
	if err := dataset.WriteIdx(r.opts.Data, dataset.Train, r.train); err != nil {
		t.Fatal(err)
	}
	write := func(person func(image int) int) {
		t.Helper()
		var b strings.Builder
		b.WriteString("image,unit\n")
		for i := range 60 {
			fmt.Fprintf(&b, "%d,Wildermuth %d\n", i, person(i))
		}
		if err := os.WriteFile(filepath.Join(r.opts.Data, "people.csv"), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(func(i int) int { return i % 12 })
	var err error
	if r.units, err = openUnits(r.spec.Data, r.opts.Data, r.train); err != nil {
		t.Fatal(err)
	}
	r.identity.DataKey = []byte("a key of this run")
	print := dataset.Fingerprint(r.identity.DataKey, r.train, r.units)
	r.identity.Fingerprint = print[:]
	job, err := r.job()
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := newTasks(job)
	if err != nil {
		t.Fatal(err)
	}
	if n, m := tasks[phaseFinetune].(*task.Gradient).Units.Len(), tasks[phasePrototypes].(*task.Prototypes).Units.Len(); n != 12 || m != 12 {
		t.Errorf("the worker's tasks have %d and %d units", n, m)
	}
	start, err := r.startAdapter()
	if err != nil {
		t.Fatal(err)
	}
	phases, _, err := r.phases(&model{adapter: start})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range phases {
		if p.Examples != 12 {
			t.Errorf("phase %s tosses %d coins", p.Mechanism.Phase, p.Examples)
		}
	}
	write(func(i int) int { return i / 5 })
	_, err = newTasks(job)
	if want := "this worker's images or their units are not the coordinator's: every worker must read the same data"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := os.Remove(filepath.Join(r.opts.Data, "people.csv")); err != nil {
		t.Fatal(err)
	}
	if _, err = newTasks(job); err == nil || !strings.Contains(err.Error(), "there is no unit file") {
		t.Errorf("without its unit file a worker says %v", err)
	}
}
