package pipeline

import (
	"encoding/hex"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/classifier"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/prototype"
)

// The phases of a run: steps of the same protocol.
const (
	phasePrototypes = "prototypes"
	phaseFinetune   = "finetune"
)

// prototypesReserve is how many rounds of the prototypes may be charged twice.
// There are so few of them that the usual reserve would double their price.
const prototypesReserve = 1

// resolved is everything that follows from a config and its base, before any
// private image is opened.
type resolved struct {
	spec    *config.RunSpec
	base    *Base
	adapter adapter.Spec
	classes int
	times   diffusion.Range
	dim     int // trained parameters
	// prototypes is nil if the run has no such stage.
	prototypes *prototype.Spec
	mechanisms []plan.Mechanism // prototypes, if any, then fine-tuning
}

// The units that a run's promise can protect.
const (
	unitImage = "image"
	unitGroup = "group" // of the unit file: one coin, one mean gradient, one clip
)

// unit is what one coin is tossed for.
func (r *resolved) unit() string {
	if r.spec.Data.Units != "" {
		return unitGroup
	}
	return unitImage
}

func (r *resolved) finetune() plan.Mechanism { return r.mechanisms[len(r.mechanisms)-1] }

// resolve fits the config to its base and calibrates the noise.
func resolve(spec *config.RunSpec) (*resolved, error) {
	r, err := fit(spec)
	if err != nil {
		return nil, err
	}
	return r, r.calibrate()
}

// fit is resolve without the noise, the mechanism of fine-tuning: the prototypes'
// alone is there.
func fit(spec *config.RunSpec) (*resolved, error) {
	base, err := LoadBase(spec.Base)
	if err != nil {
		return nil, err
	}
	r := &resolved{spec: spec, base: base, classes: len(classNames(spec.Data))}
	if r.classes == 0 {
		return nil, fmt.Errorf("data.class_names must list the classes of the images")
	}
	if err := r.checkClassifiers(); err != nil {
		return nil, err
	}
	t := spec.Finetune.TimeRange
	r.times = diffusion.Fractions(t[0], t[1], base.Traits.Timesteps)
	r.adapter = adapter.Spec{
		Kind: adapter.Kind(spec.Adapter.Kind), Rank: spec.Adapter.Rank, Alpha: spec.Adapter.Alpha,
		Nonlinearity: spec.Adapter.Nonlinearity, Targets: spec.Adapter.Targets, Classes: r.classes,
	}
	if err := r.resolvePrototypes(); err != nil {
		return nil, err
	}
	params, err := r.adapter.Parameters(base.Config)
	if err != nil {
		return nil, err
	}
	for _, p := range params {
		r.dim += p.Len()
	}
	return r, nil
}

// checkClassifiers refuses before the first step what would fail after the last.
func (r *resolved) checkClassifiers() error {
	i := r.base.Traits.Image
	for _, name := range r.spec.Evaluate.Classifiers {
		if err := classifier.Check(classifier.Network(name), device.Shape{C: i[0], H: i[1], W: i[2]}, r.classes); err != nil {
			return fmt.Errorf("evaluate.classifiers: %w; an empty list trains none", err)
		}
	}
	return nil
}

// resolvePrototypes adds the prototypes' mechanism where the run has the stage.
func (r *resolved) resolvePrototypes() error {
	p := r.spec.Prototypes
	if p == nil {
		return nil
	}
	side := r.base.Config.SampleHeight
	switch {
	case !r.base.PrototypeChannel():
		return fmt.Errorf("base %s has no prototype channel; remove the section prototypes, or pre-train a base with prototype_channel: true", r.base.Source)
	case p.Size != side:
		return fmt.Errorf("prototypes.size is %d, but base %s takes prototypes of %dx%d", p.Size, r.base.Source, side, side)
	}
	s := prototype.Spec{Classes: r.classes, Clusters: p.Clusters, Side: side, Rounds: p.Rounds}
	if err := s.Validate(); err != nil {
		return err
	}
	m, err := plan.New(plan.Spec{
		Phase: phasePrototypes, SampleRate: 1, Nominal: r.spec.Data.NominalSize, NoiseMultiplier: p.NoiseMultiplier,
		ClipNorm: s.Norm(), Dim: s.Dim(), Steps: s.Rounds, Reserve: prototypesReserve,
	})
	if err != nil {
		return fmt.Errorf("prototypes: %w", err)
	}
	r.prototypes, r.mechanisms = &s, append(r.mechanisms, m)
	return nil
}

// forgoes says what a config leaves unused. Prototypes are never switched on by
// themselves: they spend budget.
func (r *resolved) forgoes() string {
	if r.prototypes != nil || !r.base.PrototypeChannel() {
		return ""
	}
	return noPrototypes
}

const noPrototypes = "the base has a prototype channel, but the config no section prototypes: the channel stays empty; private class means would give better images for a part of the budget (docs/planning.md)"

// calibrate finds the fine-tuning's noise: the least that keeps everything
// planned, reserves included, within the budget.
func (r *resolved) calibrate() error {
	f, size := r.spec.Finetune, r.spec.Data.NominalSize
	b, err := budget(r.spec.Privacy, false) // as the ledger will have it
	if err != nil {
		return err
	}
	rate := min(1, float64(f.Batch)/float64(size))
	reserve := plan.DefaultReserve(f.Steps)
	sigma, err := account.Calibrate(b.Epsilon(), b.Delta(), rate, f.Steps+reserve, domain.Granted(r.mechanisms), r.adjacency())
	if err != nil {
		return fmt.Errorf("calibrate the noise to privacy.epsilon %g: %w", r.spec.Privacy.Epsilon, err)
	}
	phase := plan.Spec{
		Phase: phaseFinetune, SampleRate: rate, Nominal: size, NoiseMultiplier: sigma,
		ClipNorm: f.Clip, Dim: r.dim, Steps: f.Steps, Reserve: reserve,
		ClipShare: f.TrainingCurve || f.AdaptiveClip.Quantile > 0,
	}
	if f.TrainingCurve {
		phase.LossBound = f.LossBound
	}
	m, err := plan.New(phase)
	if err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	r.mechanisms = append(r.mechanisms, m)
	g, err := account.Epsilon(domain.Granted(r.mechanisms), b.Delta(), r.adjacency())
	if err == nil && g.Epsilon > b.Epsilon() {
		err = fmt.Errorf("the realised mechanisms cost ε %.6f of %g", g.Epsilon, r.spec.Privacy.Epsilon)
	}
	return err
}

// budget is the config's (ε, δ) in the ledger's exact integers, by the shortest
// decimal digits of both. Digits of ε after the sixth decimal place are cut off:
// the ledger's budget is never above the config's.
func budget(p config.Privacy, testMode bool) (ledger.Budget, error) {
	b := ledger.Budget{EpsilonMicro: ledger.Unlimited}
	if !testMode {
		digits, places, err := decimal(p.Epsilon)
		if err != nil {
			return b, fmt.Errorf("privacy.epsilon %v: %w", p.Epsilon, err)
		}
		for ; places > 6; places-- {
			digits /= 10
		}
		for ; places < 6; places++ {
			digits *= 10 // at most 1000, in millionths
		}
		b.EpsilonMicro = digits
	}
	digits, places, err := decimal(p.Delta)
	if err != nil || places > math.MaxUint8 {
		return b, fmt.Errorf("privacy.delta %v cannot be written exactly", p.Delta)
	}
	b.DeltaNumerator, b.DeltaExponent = digits, uint8(places)
	if err := b.Validate(testMode); err != nil {
		return b, fmt.Errorf("privacy (epsilon %v, delta %v): %w", p.Epsilon, p.Delta, err)
	}
	return b, nil
}

// decimal returns x > 0 as digits·10^-places, by its shortest decimal digits.
func decimal(x float64) (digits uint64, places int, err error) {
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(x, 'e', -1, 64), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	e, err := strconv.Atoi(exponent)
	if err != nil {
		return 0, 0, err
	}
	digits, err = strconv.ParseUint(whole+fraction, 10, 64)
	for places = len(fraction) - e; err == nil && places < 0; places++ {
		digits *= 10
	}
	return digits, places, err
}

// threads is how many threads each worker uses.
func threads(w config.Workers) int {
	if w.Threads > 0 {
		return w.Threads
	}
	return max(1, runtime.NumCPU()/w.Count)
}

// ResolvedPlan is what --dry-run prints.
type ResolvedPlan struct {
	Name          string           `json:"name"`
	Base          string           `json:"base"`
	BaseHash      string           `json:"base_hash"`
	Trained       int              `json:"trained_parameters"`
	EpsilonBudget float64          `json:"epsilon_budget"`
	EpsilonFinal  float64          `json:"epsilon_final"` // all planned steps, reserves included
	Delta         float64          `json:"delta"`
	Adjacency     string           `json:"adjacency"`
	Unit          string           `json:"unit"` // image or group; the batch and the nominal size count these
	Nominal       int              `json:"nominal_size"`
	Mechanisms    []StatementPhase `json:"mechanisms"`
	Workers       int              `json:"workers"`
	Threads       int              `json:"threads_per_worker"`
	MemoryBytes   int64            `json:"memory_bytes"` // of the workers, from the plan itself
	Config        string           `json:"config"`       // resolved YAML
	// Note says what the run forgoes, if anything.
	Note string `json:"note,omitempty"`
	// Domain is nil where the images are public.
	Domain *DomainPreview `json:"data_domain,omitempty"`
}

// DryRun resolves a config without opening a private file. state is the site's
// state folder, "" the default one.
func DryRun(spec *config.RunSpec, state string) (*ResolvedPlan, error) {
	r, err := resolve(spec)
	if err != nil {
		return nil, err
	}
	if _, err := loadFeatures(spec.Evaluate.Features, r.base); err != nil {
		return nil, err
	}
	g, err := account.Epsilon(domain.Granted(r.mechanisms), spec.Privacy.Delta, r.adjacency())
	if err != nil {
		return nil, err
	}
	memory, err := r.workerMemory()
	if err != nil {
		return nil, err
	}
	perWorker := threads(spec.Workers)
	p := &ResolvedPlan{
		Name: spec.Name, Base: spec.Base, BaseHash: r.base.Hash, Trained: r.finetune().GradientDim(),
		EpsilonBudget: spec.Privacy.Epsilon, EpsilonFinal: g.Epsilon, Adjacency: r.spec.Privacy.Adjacency, Delta: spec.Privacy.Delta,
		Unit: r.unit(), Nominal: spec.Data.NominalSize, Workers: spec.Workers.Count, Threads: perWorker,
		MemoryBytes: int64(spec.Workers.Count) * memory(perWorker),
		Config:      string(spec.Resolved()),
	}
	for _, mechanism := range r.mechanisms {
		p.Mechanisms = append(p.Mechanisms, describePhase(mechanism, 0))
	}
	p.Note = r.forgoes()
	p.Domain, err = r.previewDomain(state)
	return p, err
}

// workerMemory compiles the fine-tuning and returns what a worker of so many
// threads takes, in bytes.
func (r *resolved) workerMemory() (func(threads int) int64, error) {
	list, err := trainList(r.base.Config, r.adapter, device.PerExample)
	if err != nil {
		return nil, err
	}
	exe, err := NewDevice().Compile(list)
	if err != nil {
		return nil, err
	}
	m := exe.Memory()
	return func(threads int) int64 {
		return m.Weights + int64(threads)*(m.ArenaPerStream+m.GradientPerStream) + r.hostBytes(threads)
	}, nil
}

// hostBytes is what a fine-tuning worker holds besides its device's memory: the
// base, the trained weights with the sum that they came in and go out by, and
// each thread's sum. The images are not in it: how many there are is private.
func (r *resolved) hostBytes(threads int) int64 {
	base := 0
	for _, p := range r.base.Parameters() {
		base += p.Len()
	}
	const value = 4 // bytes
	return value * (int64(base) + int64(3+threads)*int64(r.finetune().Dim))
}

// Text is the plan for people.
func (p *ResolvedPlan) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n# base %s (sha256 %s)\n# %d trained parameters\n", p.Config, p.Base, p.BaseHash, p.Trained)
	for _, m := range p.Mechanisms {
		fmt.Fprintf(&b, "# %s: q %.6g, noise multiplier %.6g (σ %d, Δ %d grid units), %d steps + %d reserved\n",
			m.Phase, m.SampleRate, m.NoiseMultiplier, m.SigmaGrid, m.DeltaGrid, m.StepsPlanned, m.StepsReserved)
		if side := m.SideCoordinates(); side != "" {
			fmt.Fprintf(&b, "#   %s\n", side)
		}
	}
	protected := "one image"
	if p.Unit == unitGroup {
		protected = "one unit of the unit file, with all its images"
	}
	fmt.Fprintf(&b, "# protected: %s; nominal %d of them\n", protected, p.Nominal)
	fmt.Fprintf(&b, "# final ε %.4f of %g at δ %g, %s\n", p.EpsilonFinal, p.EpsilonBudget, p.Delta, p.Adjacency)
	if d := p.Domain; d != nil {
		fmt.Fprintf(&b, "# data domain %s: %s\n", d.Name, d.Verdict)
	}
	if p.Note != "" {
		fmt.Fprintf(&b, "# note: %s\n", p.Note)
	}
	fmt.Fprintf(&b, "# %d workers of %d threads, %.0f MB\n", p.Workers, p.Threads, float64(p.MemoryBytes)/1e6)
	return b.String()
}

// describePhase is a mechanism in the statement's words.
func describePhase(m plan.Mechanism, charged int) StatementPhase {
	s := StatementPhase{
		Phase: m.Phase, Mechanism: "Gaussian, exact on an integer grid, Poisson-subsampled",
		SampleRate: m.SampleRate(), NoiseMultiplier: m.NoiseMultiplier(), SigmaGrid: m.SigmaInt, DeltaGrid: m.Delta,
		ClipNorm: m.ClipNorm, Coordinates: m.Dim, StepsPlanned: m.Steps, StepsReserved: m.Reserve, StepsCharged: charged,
		GradientDeltaGrid: m.GradientDelta(), LossDeltaGrid: m.LossDelta, LossBound: m.LossBound, ClipDeltaGrid: m.ClipDelta,
	}
	if m.Everyone {
		s.Mechanism = "Gaussian, exact on an integer grid"
	}
	return s
}

func hexID(id ledger.RunID) string { return hex.EncodeToString(id[:]) }
