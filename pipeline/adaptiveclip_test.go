package pipeline

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/optim"
	"github.com/dploda/dploda/worker/task"
)

func adaptiveConfig(quantile, rate float64) config.Finetune {
	return config.Finetune{Clip: 1e-3, Beta2: 0.9, AdaptiveClip: config.AdaptiveClip{Quantile: quantile, LearningRate: rate}}
}

// adapt runs the mechanism on examples whose norms are log-normal, from a norm
// that is a thousand times too small, and returns the mean of log C over the last
// steps.
func adapt(t *testing.T, a *adaptiveClip, steps, last int) float64 {
	t.Helper()
	m := sideMechanism(t)
	m.ClipNorm = 1e-3
	r := rand.New(rand.NewPCG(3, 4))
	losses, norms := make([]float64, 4000), make([]float64, 4000)
	for i := range norms {
		norms[i] = math.Exp(r.NormFloat64())
	}
	var c curve
	mean := 0.0
	for step := range steps {
		c.add(1, releasedSum(r, m, losses, norms), m)
		m.ClipNorm = a.next(m.ClipNorm, c.clipped)
		if step >= steps-last {
			mean += math.Log(m.ClipNorm) / float64(last)
		}
	}
	return mean
}

// The norm comes to the quantile of the gradients' norms. Of log C around its
// fixed point, where the density of log norms is f, the mean of n steps has
// standard error s/(f√n), s being that of a released share: noise 0.056 and
// sampling at most 0.035, together 0.066. With n = 400, f = 0.4 at the median and
// 0.175 at 0.9 (standard normal) it is 0.008 and 0.019; the examples themselves
// were drawn, which moves their quantiles by 0.02 and 0.03. 5 of both together,
// 0.11 and 0.18, are passed by chance with probability below 1e-6. The wrong sign
// and the wrong side are rejected.
func TestAdaptiveClipFindsTheQuantile(t *testing.T) {
	const steps, last = 700, 400
	for _, c := range []struct{ quantile, log, tolerance float64 }{{0.5, 0, 0.11}, {0.9, 1.2816, 0.18}} {
		near := func(a *adaptiveClip) (bool, float64) {
			got := adapt(t, a, steps, last)
			return math.Abs(got-c.log) < c.tolerance, got
		}
		if ok, got := near(newAdaptiveClip(adaptiveConfig(c.quantile, 0.2), nil)); !ok {
			t.Errorf("quantile %v: log C comes to %v, want %v", c.quantile, got, c.log)
		}
		if ok, got := near(newAdaptiveClip(adaptiveConfig(c.quantile, -0.2), nil)); ok {
			t.Errorf("quantile %v: the wrong sign comes to %v too", c.quantile, got)
		}
		if ok, got := near(newAdaptiveClip(adaptiveConfig(1-c.quantile, 0.2), nil)); ok && c.quantile != 0.5 {
			t.Errorf("quantile %v: the other side comes to %v too", c.quantile, got)
		}
	}
}

// Whatever the noise, the norm moves by a factor of e at most and stays in its
// public range.
func TestAdaptiveClipIsBounded(t *testing.T) {
	a := newAdaptiveClip(adaptiveConfig(0.5, 1), nil)
	for _, clipped := range []float64{math.Inf(-1), -1e9, -3, 0, 0.5, 1, 5, 1e9, math.Inf(1)} {
		norm := 1e-3
		for range 40 {
			next := a.next(norm, clipped)
			if ratio := next / norm; !(ratio >= 0.99/math.E && ratio <= 1.01*math.E) {
				t.Fatalf("a share of %v takes the norm from %v to %v", clipped, norm, next)
			}
			norm = next
		}
		if norm < 1e-3/clipReach || norm > 1e-3*clipReach {
			t.Errorf("a share of %v takes the norm out to %v", clipped, norm)
		}
		if moved := norm != 1e-3; moved != (clipped != 0.5) {
			t.Errorf("a share of %v leaves the norm at %v", clipped, norm)
		}
	}
}

// The learner publishes the norm that a released share asks for, scales its step by
// the one that the workers clipped at, and never touches what is accounted.
func TestLearnerAdaptsTheClippingNorm(t *testing.T) {
	l := newLearner(t, "batch: 16", everyone, "clip: 0.1,",
		"clip: 0.1, optimizer: sgd, beta1: 0, ema: 0, learning_rate: 1, final_learning_rate: 1, adaptive_clip: {quantile: 0.5, learning_rate: 0.4},")
	admitted := l.mechanism
	published := func() float64 {
		norm, _, err := task.DecodeParameters(l.Parameters(), make([]float32, len(l.weights)))
		if err != nil {
			t.Fatal(err)
		}
		return norm
	}
	if published() != 0.1 {
		t.Errorf("the first norm is %v, want finetune.clip", published())
	}
	clear(l.weights)
	sum := make([]int32, l.mechanism.Dim)
	sum[3], sum[l.mechanism.ClipCoordinate()] = 12345, int32(60*l.mechanism.ClipDelta) // all of the batch is clipped
	for step, norm := range []float64{0.1, 0.1 * math.Exp(0.2), 0.1 * math.Exp(0.4)} {
		before := float64(l.weights[3])
		if err := l.Apply(uint64(step), sum); err != nil {
			t.Fatal(err)
		}
		want := 12345 * norm / float64(admitted.GradientDelta()) / 60
		if got := before - float64(l.weights[3]); math.Abs(got/want-1) > 1e-4 {
			t.Errorf("step %d is of %v, want %v", step, got, want)
		}
		if got, want := published(), norm*math.Exp(0.2); math.Abs(got/want-1) > 1e-12 {
			t.Errorf("the norm after step %d is %v, want %v", step, got, want)
		}
	}
	now := l.mechanism
	now.ClipNorm = admitted.ClipNorm
	if now != admitted {
		t.Errorf("the mechanism became %+v", now)
	}
}

// dp-adam is told the noise of its second moment as that averages squares; at a
// norm that stays it is the noise of one step.
func TestAdaptiveClipCorrectsForItsNoise(t *testing.T) {
	adam, err := optim.NewAdam(1, optim.DefaultAdam())
	if err != nil {
		t.Fatal(err)
	}
	a, m := newAdaptiveClip(adaptiveConfig(0.5, 0.2), adam), sideMechanism(t)
	var variances []float64
	for step := range 30 {
		if step >= 10 {
			m.ClipNorm *= 1.1
		}
		if err := a.correct(m); err != nil {
			t.Fatal(err)
		}
		variances = append(variances, m.NoiseStd()*m.NoiseStd())
		var sum, weight float64
		for i, v := range variances {
			w := 0.1 * math.Pow(0.9, float64(step-i))
			sum += w * v
			weight += w
		}
		if got := a.noise / a.weight; math.Abs(got/(sum/weight)-1) > 1e-12 {
			t.Fatalf("step %d: the noise has variance %v, want %v", step, got, sum/weight)
		}
		if got := a.noise / a.weight; step < 10 && math.Abs(got/variances[0]-1) > 1e-12 {
			t.Fatalf("step %d: the variance of a norm that stays is %v, want %v", step, got, variances[0])
		}
	}
}

// A dp-adam whose norm never moves takes the steps of one whose norm is fixed.
func TestAdaptiveNormThatStaysChangesNoStep(t *testing.T) {
	weights := func(adaptive string) []float32 {
		l := newLearner(t, "batch: 16", everyone, "clip: 0.1,", "clip: 0.1, optimizer: dp-adam, "+adaptive)
		if l.adaptive != nil {
			l.adaptive.low, l.adaptive.high = 0.1, 0.1
		}
		for i, s := range learnerSums(t) {
			if err := l.Apply(uint64(i), s); err != nil {
				t.Fatal(err)
			}
		}
		return l.weights
	}
	fixed, adaptive := weights(""), weights("adaptive_clip: {quantile: 0.7},")
	for i := range fixed {
		if math.Abs(float64(fixed[i]-adaptive[i])) > 1e-5 {
			t.Fatalf("weight %d is %v and %v", i, fixed[i], adaptive[i])
		}
	}
	if start := newLearner(t, "batch: 16", everyone).weights; start[0] == fixed[0] {
		t.Error("the steps change nothing")
	}
}
