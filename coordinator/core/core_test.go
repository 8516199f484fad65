package core

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The transcripts show every effect of the core in a world that carries each
// of them out at once. Commands: new, joined, lost, failed, sum, stop, begin,
// crash (memory is lost), hold (the next proposal of a kind is dropped, kept or
// crashed upon before its answer).
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		var s *sim
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				steps, reserve, minimum, every := 2, 1, 1, 10
				d.MaybeScanArgs(t, "steps", &steps)
				d.MaybeScanArgs(t, "reserve", &reserve)
				d.MaybeScanArgs(t, "min", &minimum)
				d.MaybeScanArgs(t, "every", &every)
				s = newSim(steps, reserve, Config{MinWorkers: minimum, MaxFailures: 3, CheckpointEvery: every})
			}
			command(t, s, d)
			p := s.view().Phases[0]
			out := append(s.log, fmt.Sprintf("-- %d charges, %d commits\n", p.Charges, p.Commits))
			s.log = nil
			return strings.Join(out, "\n")
		})
	})
}

func command(t *testing.T, s *sim, d *datadriven.TestData) {
	args := d.CmdArgs
	name := func(i int) string { return args[i].Key }
	switch d.Cmd {
	case "new":
	case "begin":
		s.feed(Ledger{View: s.view()})
	case "joined":
		speed := 0.0
		d.MaybeScanArgs(t, "speed", &speed)
		s.feed(Joined{name(0), speed})
	case "lost":
		s.feed(Lost{name(0), "connection closed"})
	case "failed":
		generation := s.core.generation
		d.MaybeScanArgs(t, "generation", &generation)
		s.feed(Failed{name(0), generation, "cannot read an image"})
	case "sum":
		generation, count := s.core.generation, int64(10)
		d.MaybeScanArgs(t, "generation", &generation)
		d.MaybeScanArgs(t, "count", &count)
		s.feed(SumArrived{generation, count})
	case "stop":
		s.feed(Stop{})
	case "hold":
		s.hold = strings.TrimSpace(d.Input)
	case "crash":
		s.restart()
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
}
