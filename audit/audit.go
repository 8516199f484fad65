// Package audit holds dploda to its privacy claims from outside: it runs phases
// on made-up data through the code of every real run (ledger in raft on disk,
// embedded bus, ring all-reduce, workers, coins, noise) and judges what they
// release.
//
// Part A measures the noise that is added to an exact sum, part B attacks one
// example of the largest allowed contribution, part C attacks the images of a
// whole training. Only what the examples contribute and who reads the releases
// are the audit's own: worker.Task and coordinator.Learner are the doors.
package audit

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Options of Run. Training and Process are required for parts C and A.
type Options struct {
	Quick bool   // smaller, in seconds
	Parts string // some of "ABC"
	// Training is what part C trains on images that are drawn for it.
	Training func(images, steps int) (Training, error)
	// Process is a command that runs ServeWorker, with stay if it gets --stay.
	Process func(ctx context.Context, args ...string) *exec.Cmd
	Observe func(part string) // may be nil
}

// Parts are all parts of the audit.
const Parts = "ABC"

// Row is one statistic of the audit's table.
type Row struct {
	Part   string `json:"part"`   // A, B or C
	Name   string `json:"name"`   // of the statistic
	Found  string `json:"found"`  // its value
	Accept string `json:"accept"` // what passes
	Pass   bool   `json:"pass"`
}

// Report is what an audit found.
type Report struct {
	Format int    `json:"format"` // 1
	Quick  bool   `json:"quick"`
	Rows   []Row  `json:"rows"`
	Alarms []Rate `json:"false_alarms"`
	Pass   bool   `json:"pass"`
}

// Rate bounds the probability that a right program fails a part.
type Rate struct {
	Part    string  `json:"part"`
	Rate    float64 `json:"rate"`
	Seconds float64 `json:"seconds"` // that the part took
}

// The rates at which parts fail a right program, at most. Part B adds to the
// rate of its bounds the chance that one of them misses 0.9 of the claim.
const (
	noiseAlarm  = 1e-9
	worldsAlarm = 1e-6 // of each test's bound
	missAlarm   = 1e-6 // of each test
	oneRunAlarm = 1e-3
)

// Run audits. A report comes with a nil error whether it passes or not.
func Run(ctx context.Context, o Options) (*Report, error) {
	report := &Report{Format: 1, Quick: o.Quick, Pass: true}
	worlds := worldsTests(o.Quick)
	for _, p := range []struct {
		name  string
		alarm float64
		run   func(context.Context) ([]Row, error)
	}{
		{"A", noiseAlarm, o.noise},
		{"B", float64(len(worlds)) * (worldsAlarm + missAlarm), func(ctx context.Context) ([]Row, error) {
			var rows []Row
			for _, w := range worlds {
				r, err := w.run(ctx)
				if err != nil {
					return nil, err
				}
				rows = append(rows, r...)
			}
			return rows, nil
		}},
		{"C", oneRunAlarm, o.oneRun},
	} {
		if !strings.Contains(o.Parts, p.name) {
			continue
		}
		if o.Observe != nil {
			o.Observe(p.name)
		}
		start := time.Now()
		rows, err := p.run(ctx)
		if err != nil {
			return nil, fmt.Errorf("part %s of the audit: %w", p.name, err)
		}
		report.Rows = append(report.Rows, rows...)
		report.Alarms = append(report.Alarms, Rate{p.name, p.alarm, time.Since(start).Seconds()})
		for _, r := range rows {
			report.Pass = report.Pass && r.Pass
		}
	}
	return report, nil
}

func (o Options) noise(ctx context.Context) ([]Row, error) {
	t := noiseTest{
		dim: 200_000, steps: 4, alarm: noiseAlarm, process: o.Process,
		crews: []crewSize{{workers: 1}, {workers: 2}, {workers: 4}, {workers: 8}, {workers: 4, kill: true}},
	}
	if o.Quick {
		t.dim, t.steps = 50_000, 2
	}
	return t.run(ctx)
}

// worldsTests are part B's tests. Their numbers of trials make a bound of less
// than 0.9 of a right claim rarer than missAlarm.
func worldsTests(quick bool) []worldsTest {
	whole := worldsTest{name: "everyone in one step", sampleRate: 1, multiplier: 1, steps: 1, dim: 200_000, phases: 120, delta: 1e-3, alarm: worldsAlarm, claim: claimed}
	sampled := worldsTest{name: "a quarter in each of 4 steps", sampleRate: 0.25, multiplier: 0.7, steps: 4, dim: 200_000, phases: 10, delta: 0.05, alarm: worldsAlarm, claim: claimed}
	if quick {
		whole.phases, whole.delta = 6, 0.05
		return []worldsTest{whole}
	}
	return []worldsTest{whole, sampled}
}

func (o Options) oneRun(ctx context.Context) ([]Row, error) {
	t := oneRun{
		training: o.Training, images: 1000, guesses: 600, sampleRate: 0.75, multiplier: 3, steps: 8,
		delta: 1e-6, alarm: oneRunAlarm,
	}
	if o.Quick {
		t.images, t.guesses, t.multiplier = 300, 200, 4
	}
	return t.run(ctx)
}

// Text is the report for people.
func (r *Report) Text() string {
	var b strings.Builder
	const heads = "part\tstatistic\tfound\taccepted\tresult"
	table := [][]string{strings.Split(heads, "\t")}
	for _, row := range r.Rows {
		table = append(table, []string{row.Part, row.Name, row.Found, row.Accept, verdict(row.Pass)})
	}
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range table {
		for i, cell := range row[:len(row)-1] {
			b.WriteString(cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2))
		}
		b.WriteString(row[len(row)-1] + "\n")
	}
	for _, a := range r.Alarms {
		fmt.Fprintf(&b, "part %s fails a right program with probability at most %.2g; it took %.1f s\n", a.Part, a.Rate, a.Seconds)
	}
	fmt.Fprintf(&b, "the audit %s\n", map[bool]string{true: "passes", false: "FAILS"}[r.Pass])
	return b.String()
}

func verdict(pass bool) string {
	if pass {
		return "pass"
	}
	return "FAIL"
}
