package pipeline

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/dploda/dploda/dp/clip"
	"github.com/dploda/dploda/dp/plan"
)

// sideMechanism has both side coordinates, losses up to 1, and a sample of 200 of
// 4,000 examples on average.
func sideMechanism(t *testing.T) plan.Mechanism {
	t.Helper()
	m, err := plan.New(plan.Spec{
		Phase: "finetune", SampleRate: 0.05, Nominal: 4000, NoiseMultiplier: 0.5, ClipNorm: 1, Dim: 1, Steps: 1,
		LossBound: 1, ClipShare: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// releasedSum is a step of the mechanism on examples with these losses and these
// norms of the gradient, noise included.
func releasedSum(r *rand.Rand, m plan.Mechanism, losses, norms []float64) []int32 {
	sum := make([]int32, m.Dim)
	for i, loss := range losses {
		if r.Float64() < m.SampleRate() {
			v, _ := clip.Contribution([]float32{float32(norms[i])}, 1, loss, m)
			for j, x := range v {
				sum[j] += x
			}
		}
	}
	for j := range sum {
		sum[j] += int32(math.RoundToEven(float64(m.SigmaInt) * r.NormFloat64()))
	}
	return sum
}

// The released loss and share of clipped gradients are right on average, for
// losses beyond the bound and for losses near zero, which a released value cut to
// its range would miss. Each of the four means is within 5 of its standard errors,
// which fails by chance with probability 6e-7; a scale that is 5 % wrong is
// rejected.
func TestReleasedCurveIsUnbiased(t *testing.T) {
	const steps = 1500
	m := sideMechanism(t)
	n := int(math.Round(m.Divisor / m.SampleRate()))
	for name, loss := range map[string]func(i int) float64{
		"skewed": func(i int) float64 { return 0.1 + 30*math.Pow(float64(i)/float64(n), 20) }, // up to 30
		"zero":   func(int) float64 { return 0 },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(name))))
			losses, norms := make([]float64, n), make([]float64, n)
			var want, wantSq, clipped float64
			for i := range losses {
				losses[i], norms[i] = loss(i), 0.5
				told := math.Min(losses[i], 1)
				want += told / float64(n)
				wantSq += told * told
				if i%3 == 0 {
					norms[i] = 7
					clipped++
				}
			}
			var c curve
			var mean, cut, share float64
			for range steps {
				c.add(1, releasedSum(r, m, losses, norms), m)
				mean += c.loss / steps
				cut += math.Max(c.loss, 0) / steps
				share += c.clipped / steps
			}
			q := m.SampleRate()
			spread := func(scale, squares float64) float64 {
				noise := float64(m.SigmaInt) * scale
				return math.Sqrt((noise*noise + q*(1-q)*squares/(m.Divisor*m.Divisor)) / steps)
			}
			lossError, shareError := spread(m.LossScale(), wantSq), spread(m.ClipShareScale(), clipped)
			if math.Abs(mean-want) > 5*lossError {
				t.Errorf("the mean released loss is %v ± %v, want %v", mean, lossError, want)
			}
			wantShare := clipped / float64(n)
			if math.Abs(share-wantShare) > 5*shareError {
				t.Errorf("the mean released share is %v ± %v, want %v", share, shareError, wantShare)
			}
			if math.Abs(1.05*share-wantShare) < 5*shareError || want > 0 && math.Abs(1.05*mean-want) < 5*lossError {
				t.Errorf("the test would take a scale that is 5 %% wrong: errors of %v and %v", lossError, shareError)
			}
			if want == 0 && math.Abs(cut) < 5*lossError {
				t.Errorf("cut to its range the mean would be %v, which the test would take", cut)
			}
		})
	}
}

// The smoothed loss is the weighted mean that its comment says.
func TestSmoothedLoss(t *testing.T) {
	m := sideMechanism(t)
	var c curve
	if c.smoothed() != nil {
		t.Error("a loss before the first step")
	}
	var losses []float64
	for i := range 40 {
		noised := []int32{0, int32(i*i*1000 - 30_000), 0}
		c.add(1, noised, m)
		losses = append(losses, float64(noised[1])*m.LossScale())
		var sum, weight float64
		for j, l := range losses {
			w := math.Pow(0.9, float64(i-j))
			sum += w * l
			weight += w
		}
		if got := *c.smoothed(); math.Abs(got-sum/weight) > 1e-12 {
			t.Fatalf("after %d steps the smoothed loss is %v, want %v", i+1, got, sum/weight)
		}
	}
}

// What is shown of a mechanism without side coordinates is nothing at all.
func TestNoCurveWithoutSideCoordinates(t *testing.T) {
	for _, change := range []string{"training_curve: false, adaptive_clip: {quantile: 0.5},", "training_curve: false,"} {
		l := newLearner(t, "batch: 16", everyone, "clip: 0.1,", "clip: 0.1, "+change)
		noised := make([]int32, l.mechanism.Dim)
		for i := range noised {
			noised[i] = 1000
		}
		if err := l.Apply(0, noised); err != nil {
			t.Fatal(err)
		}
		var line metric
		l.describe(&line)
		adaptive := l.adaptive != nil
		if line.Loss != nil || line.LossSmoothed != nil || (line.Clipped != nil) != adaptive || (line.ClipNorm != 0) != adaptive || line.UpdateNorm == 0 {
			t.Errorf("%s: %+v", change, line)
		}
		if want := len(l.weights); l.mechanism.GradientDim() != want {
			t.Errorf("%d coordinates for %d weights", l.mechanism.GradientDim(), want)
		}
	}
}
