package audit

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
)

// naiveOneRunP is the p-value as Theorem 5.2 has it: the probability under δ =
// 0, and for every i the probability that a δ-part moves the count from i below.
func naiveOneRunP(n, guesses, correct int, epsilon, delta float64) float64 {
	right := math.Exp(epsilon) / (1 + math.Exp(epsilon))
	alpha := 0.0
	for i := 1; i <= correct; i++ {
		alpha = max(alpha, 2/float64(i)*(naiveTail(guesses, correct-i, right)-naiveTail(guesses, correct, right)))
	}
	return min(1, naiveTail(guesses, correct, right)+alpha*float64(n)*delta)
}

func TestOneRunPIsTheTheorems(t *testing.T) {
	for _, guesses := range []int{1, 10, 25} {
		for correct := range guesses + 1 {
			for _, epsilon := range []float64{0, 0.5, 3} {
				for _, delta := range []float64{0, 1e-4, 0.01} {
					got, want := oneRunP(2*guesses, guesses, correct, epsilon, delta), naiveOneRunP(2*guesses, guesses, correct, epsilon, delta)
					if math.Abs(got-want) > 1e-9 {
						t.Errorf("%d of %d right at ε %v, δ %v: %v, want %v", correct, guesses, epsilon, delta, got, want)
					}
				}
			}
		}
	}
}

// Values of the program in the paper's appendix D, run with scipy.
func TestOneRunReferences(t *testing.T) {
	for _, c := range []struct {
		n, guesses, correct  int
		epsilon, delta, want float64
	}{
		{1000, 400, 254, 1, 1e-6, 0.9999896914858689},
		{1000, 400, 399, 3, 1e-5, 0.0007826124880619879},
		{100, 100, 75, 0.5, 0, 0.0048047394854397255},
		{300, 200, 150, 0.7, 1e-3, 0.029777080179689906},
	} {
		if got := oneRunP(c.n, c.guesses, c.correct, c.epsilon, c.delta); math.Abs(got-c.want) > 1e-9*c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for _, c := range []struct {
		n, guesses, correct int
		delta, alarm, want  float64
	}{{1000, 400, 254, 1e-6, 1e-3, 0.22997976466285763}, {1000, 400, 400, 1e-6, 1e-3, 4.020960860034393}, {100, 100, 75, 0, 0.05, 0.7022139309447084}} {
		if got := oneRunBound(c.n, c.guesses, c.correct, c.delta, c.alarm); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// Randomized response at ε keeps its coins with probability exp(ε)/(1+exp(ε)):
// the bound exceeds ε in at most the stated share of runs, and comes near it.
func TestOneRunBoundOfRandomizedResponse(t *testing.T) {
	const n, epsilon, alarm = 1000, 1.0, 0.01
	right := 1 / (1 + math.Exp(-epsilon))
	over, mean := 0.0, 0.0
	for correct := range n + 1 {
		p := binomialTerm(n, correct, right)
		if p < 1e-15 {
			continue
		}
		b := oneRunBound(n, n, correct, 0, alarm)
		mean += p * b
		if b > epsilon {
			over += p
		}
	}
	if over > alarm || over < alarm/3 || mean < 0.75*epsilon {
		t.Errorf("the bound exceeds ε with probability %v, and is %v in the mean", over, mean)
	}
}

// What passes and what fails, the control included: a training that shows its
// canaries, and a control that hides them, are no audit that passes.
func TestJudgeOneRun(t *testing.T) {
	o := oneRun{images: 300, guesses: 200, delta: 1e-6, alarm: 1e-3}
	for _, c := range []struct {
		right, control int
		want           [2]bool
	}{
		{130, 200, [2]bool{true, true}},
		{200, 200, [2]bool{false, true}}, // no noise where noise is claimed
		{130, 130, [2]bool{true, false}}, // an attack that sees nothing
	} {
		rows := o.judge(2.5, c.right, c.control)
		if rows[0].Pass != c.want[0] || rows[1].Pass != c.want[1] {
			t.Errorf("%d and %d right: %+v", c.right, c.control, rows)
		}
	}
}

// axes contribute Δ to a coordinate of their own.
type axes struct{ delta int32 }

func (a axes) SetParameters([]byte) error { return nil }

func (a axes) Accumulate(_ context.Context, _ uint64, _ [32]byte, ids []uint32, sum []int32) error {
	for _, id := range ids {
		sum[id] += a.delta
		sum[len(sum)-1]++
	}
	return nil
}

// For canaries at right angles the attacker's score is the exact log-likelihood
// ratio, which part B computes from the one coordinate.
func TestScoresOfOrthogonalCanaries(t *testing.T) {
	const n = 20
	w := worldsTest{sampleRate: 0.4, multiplier: 1.3, steps: 1, dim: 2 * n}
	m, err := w.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	r := release{noised: make([]int32, m.Dim)}
	for i := range r.noised {
		r.noised[i] = int32(random.NormFloat64()*float64(m.SigmaInt)) + int32(i%2)*int32(m.Delta)
	}
	a := attacker{m: m, images: n}
	for range attackers {
		a.tasks = append(a.tasks, axes{int32(m.Delta)})
	}
	scores := make([]float64, n)
	if err := a.score(t.Context(), 0, [32]byte{}, r, scores); err != nil {
		t.Fatal(err)
	}
	for i, got := range scores {
		if want := logRatio(m, r.noised[i]); math.Abs(got-want) > 1e-6 {
			t.Errorf("canary %d: %v, want %v", i, got, want)
		}
	}
}

func TestCorrectCounts(t *testing.T) {
	o := oneRun{guesses: 4}
	scores := []float64{5, -1, 3, 0.5, -7, 0}
	for _, c := range []struct {
		present []bool
		want    int
	}{
		{[]bool{true, false, true, false, false, true}, 4},
		{[]bool{false, true, false, true, true, false}, 0},
		{[]bool{true, true, true, true, true, true}, 2},
	} {
		if got := o.correct(scores, c.present); got != c.want {
			t.Errorf("%v: %d right, want %d", c.present, got, c.want)
		}
	}
}
