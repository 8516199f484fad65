package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/config"
)

// ForecastOptions are what a forecast is asked for besides the config.
type ForecastOptions struct {
	Epsilons []float64
	Cluster  *Cluster      // nil: none
	Measure  time.Duration // measure this machine for about so long; 0: not at all
	State    string        // the site's state folder, "" the default one
}

// Forecast is what a config would cost and give at several ε, before any private
// image is opened. What its figures mean: docs/planning.md.
type Forecast struct {
	Name      string  `json:"name"`
	Base      string  `json:"base"`
	Trained   int     `json:"trained_parameters"`
	Delta     float64 `json:"delta"`
	Adjacency string  `json:"adjacency"`
	Unit      string  `json:"unit"`
	Nominal   int     `json:"nominal_size"`
	Batch     int     `json:"batch"`
	Copies    int     `json:"copies"`

	PrototypeChannel bool                `json:"prototype_channel"` // the base has one
	Prototypes       *ForecastPrototypes `json:"prototypes"`        // null: the config has no such section
	Work             workload            `json:"work"`
	Rates            *Rates              `json:"rates"` // null: not measured
	Cluster          string              `json:"cluster,omitempty"`
	HeldSigma        float64             `json:"held_sigma,omitempty"` // of the config's own ε; rows say how many steps it allows
	Rows             []ForecastRow       `json:"rows"`
	Notes            []string            `json:"notes"`
	// Alone is the time on this machine without other programs, by processor time;
	// null: not measured.
	Alone          *Hours `json:"hours_alone"`
	hours, cluster *Hours
}

// ForecastPrototypes is what the stage prototypes costs and gives; it does not
// depend on the run's ε.
type ForecastPrototypes struct {
	Epsilon float64 `json:"epsilon"` // alone, its reserve included
	// PixelNoise is the noise's standard deviation in a pixel of one cluster's mean, of
	// a range of 1, if all clusters are of one size.
	PixelNoise float64 `json:"pixel_noise"`
	// ClusterImages is that size, LeastImages what a cluster needs to stand clear of
	// its count's noise.
	ClusterImages float64 `json:"cluster_images"`
	LeastImages   float64 `json:"least_images"`
}

// ForecastRow is one ε.
type ForecastRow struct {
	Epsilon float64 `json:"epsilon"`
	// Problem says why there is no such run; then all else is zero.
	Problem    string  `json:"problem,omitempty"`
	Sigma      float64 `json:"noise_multiplier,omitempty"`
	Steps      int     `json:"steps,omitempty"`
	SampleRate float64 `json:"sample_rate,omitempty"`
	Noise      Noise   `json:"noise_to_signal"`
	// OtherSigma is the noise multiplier without the prototypes, or with them where
	// the base has the channel and the config no such section; 0: there is no other.
	OtherSigma float64 `json:"other_noise_multiplier,omitempty"`
	// StepsAtHeld is how many steps fit if the noise multiplier is the forecast's HeldSigma.
	StepsAtHeld int     `json:"steps_at_held_sigma,omitempty"`
	Hours       *Hours  `json:"hours,omitempty"`
	Cluster     *Hours  `json:"cluster_hours,omitempty"`
	MemoryBytes int64   `json:"memory_bytes,omitempty"`
	Domain      string  `json:"data_domain,omitempty"` // the ledger's verdict
	Verdict     verdict `json:"verdict"`
	Advice      string  `json:"advice"`
}

// Noise is the noise's norm over the largest norm that the signal can have. With
// noise multiplier σ, d trained parameters and expected batch B, a step releases
//
//	Σ clip(g_i) + N(0, (σC)² I_d),  ‖Σ clip(g_i)‖ ≤ B·C,  E‖noise‖ ≈ σ·C·√d.
//
// It is the same in a coordinate: noise of σC/B in the mean, where a clipped gradient
// that is spread evenly has C/√d.
type Noise struct {
	Step float64 `json:"step"` // σ√d/B
	// Momentum is Step after the optimizer's first moment: times √((1−β₁)/(1+β₁)).
	Momentum float64 `json:"momentum"`
	// Run is that of the sum of all T steps: Step/√T.
	Run float64 `json:"run"`
	// Least is the least that Run can be with this ε, N and d, that of one step on
	// all N: no choice of batch and steps helps beyond it.
	Least float64 `json:"least"`
}

// noiseOf is a mechanism's; momentum is β₁.
func noiseOf(m plan.Mechanism, momentum float64) Noise {
	batch := m.Divisor
	step := float64(m.SigmaInt) * m.GridUnit() / m.ClipNorm * math.Sqrt(float64(m.GradientDim())) / batch
	return Noise{Step: step, Momentum: step * math.Sqrt((1-momentum)/(1+momentum)), Run: step / math.Sqrt(float64(m.Steps))}
}

// PlanAhead forecasts a config at several ε. It opens no private file.
func PlanAhead(ctx context.Context, spec *config.RunSpec, o ForecastOptions) (*Forecast, error) {
	for _, e := range o.Epsilons {
		s := *spec
		s.Privacy.Epsilon = e
		if err := s.Validate(); err != nil {
			return nil, usage{err}
		}
	}
	r, err := fit(spec)
	if err != nil {
		return nil, err
	}
	f := &Forecast{
		Name: spec.Name, Base: spec.Base, Trained: r.dim, Delta: spec.Privacy.Delta, Adjacency: spec.Privacy.Adjacency, Unit: r.unit(),
		Nominal: spec.Data.NominalSize, Batch: spec.Finetune.Batch, Copies: spec.Finetune.Copies,
		PrototypeChannel: r.base.PrototypeChannel(), Work: r.workload(), Notes: []string{},
	}
	if f.Prototypes, err = r.forecastPrototypes(); err != nil {
		return nil, err
	}
	held, heldErr := r.at(spec.Privacy.Epsilon)
	if heldErr == nil {
		f.HeldSigma = held.finetune().NoiseMultiplier()
	}
	var some *resolved // of any ε that can be had: the noise changes neither time nor memory
	for _, e := range o.Epsilons {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		own, err := held, heldErr
		if e != spec.Privacy.Epsilon {
			own, err = r.at(e)
		}
		if err != nil {
			f.Rows = append(f.Rows, f.impossible(e, err))
			continue
		}
		row, err := f.row(own, o)
		if err != nil {
			return nil, err
		}
		f.Rows, some = append(f.Rows, row), own
	}
	if some != nil {
		if err := f.cost(ctx, some, o); err != nil {
			return nil, err
		}
	}
	f.note(r, o)
	return f, nil
}

// cost enters the memory, the rates and what follows from them.
func (f *Forecast) cost(ctx context.Context, r *resolved, o ForecastOptions) error {
	memory, err := r.workerMemory()
	if err != nil {
		return err
	}
	if o.Measure > 0 {
		if f.Rates, err = r.measure(ctx, o.Measure); err != nil {
			return fmt.Errorf("measure this machine: %w", err)
		}
		f.hours, f.Alone = r.here(f.Rates), r.here(f.Rates.alone)
		if o.Cluster != nil {
			f.Cluster, f.cluster = o.Cluster.String(), o.Cluster.hours(r, f.Rates.alone)
		}
	}
	for i := range f.Rows {
		if row := &f.Rows[i]; row.Problem == "" {
			row.Hours, row.Cluster = f.hours, f.cluster
			row.MemoryBytes = int64(r.spec.Workers.Count) * memory(threads(r.spec.Workers))
		}
	}
	return nil
}

// at is a run that fit made, with another ε and its noise calibrated.
func (r *resolved) at(epsilon float64) (*resolved, error) {
	own, spec := *r, *r.spec
	spec.Privacy.Epsilon = epsilon
	own.spec, own.mechanisms = &spec, slices.Clone(r.mechanisms)
	return &own, own.calibrate()
}

// row is the forecast of a run, calibrated to its ε.
func (f *Forecast) row(r *resolved, o ForecastOptions) (ForecastRow, error) {
	m := r.finetune()
	row := ForecastRow{
		Epsilon: r.spec.Privacy.Epsilon, Sigma: m.NoiseMultiplier(), Steps: m.Steps, SampleRate: m.SampleRate(),
		Noise: noiseOf(m, r.spec.Finetune.Beta1),
	}
	once, err := account.Calibrate(row.Epsilon, r.spec.Privacy.Delta, 1, 1, domain.Granted(r.mechanisms[:len(r.mechanisms)-1]), r.adjacency())
	if err != nil {
		return row, err
	}
	row.Noise.Least = once * math.Sqrt(float64(r.dim)) / float64(r.spec.Data.NominalSize)
	if f.HeldSigma > 0 {
		if row.StepsAtHeld, err = r.stepsAt(f.HeldSigma); err != nil {
			return row, err
		}
	}
	if other := r.other(); other != nil {
		if with, err := other.at(row.Epsilon); err == nil {
			row.OtherSigma = with.finetune().NoiseMultiplier()
		}
	}
	preview, err := r.previewDomain(o.State)
	if err != nil {
		return row, err
	}
	if preview != nil {
		row.Domain = fmt.Sprintf("data domain %s: %s", preview.Name, preview.Verdict)
	}
	row.Verdict, row.Advice = f.judge(row)
	return row, nil
}

// other is the run without its prototypes or, where the base could take some and
// the config has none, with those of the default section; nil where neither is.
func (r *resolved) other() *resolved {
	if !r.base.PrototypeChannel() {
		return nil
	}
	own, spec := *r, *r.spec
	own.spec, own.mechanisms, own.prototypes = &spec, nil, nil
	if r.prototypes != nil {
		spec.Prototypes = nil
		return &own
	}
	spec.Prototypes = config.DefaultPrototypes()
	spec.Prototypes.Size = r.base.Config.SampleHeight
	if own.resolvePrototypes() != nil {
		return nil
	}
	return &own
}

// mostSteps bounds the search for the steps that fit.
const mostSteps = 1_000_000

// stepsAt is how many steps with the noise multiplier sigma fit into the budget
// beside the prototypes, reserves included.
func (r *resolved) stepsAt(sigma float64) (int, error) {
	m := r.finetune()
	meter, err := account.NewMeter(r.spec.Privacy.Delta, r.adjacency())
	if err != nil {
		return 0, err
	}
	fixed := domain.Granted(r.mechanisms[:len(r.mechanisms)-1])
	fits := func(steps int) (bool, error) {
		g, err := meter.Epsilon(append(slices.Clone(fixed), account.Event{
			SampleRate: m.SampleRate(), NoiseMultiplier: sigma, Steps: steps + plan.DefaultReserve(steps),
		}))
		return g.Epsilon <= r.spec.Privacy.Epsilon, err
	}
	lo, hi := 0, 1
	for hi <= mostSteps {
		ok, err := fits(hi)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		lo, hi = hi, 2*hi
	}
	for hi-lo > 1 && lo < mostSteps {
		mid := (lo + hi) / 2
		ok, err := fits(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return min(lo, mostSteps), nil
}

// forecastPrototypes is nil without the stage.
func (r *resolved) forecastPrototypes() (*ForecastPrototypes, error) {
	if r.prototypes == nil {
		return nil, nil
	}
	m, s := r.mechanisms[0], r.prototypes
	g, err := account.Epsilon(domain.Granted(r.mechanisms[:1]), r.spec.Privacy.Delta, r.adjacency())
	if err != nil {
		return nil, err
	}
	noise := float64(m.SigmaInt) * m.GridUnit()
	p := &ForecastPrototypes{
		Epsilon: g.Epsilon, ClusterImages: float64(r.spec.Data.NominalSize) / float64(s.Classes*s.Clusters), LeastImages: s.LeastCount(noise),
	}
	p.PixelNoise = noise / max(p.ClusterImages, 1)
	return p, nil
}
