package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/worker"
)

// noiseTest is part A: what is added to the exact sum has the variance of one
// draw, for any number of workers, and no two releases have noise in common.
type noiseTest struct {
	dim, steps int
	crews      []crewSize
	alarm      float64 // of the whole part
	process    func(ctx context.Context, args ...string) *exec.Cmd

	// Tests plant bugs here.
	plant    func(worker.Task) worker.Task
	testSeed *uint64
}

type crewSize struct {
	workers int
	kill    bool // the last one, in the middle of the first step
}

const (
	noiseExamples   = 64
	noiseMultiplier = 1.0
)

// residues are what one trial's releases hold beside the exact sum.
type residues struct {
	crewSize
	charges int
	steps   [][]float64 // residues over σ
}

func (t noiseTest) mechanism() (plan.Mechanism, error) {
	return plan.New(plan.Spec{
		Phase: phaseName, SampleRate: 1, Nominal: noiseExamples, NoiseMultiplier: noiseMultiplier, ClipNorm: 1,
		Dim: t.dim, Steps: t.steps, Reserve: plan.DefaultReserve(t.steps),
	})
}

// run performs one trial for every crew and judges what they released.
func (t noiseTest) run(ctx context.Context) ([]Row, error) {
	m, err := t.mechanism()
	if err != nil {
		return nil, err
	}
	var all []residues
	for _, c := range t.crews {
		r, err := t.observe(ctx, m, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		all = append(all, r)
	}
	return t.judge(m, all), nil
}

// observe runs one crew through the steps.
func (t noiseTest) observe(ctx context.Context, m plan.Mechanism, c crewSize) (residues, error) {
	task := sums{Dim: t.dim}
	var err error
	trial := trial{
		mechanism: m, examples: noiseExamples, workers: c.workers, kind: kind, testSeed: t.testSeed,
		budget: budget(100, 1e-5, t.testSeed != nil),
		newTask: func() (worker.Task, error) {
			if t.plant != nil {
				return t.plant(task), nil
			}
			return task, nil
		},
	}
	if c.kill {
		trial.process = t.process
		if trial.job, err = json.Marshal(task); err != nil {
			return residues{}, err
		}
	}
	out, err := trial.perform(ctx)
	if err != nil {
		return residues{}, err
	}
	if c.kill != out.killed {
		return residues{}, fmt.Errorf("the run ended without a worker killed in the middle of a step")
	}
	r := residues{crewSize: c, charges: out.charges}
	exact := task.exact(noiseExamples)
	for _, release := range out.releases {
		noise := make([]float64, t.dim)
		for i, v := range release.noised {
			noise[i] = float64(v-exact[i]) / float64(m.SigmaInt)
		}
		r.steps = append(r.steps, noise)
	}
	return r, nil
}

func (c crewSize) String() string {
	switch {
	case c.kill:
		return fmt.Sprintf("%d worker processes, one killed in a step", c.workers)
	case c.workers == 1:
		return "1 worker"
	}
	return fmt.Sprintf("%d workers", c.workers)
}

// judge holds each release to one draw's variance, all pairs of releases and
// parts of releases to independence, and charges to the number of steps.
func (t noiseTest) judge(m plan.Mechanism, all []residues) []Row {
	var steps [][]float64
	for _, r := range all {
		steps = append(steps, r.steps...)
	}
	n := len(steps)
	// Each statistic below has this false-alarm rate: variances of n releases,
	// correlations of pairs of releases and of two halves, neighbours and
	// generator chunks in each, and equal values in all pairs.
	pairs := n * (n - 1) / 2
	alarm := t.alarm / float64(n+pairs+len(lags(t.dim))*n+pairs)
	rounding := 0.5 / float64(m.SigmaInt)

	var rows []Row
	lo, hi := varianceBounds(t.dim, rounding, alarm)
	for _, r := range all {
		row := Row{Part: "A", Name: "noise variance over σ², " + r.String(), Accept: fmt.Sprintf("%.4f to %.4f", lo, hi), Pass: true}
		least, most := math.Inf(1), 0.0
		for _, noise := range r.steps {
			v := meanSquare(noise)
			least, most = min(least, v), max(most, v)
		}
		row.Found = fmt.Sprintf("%.4f to %.4f", least, most)
		row.Pass = least >= lo && most <= hi
		rows = append(rows, row)
		rows = append(rows, Row{
			Part: "A", Name: "charges, " + r.String(), Found: fmt.Sprint(r.charges), Accept: fmt.Sprint(t.steps),
			Pass: r.charges == t.steps && len(r.steps) == t.steps,
		})
	}
	limit := normalBound(alarm)
	var worst float64
	for i := range steps {
		for j := range i {
			worst = max(worst, correlation(steps[i], steps[j]))
		}
	}
	rows = append(rows, Row{
		Part: "A", Name: fmt.Sprintf("correlation of %d pairs of releases, in standard deviations", pairs),
		Found: fmt.Sprintf("at most %.2f", worst), Accept: fmt.Sprintf("at most %.2f", limit), Pass: worst <= limit,
	})
	worst = 0
	for _, noise := range steps {
		for _, lag := range lags(t.dim) {
			worst = max(worst, correlation(split(noise, lag)))
		}
	}
	rows = append(rows, Row{
		Part: "A", Name: "correlation of coordinates within releases, in standard deviations",
		Found: fmt.Sprintf("at most %.2f", worst), Accept: fmt.Sprintf("at most %.2f", limit), Pass: worst <= limit,
	})
	most, bound := 0, equalBound(t.dim, float64(m.SigmaInt), alarm)
	for i := range steps {
		for j := range i {
			most = max(most, equal(steps[i], steps[j]))
		}
	}
	return append(rows, Row{
		Part: "A", Name: fmt.Sprintf("equal values in a pair of releases, of %d", t.dim),
		Found: fmt.Sprintf("at most %d", most), Accept: fmt.Sprintf("at most %d", bound), Pass: most <= bound,
	})
}

// generatorChunk is how many coordinates of the noise share a range of counters;
// see dp/noise.
const generatorChunk = 4096

// lags are the distances at which coordinates of a release are compared:
// neighbours, a chunk of the generator, and a half (the ring's segments).
func lags(dim int) []int {
	lags := []int{1}
	if dim >= 4*generatorChunk {
		lags = append(lags, generatorChunk)
	}
	return append(lags, dim/2)
}

// split deals blocks of length lag to two vectors in turn: coordinates i of
// both were lag apart.
func split(x []float64, lag int) (a, b []float64) {
	for ; len(x) >= 2*lag; x = x[2*lag:] {
		a = append(a, x[:lag]...)
		b = append(b, x[lag:2*lag]...)
	}
	return a, b
}

func meanSquare(x []float64) float64 { return dot(x, x) / float64(len(x)) }

// correlation is |⟨a, b⟩|/‖b‖, half-normal with standard deviation 1 for a ~
// N(0, I) independent of b, whatever b is.
func correlation(a, b []float64) float64 {
	norm := math.Sqrt(dot(b, b))
	if norm == 0 {
		return math.Inf(1)
	}
	return math.Abs(dot(a, b)) / norm
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}

func equal(a, b []float64) int {
	n := 0
	for i, x := range a {
		if x == b[i] {
			n++
		}
	}
	return n
}

// budget is what a trial's run may spend; in test mode it has no limit.
func budget(epsilon, delta float64, testMode bool) ledger.Budget {
	b := ledger.Budget{EpsilonMicro: uint64(math.Ceil(epsilon * 1e6)), DeltaNumerator: uint64(math.Round(delta * 1e9)), DeltaExponent: 9}
	if testMode {
		b.EpsilonMicro = ledger.Unlimited
	}
	return b
}
