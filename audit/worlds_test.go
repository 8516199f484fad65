package audit

import (
	"context"
	"math"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/dploda/dploda/worker"
)

// fullBatch is a small two-world test that a right mechanism fails with
// probability below 2e-6; see TestPower.
func fullBatch() worldsTest {
	return worldsTest{name: "everyone", sampleRate: 1, multiplier: 1 / 1.5, steps: 1, dim: 200_000, phases: 4, delta: 0.2, alarm: 1e-6}
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

// failure bounds the probability that a right mechanism's bound misses the
// share of the claim that it must reach: the sum of the probabilities of hits
// below some count and of misses above some count, where at these two counts
// the bound still reaches it.
func failure(t *testing.T, w worldsTest) float64 {
	m, err := w.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	claim, err := claimed(m, w.delta)
	if err != nil {
		t.Fatal(err)
	}
	mu := math.Sqrt(float64(w.steps)) / m.NoiseMultiplier()
	hit := distuv.UnitNormal.CDF(mu/2 - claim/mu)
	miss := distuv.UnitNormal.CDF(-mu/2 - claim/mu)
	// A little less than half of the trials have the canary, which happens with
	// probability 1e-12.
	trials := w.dim * w.phases
	n := trials/2 - int(3.6*math.Sqrt(float64(trials)))
	chance := math.Exp(bisect(-40, 0, func(log float64) bool {
		p := math.Exp(log)
		hits := bisect(0, float64(n), func(k float64) bool { return binomialTail(n, n-int(k)+1, 1-hit) <= p })
		misses := n - int(bisect(0, float64(n), func(k float64) bool { return binomialTail(n, n-int(k), miss) <= p }))
		return twoWorldBound(n, int(hits), n, misses, w.delta, w.alarm) < tightness*claim
	}))
	return 2*chance + 1e-12
}

// The chance that the test fails a right mechanism, beside alarm, is what the
// documentation says.
func TestPower(t *testing.T) {
	if f := failure(t, fullBatch()); f > 1e-7 {
		t.Errorf("the small test fails a right mechanism with probability %v", f)
	} else {
		t.Logf("%.2g", f)
	}
}
