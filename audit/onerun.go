package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/mat"

	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/worker"
)

// Training is a small fine-tuning on made-up images, through a run's own task
// and learner.
type Training struct {
	Dim        int    // trained parameters
	Arithmetic string // of the device
	NewTask    func(plan.Mechanism) (worker.Task, error)
	NewLearner func(plan.Mechanism) (coordinator.Learner, error)
}

// oneRun is part C: the audit of Steinke, Nasr and Jagielski 2023 (arXiv
// 2305.08846). Every image of a training is a canary, there or not by a fair
// coin; after one training the attacker guesses some of the coins.
//
// The attacker knows everything but the coins, the Poisson samples and the noise:
// images, weights, and the draws of noise and time, so that it can compute what
// each canary would have contributed to each step.
type oneRun struct {
	training   func(images, steps int) (Training, error)
	images     int // canaries
	guesses    int // half of them that a canary is there, half that it is not
	sampleRate float64
	multiplier float64 // of the noise that is claimed
	steps      int
	delta      float64
	alarm      float64 // that the bound exceeds the mechanism's ε
}

func (o oneRun) mechanism(dim int, multiplier float64) (plan.Mechanism, error) {
	return plan.New(plan.Spec{
		Phase: phaseName, SampleRate: o.sampleRate, Nominal: o.images, NoiseMultiplier: multiplier, ClipNorm: trainingClip,
		Dim: dim, Steps: o.steps, Reserve: plan.DefaultReserve(o.steps),
	})
}

// trainingClip is below the norm of any gradient of the training, so that every
// contribution has norm Δ but for rounding: the audit then sees most.
const trainingClip = 1e-4

// noNoise is a noise multiplier whose noise has a standard deviation of one grid
// unit: no mechanism has less.
const noNoise = 1e-12

// run trains once as claimed and once without noise, and bounds the ε of both.
func (o oneRun) run(ctx context.Context) ([]Row, error) {
	training, err := o.training(o.images, o.steps)
	if err != nil {
		return nil, err
	}
	m, err := o.mechanism(training.Dim, o.multiplier)
	if err != nil {
		return nil, err
	}
	silent, err := o.mechanism(training.Dim, noNoise)
	if err != nil {
		return nil, err
	}
	claim, err := claimed(m, o.delta)
	if err != nil {
		return nil, err
	}
	right, err := o.attack(ctx, training, m, nil)
	if err != nil {
		return nil, err
	}
	// Without noise a run is admitted in test mode alone, whose ε is unlimited.
	seed := uint64(1)
	control, err := o.attack(ctx, training, silent, &seed)
	if err != nil {
		return nil, fmt.Errorf("control without noise: %w", err)
	}
	return o.judge(claim, right, control), nil
}

// judge bounds ε from the right guesses of both trainings.
func (o oneRun) judge(claim float64, right, control int) []Row {
	bound, unprotected := o.bound(right), o.bound(control)
	name := func(of string, right int) string {
		return fmt.Sprintf("ε at δ = %g, %s, %d of %d guesses right", o.delta, of, right, o.guesses)
	}
	return []Row{{
		Part: "C", Name: name(fmt.Sprintf("one training of %d canaries", o.images), right),
		Found: fmt.Sprintf("%.4f", bound), Accept: fmt.Sprintf("at most %.4f", claim), Pass: bound <= claim,
	}, {
		Part: "C", Name: name("the same without noise", control),
		Found: fmt.Sprintf("%.4f", unprotected), Accept: fmt.Sprintf("above %.4f", claim), Pass: unprotected > claim,
	}}
}

func (o oneRun) bound(right int) float64 {
	return oneRunBound(o.images, o.guesses, right, o.delta, o.alarm)
}

// attack trains once under m and returns how many guesses were right.
func (o oneRun) attack(ctx context.Context, training Training, m plan.Mechanism, testSeed *uint64) (int, error) {
	present, err := flipCoins(o.images)
	if err != nil {
		return 0, err
	}
	learner, err := training.NewLearner(m)
	if err != nil {
		return 0, err
	}
	known := &drawKeys{keys: map[uint64][32]byte{}}
	trial := trial{
		mechanism: m, budget: budget(1000, o.delta, testSeed != nil), examples: o.images, workers: 2,
		kind: training.Arithmetic, learner: learner, testSeed: testSeed,
		newTask: func() (worker.Task, error) {
			inner, err := training.NewTask(m)
			return absentees{inner, present, known}, err
		},
	}
	out, err := trial.perform(ctx)
	if err != nil {
		return 0, err
	}
	if out.charges != o.steps || len(out.releases) != o.steps {
		return 0, fmt.Errorf("%d steps were charged and %d released, of %d", out.charges, len(out.releases), o.steps)
	}
	scores := make([]float64, o.images)
	a := attacker{m: m, images: o.images}
	for range attackers {
		task, err := training.NewTask(m)
		if err != nil {
			return 0, err
		}
		a.tasks = append(a.tasks, task)
	}
	for step, r := range out.releases {
		if err := a.score(ctx, uint64(step), known.keys[uint64(step)], r, scores); err != nil {
			return 0, err
		}
	}
	return o.correct(scores, present), nil
}

// correct counts right guesses: the highest scores are guessed to be there, as
// many of the lowest to be absent.
func (o oneRun) correct(scores []float64, present []bool) int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(scores[j], scores[i]) })
	right := 0
	for k := range o.guesses / 2 {
		if present[order[k]] {
			right++
		}
		if !present[order[len(order)-1-k]] {
			right++
		}
	}
	return right
}

// absentees is a run's own task on the canaries that are there. An absent one
// contributes nothing, as one whose gradient is not a number would.
type absentees struct {
	worker.Task
	present []bool
	known   *drawKeys
}

// drawKeys are the draw keys of the steps, which the attacker knows.
type drawKeys struct {
	sync.Mutex
	keys map[uint64][32]byte
}

// Accumulate implements worker.Task.
func (a absentees) Accumulate(ctx context.Context, step uint64, key [32]byte, ids []uint32, sum []int32) error {
	a.known.Lock()
	a.known.keys[step] = key
	a.known.Unlock()
	there := slices.DeleteFunc(slices.Clone(ids), func(id uint32) bool { return !a.present[id] })
	if err := a.Task.Accumulate(ctx, step, key, there, sum); err != nil {
		return err
	}
	sum[len(sum)-1] += int32(len(ids) - len(there))
	return nil
}

// attackers is how many threads compute contributions.
const attackers = 2

// attacker scores the canaries by what the steps released.
type attacker struct {
	m      plan.Mechanism
	images int
	tasks  []worker.Task
}

// score adds a step's log-likelihood ratios to the canaries' scores.
//
// The release is y = V·x + N(0, σ²), where V holds the contributions of all
// canaries and x_i says whether canary i was there and in the sample: with
// probability p = q/2. The best linear estimate of x has the errors' covariance
// σ²·(VᵀV + λ)⁻¹ with λ = σ²/(p(1−p)). An estimate and its error, freed of
// what was known before, is an observation of x_i with Gaussian noise, whose
// ratio between the worlds is that of the subsampled Gaussian mechanism.
func (a attacker) score(ctx context.Context, step uint64, key [32]byte, r release, scores []float64) error {
	v, err := a.contributions(ctx, step, key, r.parameters)
	if err != nil {
		return err
	}
	n, dim, q := a.images, a.m.Dim, a.m.SampleRate()
	p, unit := q/2, float64(a.m.Delta)
	prior := p * (1 - p)
	// Noise below a thousandth of Δ would tell no more, and leave VᵀV singular.
	sigma := math.Max(float64(a.m.SigmaInt)/unit, 1e-3)

	y := make([]float64, dim)
	for j, x := range r.noised {
		y[j] = float64(x) / unit
	}
	for i := range n {
		for j, x := range v.RawRowView(i) {
			y[j] -= p * x
		}
	}
	var gram mat.SymDense
	gram.SymOuterK(1, v)
	for i := range n {
		gram.SetSym(i, i, gram.At(i, i)+sigma*sigma/prior)
	}
	var factor mat.Cholesky
	if !factor.Factorize(&gram) {
		return errors.New("the canaries' contributions cannot be told apart")
	}
	var projected, estimate mat.VecDense
	projected.MulVec(v, mat.NewVecDense(dim, y))
	if err := factor.SolveVecTo(&estimate, &projected); err != nil {
		return err
	}
	var inverse mat.SymDense
	if err := factor.InverseTo(&inverse); err != nil {
		return err
	}
	for i := range scores {
		after := sigma * sigma * inverse.At(i, i) // variance of x_i given y
		noise := 1 / (1/after - 1/prior)
		x := p + noise*estimate.AtVec(i)/after
		scores[i] += subsampledRatio(q, (2*x-1)/(2*noise))
	}
	return nil
}

// contributions computes what every canary would contribute to a step, in units
// of Δ: one row for each.
func (a attacker) contributions(ctx context.Context, step uint64, key [32]byte, parameters []byte) (*mat.Dense, error) {
	v := mat.NewDense(a.images, a.m.Dim, nil)
	group, ctx := errgroup.WithContext(ctx)
	for t, task := range a.tasks {
		group.Go(func() error {
			if err := task.SetParameters(parameters); err != nil {
				return err
			}
			sum := make([]int32, a.m.Dim+1)
			for i := t; i < a.images; i += len(a.tasks) {
				clear(sum)
				if err := task.Accumulate(ctx, step, key, []uint32{uint32(i)}, sum); err != nil {
					return err
				}
				row := v.RawRowView(i)
				for j := range row {
					row[j] = float64(sum[j]) / float64(a.m.Delta)
				}
			}
			return nil
		})
	}
	return v, group.Wait()
}
