package pipeline

import (
	"bytes"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
)

// noisedSums are steps of released sums, as if noise were all that was in them.
func noisedSums(steps, dim int, sigma float64) [][]int32 {
	sums := make([][]int32, steps)
	for i := range sums {
		s := draws.New(draws.SeedKey(uint64(i), "noised sums")).Stream(0, 0, draws.Noise)
		sums[i] = make([]int32, dim)
		for j := range sums[i] {
			sums[i][j] = int32(sigma * s.Normal())
		}
	}
	return sums
}

func state(t *testing.T, l coordinator.Learner) []byte {
	t.Helper()
	b, err := l.MarshalState()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every learner goes on from a checkpoint as if nothing had happened, and what
// it hands to the workers is of the same bits.
func TestLearnersResumeBitForBit(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) (coordinator.Learner, [][]int32){
		"adam": func(t *testing.T) (coordinator.Learner, [][]int32) { return newLearner(t), learnerSums(t) },
		"sgd": func(t *testing.T) (coordinator.Learner, [][]int32) {
			return newLearner(t, "batch: 16", everyone, "clip: 0.1,", "clip: 0.1, optimizer: sgd,"), learnerSums(t)
		},
		"without average": func(t *testing.T) (coordinator.Learner, [][]int32) {
			return newLearner(t, "batch: 16", everyone, "clip: 0.1,", "clip: 0.1, ema: 0,"), learnerSums(t)
		},
		"adaptive clipping": func(t *testing.T) (coordinator.Learner, [][]int32) {
			return newLearner(t, "batch: 16", everyone, "clip: 0.1,", "clip: 0.1, optimizer: dp-adam, adaptive_clip: {quantile: 0.6},"), learnerSums(t)
		},
		"without curve": func(t *testing.T) (coordinator.Learner, [][]int32) {
			l := newLearner(t, "batch: 16", everyone, "clip: 0.1,", "clip: 0.1, training_curve: false,")
			return l, noisedSums(4, l.mechanism.Dim, float64(l.mechanism.SigmaInt))
		},
		"prototypes": func(t *testing.T) (coordinator.Learner, [][]int32) {
			m := tinyRun(t).mechanisms[0]
			return &prototypeLearner{mechanism: m, centers: prototype.New(*tinyRun(t).prototypes)}, noisedSums(4, m.Dim, float64(m.SigmaInt))
		},
	} {
		t.Run(name, func(t *testing.T) {
			whole, sums := make(t)
			var at []byte
			for i, s := range sums {
				if i == len(sums)/2 {
					at = state(t, whole)
				}
				if err := whole.Apply(uint64(i), s); err != nil {
					t.Fatal(err)
				}
			}
			resumed, _ := make(t)
			if err := resumed.UnmarshalState(at); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(state(t, resumed), at) {
				t.Error("a state does not survive reading and writing")
			}
			for i := len(sums) / 2; i < len(sums); i++ {
				if err := resumed.Apply(uint64(i), sums[i]); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(state(t, resumed), state(t, whole)) || !bytes.Equal(resumed.Parameters(), whole.Parameters()) {
				t.Error("the resumed learner comes to another state")
			}
			if a, ok := whole.(*adapterLearner); ok {
				var line, resumedLine metric
				a.describe(&line)
				resumed.(*adapterLearner).describe(&resumedLine)
				if diff := cmp.Diff(line, resumedLine); diff != "" {
					t.Error("the resumed learner draws another curve:\n" + diff)
				}
			}
			if bytes.Equal(at, state(t, whole)) {
				t.Error("steps change nothing: the test sees nothing")
			}
		})
	}
}

func newLearner(t *testing.T, changes ...string) *adapterLearner {
	t.Helper()
	r := tinyRun(t, changes...)
	a, err := r.startAdapter()
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.newAdapterLearner(a, prototype.New(*r.prototypes))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func learnerSums(t *testing.T) [][]int32 {
	m := tinyRun(t).finetune()
	return noisedSums(m.Steps, m.Dim, float64(m.SigmaInt))
}

// The released mean is the sum over the public divisor, whatever the batch was.
// (Tried with a divisor that is 1 % off.)
func TestLearnerDividesByThePublicConstant(t *testing.T) {
	l := newLearner(t, "batch: 16", everyone, "clip: 0.1,", "clip: 0.1, optimizer: sgd, beta1: 0, ema: 0, learning_rate: 1, final_learning_rate: 1,")
	l.weights[3] = 0
	sum := make([]int32, l.mechanism.Dim)
	sum[3] = 12345
	if err := l.Apply(0, sum); err != nil {
		t.Fatal(err)
	}
	m := l.mechanism
	want := 12345 * m.ClipNorm / float64(m.GradientDelta()) / 60 // finetune.batch
	if got := -float64(l.weights[3]); math.Abs(got/want-1) > 1e-6 {
		t.Errorf("a step of %v, want %v", got, want)
	}
	if math.Abs(l.curve.updateNorm/want-1) > 1e-9 {
		t.Errorf("the released norm is %v, want %v", l.curve.updateNorm, want)
	}
}

func TestLearnersRefuse(t *testing.T) {
	l := newLearner(t)
	dim := l.mechanism.Dim
	if err := l.Apply(0, make([]int32, dim+1)); err == nil {
		t.Error("a sum with its count coordinate is accepted")
	}
	if err := l.Apply(uint64(len(l.rates)), make([]int32, dim)); err == nil {
		t.Error("a step beyond the last is accepted")
	}
	whole := state(t, l)
	for name, damaged := range map[string][]byte{
		"cut": whole[:len(whole)-1], "longer": append(bytes.Clone(whole), 0), "empty": nil, "of a header": whole[:3],
	} {
		if err := newLearner(t).UnmarshalState(damaged); err == nil {
			t.Errorf("a checkpoint that is %s is accepted", name)
		}
	}
	r := tinyRun(t)
	p := &prototypeLearner{mechanism: r.mechanisms[0], centers: prototype.New(*r.prototypes)}
	if err := p.Apply(1, make([]int32, r.mechanisms[0].Dim)); err == nil {
		t.Error("prototypes skip a round")
	}
	if err := p.Apply(0, make([]int32, r.mechanisms[0].Dim-1)); err == nil {
		t.Error("prototypes take a sum of another length")
	}
	if err := p.UnmarshalState([]byte("x")); err == nil {
		t.Error("damaged prototypes are accepted")
	}
}
