package audit

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/worker"
)

// fullBatch is a small two-world test that a right mechanism fails with
// probability below 2e-6; see TestPower.
func fullBatch() worldsTest {
	return worldsTest{name: "everyone", sampleRate: 1, multiplier: 1 / 1.5, steps: 1, dim: 200_000, phases: 4, delta: 0.2, alarm: 1e-6, claim: claimed}
}

func TestWorldsPass(t *testing.T) {
	rows, err := fullBatch().run(t.Context())
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	if !rows[0].Pass {
		t.Errorf("%+v", rows[0])
	}
	t.Log(rows[0].Found, rows[0].Accept)
}

// louder contributes more than Δ, or less.
type louder struct {
	canaries
	norm float64
}

func (l louder) Accumulate(ctx context.Context, step uint64, key [32]byte, ids []uint32, sum []int32) error {
	c := l.canaries
	c.norm = int32(math.Round(float64(c.norm) * l.norm))
	return c.Accumulate(ctx, step, key, ids, sum)
}

// A contribution of 1.15·Δ shows more than is claimed (as noise that is 13 %
// too small would), one of 0.85·Δ less than the test must show (as noise that is
// 18 % too large would).
func TestWorldsRefuseWrongSensitivity(t *testing.T) {
	for _, norm := range []float64{1.15, 0.85} {
		w := fullBatch()
		w.plant = func(task worker.Task) worker.Task { return louder{task.(canaries), norm} }
		rows, err := w.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if rows[0].Pass {
			t.Errorf("contributions of %v·Δ pass: bound %s, accepted %s", norm, rows[0].Found, rows[0].Accept)
		}
	}
}

// subsampled is a small two-world test of Poisson samples over several steps,
// whose claim is the twin's.
func subsampled() worldsTest {
	return worldsTest{name: "a quarter in each of 4 steps", sampleRate: 0.25, multiplier: 0.7, steps: 4, dim: 200_000, phases: 8, delta: 0.1, alarm: 1e-6,
		claim: func(m plan.Mechanism, delta float64) (float64, error) {
			epsilon, _, _ := lossTwin(m, delta)
			return epsilon, nil
		}}
}

func TestSubsampledWorldsPass(t *testing.T) {
	rows, err := subsampled().run(t.Context())
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	if !rows[0].Pass {
		t.Errorf("%+v", rows[0])
	}
	t.Log(rows[0].Found, rows[0].Accept)
}

// A claim for less than what is done fails: a smaller sampling rate, a step
// that is not charged.
func TestWorldsRefuseWrongClaims(t *testing.T) {
	for name, change := range map[string]func(*plan.Mechanism){
		"a rate of 0.2": func(m *plan.Mechanism) { m.QThreshold = m.QThreshold / 5 * 4 },
		"three steps":   func(m *plan.Mechanism) { m.Steps = 3 },
	} {
		w := subsampled()
		w.phases = 3
		right := w.claim
		w.claim = func(m plan.Mechanism, delta float64) (float64, error) {
			change(&m)
			return right(m, delta)
		}
		rows, err := w.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if rows[0].Pass {
			t.Errorf("a claim for %s passes: bound %s, accepted %s", name, rows[0].Found, rows[0].Accept)
		}
	}
}

// lossTwin returns ε at δ of the steps of m in the direction of the two-world
// test, and the probabilities that the privacy loss exceeds it with and without
// the canary. It rounds the loss of one step to a grid and convolves.
func lossTwin(m plan.Mechanism, delta float64) (epsilon, hit, miss float64) {
	const grid, pieces = 2e-3, 200_000
	q, z := m.SampleRate(), m.NoiseMultiplier()
	cdf := func(x, mean float64) float64 { return distuv.Normal{Mu: mean, Sigma: z}.CDF(x) }
	with, without := map[int]float64{}, map[int]float64{}
	lo, hi := -9*z, 1+9*z
	width := (hi - lo) / pieces
	for i := range pieces {
		x := lo + float64(i)*width
		absent := cdf(x+width, 0) - cdf(x, 0)
		there := cdf(x+width, 1) - cdf(x, 1)
		loss := int(math.Round(subsampledRatio(q, (2*(x+width/2)-1)/(2*z*z)) / grid))
		with[loss] += (1-q)*absent + q*there
		without[loss] += absent
	}
	keys := slices.Sorted(maps.Keys(with))
	base := keys[0]
	p, r := make([]float64, keys[len(keys)-1]-base+1), make([]float64, keys[len(keys)-1]-base+1)
	for k := range with {
		p[k-base], r[k-base] = with[k], without[k]
	}
	sumP, sumR, offset := p, r, base
	for range m.Steps - 1 {
		sumP, sumR, offset = convolve(sumP, p), convolve(sumR, r), offset+base
	}
	above := func(e float64) (hit, miss float64) {
		for i := range sumP {
			if float64(i+offset)*grid > e {
				hit += sumP[i]
				miss += sumR[i]
			}
		}
		return hit, miss
	}
	epsilon = bisect(0, 20, func(e float64) bool {
		hit, miss := above(e)
		return hit-math.Exp(e)*miss > delta
	})
	hit, miss = above(epsilon)
	return epsilon, hit, miss
}

func convolve(a, b []float64) []float64 {
	c := make([]float64, len(a)+len(b)-1)
	for i, x := range a {
		for j, y := range b {
			c[i+j] += x * y
		}
	}
	return c
}

// The twin against the closed form of one step of everyone.
func TestLossTwin(t *testing.T) {
	m, err := worldsTest{sampleRate: 1, multiplier: 1, steps: 1, dim: 1000}.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	for _, delta := range []float64{0.1, 1e-3} {
		epsilon, hit, miss := lossTwin(m, delta)
		want := gaussianEpsilon(1, delta)
		if math.Abs(epsilon-want) > 3e-3 || math.Abs(math.Log((hit-delta)/miss)-epsilon) > 1e-2 {
			t.Errorf("δ %v: ε %v, hits %v, misses %v, want ε %v", delta, epsilon, hit, miss, want)
		}
	}
}

// failure bounds the probability that a right mechanism's bound misses the
// share of the claim that it must reach, given the probabilities of hits and
// misses: the sum of the probabilities of fewer hits than some count and of more
// misses than some count, where at these two counts the bound still reaches it.
func failure(w worldsTest, claim, hit, miss float64) float64 {
	// Fewer trials than this have the canary, or have it not, with probability
	// below 1e-12.
	trials := w.dim * w.phases
	n := trials/2 - int(3.6*math.Sqrt(float64(trials)))
	chance := math.Exp(bisect(-40, 0, func(log float64) bool {
		p := math.Exp(log)
		hits := bisect(0, float64(n), func(k float64) bool { return binomialTail(n, n-int(k)+1, 1-hit) <= p })
		misses := n - int(bisect(0, float64(n), func(k float64) bool { return binomialTail(n, n-int(k), miss) <= p }))
		return twoWorldBound(n, int(hits), n, misses, w.delta, w.alarm) < tightness*claim
	}))
	return 2*chance + 2e-12
}

// No test of part B fails a right mechanism more often than is stated. The
// number of trials is what this asks for: with half of them the whole tests are
// found wanting.
func TestPower(t *testing.T) {
	tests := map[string]worldsTest{"small": fullBatch(), "small, subsampled": subsampled()}
	for _, quick := range []bool{false, true} {
		for _, w := range worldsTests(quick) {
			tests[fmt.Sprintf("%s, quick %v", w.name, quick)] = w
		}
	}
	for name, w := range tests {
		m, err := w.mechanism()
		if err != nil {
			t.Fatal(err)
		}
		epsilon, hit, miss := lossTwin(m, w.delta)
		// What was claimed may be above the twin's by its grid.
		if f := failure(w, epsilon+2e-3, hit, miss); f > missAlarm {
			t.Errorf("%s: fails a right mechanism with probability %.2g", name, f)
		} else {
			t.Logf("%s: ε %.4f, fails with probability %.2g", name, epsilon, f)
		}
	}
}
