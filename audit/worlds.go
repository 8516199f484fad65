package audit

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"

	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/worker"
)

// worldsTest is part B: how well the best test tells a data set with one example
// of norm exactly Δ from the same data set without it, by what a phase released.
//
// Every example is a canary: example i contributes Δ to coordinate i and nothing
// else, and is there or not by a fair coin of its own. Coordinates have
// independent noise and examples independent coins, so that one phase of n
// coordinates is n independent trials of the same pair of worlds.
type worldsTest struct {
	name       string
	sampleRate float64
	multiplier float64 // of the noise
	steps      int
	dim        int // trials in a phase
	phases     int // one run each
	delta      float64
	alarm      float64 // that the bound exceeds the mechanism's ε

	claim func(m plan.Mechanism, delta float64) (float64, error) // the accountant's
	plant func(worker.Task) worker.Task                          // tests plant bugs here
}

func (t worldsTest) mechanism() (plan.Mechanism, error) {
	return plan.New(plan.Spec{
		Phase: phaseName, SampleRate: t.sampleRate, Nominal: t.dim, NoiseMultiplier: t.multiplier, ClipNorm: 1,
		Dim: t.dim, Steps: t.steps, Reserve: plan.DefaultReserve(t.steps),
	})
}

// tightness is the least share of the claim that the bound must reach.
const tightness = 0.9

// run performs the phases and bounds ε.
func (t worldsTest) run(ctx context.Context) ([]Row, error) {
	m, err := t.mechanism()
	if err != nil {
		return nil, err
	}
	claim, err := t.claim(m, t.delta)
	if err != nil {
		return nil, err
	}
	count := worlds{}
	for range t.phases {
		if err := t.observe(ctx, m, claim, &count); err != nil {
			return nil, err
		}
	}
	bound := twoWorldBound(count.with, count.hits, count.without, count.misses, t.delta, t.alarm)
	return []Row{{
		Part: "B", Name: fmt.Sprintf("ε at δ = %g, %s: bound from %d trials", t.delta, t.name, t.phases*t.dim),
		Found: fmt.Sprintf("%.4f", bound), Accept: fmt.Sprintf("%.4f to %.4f", tightness*claim, claim),
		Pass: tightness*claim <= bound && bound <= claim,
	}}, nil
}

// worlds counts the trials of both worlds, and those of which the test said
// that the canary was there.
type worlds struct{ with, hits, without, misses int }

// observe runs one phase. A trial's statistic is the log-likelihood ratio of the
// two worlds, a function of the releases' inner product with the canary, and the
// threshold is the claim itself: there P(with | with) − δ = exp(ε)·P(with |
// without) for the very mechanism that is claimed, and no other test shows more.
// Both are fixed before the trials.
func (t worldsTest) observe(ctx context.Context, m plan.Mechanism, claim float64, count *worlds) error {
	present, err := flipCoins(t.dim)
	if err != nil {
		return err
	}
	trial := trial{
		mechanism: m, examples: t.dim, workers: 2, kind: kind, budget: budget(1000, t.delta, false),
		newTask: func() (worker.Task, error) {
			task := canaries{present: present, norm: int32(m.Delta)}
			if t.plant != nil {
				return t.plant(task), nil
			}
			return task, nil
		},
	}
	out, err := trial.perform(ctx)
	if err != nil {
		return err
	}
	if out.charges != t.steps || len(out.releases) != t.steps {
		return fmt.Errorf("%d steps were charged and %d released, of %d", out.charges, len(out.releases), t.steps)
	}
	for i, there := range present {
		ratio := 0.0
		for _, r := range out.releases {
			ratio += logRatio(m, r.noised[i])
		}
		said := ratio > claim
		switch {
		case there && said:
			count.hits++
		case said:
			count.misses++
		}
		if there {
			count.with++
		} else {
			count.without++
		}
	}
	return nil
}

// logRatio is the log-likelihood ratio of a released coordinate between the
// worlds with and without its canary: log(1 − q + q·exp((2xΔ − Δ²)/(2σ²))).
func logRatio(m plan.Mechanism, x int32) float64 {
	delta, sigma, q := float64(m.Delta), float64(m.SigmaInt), m.SampleRate()
	return subsampledRatio(q, (2*float64(x)*delta-delta*delta)/(2*sigma*sigma))
}

// subsampledRatio returns log(1 − q + q·exp(e)).
func subsampledRatio(q, e float64) float64 {
	if e > 0 { // exp(e) may be too large a number
		return e + math.Log(q+(1-q)*math.Exp(-e))
	}
	return math.Log1p(q * math.Expm1(e))
}

// flipCoins returns n fair coins.
func flipCoins(n int) ([]bool, error) {
	bits := make([]byte, (n+7)/8)
	if _, err := rand.Read(bits); err != nil {
		return nil, err
	}
	coins := make([]bool, n)
	for i := range coins {
		coins[i] = bits[i/8]>>(i%8)&1 == 1
	}
	return coins, nil
}

// canaries is the task of the two-world test. An absent example contributes
// nothing, as one whose gradient is not a number would.
type canaries struct {
	present []bool
	norm    int32
}

// SetParameters implements worker.Task.
func (c canaries) SetParameters([]byte) error { return nil }

// Accumulate implements worker.Task.
func (c canaries) Accumulate(_ context.Context, _ uint64, _ [32]byte, ids []uint32, sum []int32) error {
	if len(sum) != len(c.present)+1 {
		return fmt.Errorf("a sum of %d coordinates instead of %d", len(sum)-1, len(c.present))
	}
	for _, id := range ids {
		if c.present[id] {
			sum[id] += c.norm
		}
		sum[len(c.present)]++
	}
	return nil
}
