package config

import "slices"

// RunSpec is one run: private images in, synthetic images, a classifier's
// accuracy and a privacy statement out.
type RunSpec struct {
	Name            string      `yaml:"name"`
	Seed            uint64      `yaml:"seed"` // of sampling and of the classifier; never of noise or samples
	Data            Data        `yaml:"data"`
	Base            string      `yaml:"base"` // "builtin:NAME" or a UNet2DModel folder
	Privacy         Privacy     `yaml:"privacy"`
	Prototypes      *Prototypes `yaml:"prototypes,omitempty"` // nil: no such stage
	Adapter         Adapter     `yaml:"adapter"`
	Finetune        Finetune    `yaml:"finetune"`
	Sample          Sample      `yaml:"sample"`
	Evaluate        Evaluate    `yaml:"evaluate"`
	Workers         Workers     `yaml:"workers"`
	CheckpointEvery int         `yaml:"checkpoint_every"` // steps
}

// Privacy is the budget of the run.
type Privacy struct {
	// Domain is the registered data domain to which a run on private images is
	// charged.
	Domain  string  `yaml:"domain,omitempty"`
	Epsilon float64 `yaml:"epsilon"`
	Delta   float64 `yaml:"delta"`
	// Adjacency says which data sets ε compares: one unit more or less
	// (add-remove), or one unit exchanged (replace-one), which needs more noise.
	Adjacency string `yaml:"adjacency"`
}

// The values of privacy.adjacency.
const (
	AddRemove  = "add-remove"
	ReplaceOne = "replace-one"
)

// Prototypes configures the release of class and cluster means.
type Prototypes struct {
	Clusters        int     `yaml:"clusters"`         // a class
	Rounds          int     `yaml:"rounds"`           // of k-means, the first of class means
	NoiseMultiplier float64 `yaml:"noise_multiplier"` // of each round
	Size            int     `yaml:"size"`             // images are pooled to Size x Size
}

// Adapter says what is trained on top of the base.
type Adapter struct {
	Kind         string   `yaml:"kind"` // loda, lora, full or none
	Rank         int      `yaml:"rank"`
	Alpha        float64  `yaml:"alpha"`        // the adapter is scaled by Alpha/Rank
	Nonlinearity string   `yaml:"nonlinearity"` // silu, identity or relu
	Targets      []string `yaml:"targets"`      // conv, attention, time, all, or module names with *
}

// Finetune configures DP-SGD.
type Finetune struct {
	Batch             int       `yaml:"batch"` // nominal: the mean of the Poisson sample's size, in images or units
	Steps             int       `yaml:"steps"`
	Copies            int       `yaml:"copies"`    // noise and time draws an example, spread over its unit's images, averaged before clipping
	Clip              float64   `yaml:"clip"`      // L2 norm
	Optimizer         string    `yaml:"optimizer"` // adam, dp-adam (the noise's variance leaves the second moment) or sgd
	LearningRate      float64   `yaml:"learning_rate"`
	FinalLearningRate float64   `yaml:"final_learning_rate"` // reached linearly at the last step
	Beta1             float64   `yaml:"beta1"`
	Beta2             float64   `yaml:"beta2"`
	EMA               float64   `yaml:"ema"`        // decay of the average that samples; 0: none
	TimeRange         []float64 `yaml:"time_range"` // part [lo, hi] of the diffusion time that is trained
	LabelDrop         float64   `yaml:"label_drop"` // share of draws without a label

	// TrainingCurve releases a noisy mean loss and share of clipped gradients
	// with every step, at 0.1 % more noise each.
	TrainingCurve bool         `yaml:"training_curve"`
	LossBound     float64      `yaml:"loss_bound"` // larger losses count as this much in the curve
	AdaptiveClip  AdaptiveClip `yaml:"adaptive_clip"`
}

// AdaptiveClip moves the clipping norm, which begins at Clip, to a quantile of
// the gradients' norms (Andrew, Thakkar, McMahan, Ramaswamy 2021).
type AdaptiveClip struct {
	Quantile     float64 `yaml:"quantile"`      // share of gradients to leave unclipped; 0: Clip stays
	LearningRate float64 `yaml:"learning_rate"` // of the norm's logarithm
}

// Sample configures the synthetic images.
type Sample struct {
	Images   int     `yaml:"images" json:"images"`
	Sampler  string  `yaml:"sampler" json:"sampler"` // ddpm, ddim or dpm++
	Steps    int     `yaml:"steps" json:"steps"`
	Guidance float64 `yaml:"guidance" json:"guidance"` // w of classifier-free guidance; 0: none
	Eta      float64 `yaml:"eta" json:"eta"`           // ddim: 0 deterministic, 1 as ddpm
}

// Evaluate configures the classifiers that are trained on synthetic images.
type Evaluate struct {
	// Classifiers are cnn and wrn-16-4. The first gives the headline and judges
	// every other row; an empty list trains none.
	Classifiers  []string `yaml:"classifiers"`
	Epochs       int      `yaml:"epochs"`
	Batch        int      `yaml:"batch"`
	LearningRate float64  `yaml:"learning_rate"` // of the cnn; wrn-16-4 has its own
	Augment      bool     `yaml:"augment"`
	// HoldOut is the share of a training set that its classifier does not see.
	// Choose takes the epoch that does best on it, or the last. Real held-out
	// images choose nothing.
	HoldOut float64 `yaml:"hold_out"`
	Choose  string  `yaml:"choose"`
	// Features is a file by 'dploda features', or builtin:NAME: a classifier of
	// public images, in whose features the Fréchet distance is taken. "" for none.
	Features string `yaml:"features,omitempty"`
}

// The values of evaluate.classifiers and of evaluate.choose.
const (
	ClassifierCNN = "cnn"
	ClassifierWRN = "wrn-16-4"
	ChooseBest    = "best"
	ChooseLast    = "last"
)

// Workers says how the work is done; it does not change what comes out.
type Workers struct {
	Count      int  `yaml:"count"`
	Min        int  `yaml:"min"`         // fewer than this: the run waits
	Processes  bool `yaml:"processes"`   // each a process of its own
	Threads    int  `yaml:"threads"`     // of each; 0: the cores divided among them
	MicroBatch int  `yaml:"micro_batch"` // examples that a thread computes at once
}

// Limits that keep a mistyped number from asking for absurd resources.
const (
	maxSteps   = 10_000_000
	maxImages  = 100_000_000
	maxClasses = 1 << 16
)

// defaultRun is a run before its file is read.
func defaultRun() RunSpec {
	return RunSpec{
		Name:    "run",
		Seed:    1,
		Base:    "builtin:demo",
		Privacy: Privacy{Epsilon: 10, Delta: 1e-5, Adjacency: AddRemove},
		Adapter: Adapter{Kind: "loda", Rank: 4, Alpha: 4, Nonlinearity: "silu", Targets: []string{"conv"}},
		Finetune: Finetune{
			Batch: 512, Steps: 200, Copies: 1, Clip: 1e-3, Optimizer: "adam",
			LearningRate: 0.03, FinalLearningRate: 0.003, Beta1: 0.9, Beta2: 0.99, EMA: 0.98,
			TimeRange: []float64{0, 1}, LabelDrop: 0.1,
			TrainingCurve: true, LossBound: 1, AdaptiveClip: AdaptiveClip{LearningRate: 0.2},
		},
		Sample:          Sample{Images: 3000, Sampler: "dpm++", Steps: 12},
		Evaluate:        Evaluate{Classifiers: []string{ClassifierCNN}, Epochs: 12, Batch: 64, LearningRate: 1e-3, Augment: true, HoldOut: 0.1, Choose: ChooseBest},
		Workers:         Workers{Count: 1, Min: 1, MicroBatch: 16},
		CheckpointEvery: 25,
	}
}

// DefaultPrototypes is the section before its keys are read, if there is one.
func DefaultPrototypes() *Prototypes {
	return &Prototypes{Clusters: 5, Rounds: 3, NoiseMultiplier: 20, Size: 14}
}

func (r *RunSpec) fill() {
	r.Data.fill()
	if r.Adapter.Kind == "none" {
		r.Adapter.Targets = nil // the class embedding alone is trained
	}
	if r.Adapter.Kind == "lora" {
		r.Adapter.Nonlinearity = "identity" // what makes it LoRA
	}
}

// Validate reports the first impossible value. LoadRun has called it; who
// changes a spec calls it again.
func (r *RunSpec) Validate() error {
	var c checker
	c.name("name", r.Name)
	r.Data.check(&c)
	c.require("data.kind", r.Data.Kind != KindDrawnPublic && r.Data.Kind != KindDrawnObjects,
		"is %s, which is for pre-training; a run fine-tunes on images of its own or on drawn-private", r.Data.Kind)
	c.require("data.images", len(r.Data.Images) == 0 || r.Data.Kind != KindIdx, "is for pre-training; a run reads MNIST's file names in its folder")
	c.require("data.nominal_size", r.Data.NominalSize != 0, "must be given: the declared number of private %s", r.Data.counted())
	c.positive("data.nominal_size", r.Data.NominalSize, maxImages)
	c.require("base", r.Base != "", "must name a model folder or a shipped base such as builtin:demo")
	r.Privacy.check(&c, r.Data)
	if r.Prototypes != nil {
		r.Prototypes.check(&c)
	}
	r.Adapter.check(&c)
	r.Finetune.check(&c, r.Data.NominalSize)
	r.Sample.check(&c)
	r.Evaluate.check(&c)
	c.require("evaluate.features", r.Evaluate.Features == "" || r.Data.Public,
		"is for images declared public: a distance to private images is an exact function of them")
	r.Workers.check(&c)
	c.positive("checkpoint_every", r.CheckpointEvery, maxSteps)
	r.checkDomain(&c)
	return c.err()
}

func (r *RunSpec) checkDomain(c *checker) {
	if r.Data.Public {
		c.require("privacy.domain", r.Privacy.Domain == "", "is for private images; these are declared public (data.public)")
		return
	}
	c.require("privacy.domain", r.Privacy.Domain != "",
		"must be given for private images: the data domain to which the run is charged; register one with 'dploda domain register NAME --epsilon E --delta D'")
	c.name("privacy.domain", r.Privacy.Domain)
}

func (p Privacy) check(c *checker, d Data) {
	size := d.NominalSize
	c.require("privacy.epsilon", p.Epsilon > 0 && p.Epsilon <= 1000, "must be more than 0 and at most 1000, not %v", p.Epsilon)
	c.oneOf("privacy.adjacency", p.Adjacency, AddRemove, ReplaceOne)
	c.require("privacy.delta", p.Delta > 0 && p.Delta < 1, "must lie between 0 and 1, not %v", p.Delta)
	c.require("privacy.delta", size == 0 || p.Delta < 1/float64(size),
		"must be less than 1/data.nominal_size, not %v: a larger one allows one of the %d %s to be published", p.Delta, size, d.counted())
}

func (p Prototypes) check(c *checker) {
	c.within("prototypes.clusters", p.Clusters, 1, 64)
	c.within("prototypes.rounds", p.Rounds, 1, 32)
	c.require("prototypes.noise_multiplier", p.NoiseMultiplier > 0 && p.NoiseMultiplier <= 1e6, "must be more than 0 and at most 1e6, not %v", p.NoiseMultiplier)
	c.within("prototypes.size", p.Size, 2, 64)
}

func (a Adapter) check(c *checker) {
	c.oneOf("adapter.kind", a.Kind, "loda", "lora", "full", "none")
	if a.Kind == "loda" || a.Kind == "lora" {
		c.within("adapter.rank", a.Rank, 1, 4096)
		c.require("adapter.alpha", a.Alpha > 0 && a.Alpha <= 1e6, "must be more than 0 and at most 1e6, not %v", a.Alpha)
		c.oneOf("adapter.nonlinearity", a.Nonlinearity, "silu", "identity", "relu")
	}
	c.require("adapter.targets", a.Kind == "none" || len(a.Targets) > 0, "must name what is trained: conv, attention, time, all or module names")
}

func (f Finetune) check(c *checker, size int) {
	c.positive("finetune.batch", f.Batch, maxImages)
	c.require("finetune.batch", f.Batch <= size, "must be at most data.nominal_size (%d), not %d", size, f.Batch)
	c.positive("finetune.steps", f.Steps, maxSteps)
	c.within("finetune.copies", f.Copies, 1, 256)
	c.require("finetune.clip", f.Clip > 0 && f.Clip <= 1e6, "must be more than 0 and at most 1e6, not %v", f.Clip)
	c.oneOf("finetune.optimizer", f.Optimizer, "adam", "dp-adam", "sgd")
	c.rate("finetune.learning_rate", f.LearningRate)
	c.require("finetune.final_learning_rate", f.FinalLearningRate >= 0 && f.FinalLearningRate <= f.LearningRate,
		"must lie from 0 to finetune.learning_rate (%v), not %v", f.LearningRate, f.FinalLearningRate)
	c.decay("finetune.beta1", f.Beta1)
	c.decay("finetune.beta2", f.Beta2)
	c.decay("finetune.ema", f.EMA)
	r := f.TimeRange
	c.require("finetune.time_range", len(r) == 2 && r[0] >= 0 && r[0] < r[1] && r[1] <= 1,
		"must be two numbers from 0 to 1 in ascending order, not %v", r)
	c.decay("finetune.label_drop", f.LabelDrop)
	c.require("finetune.loss_bound", f.LossBound >= 1e-6 && f.LossBound <= 1e6, "must lie from 1e-6 to 1e6, not %v", f.LossBound)
	c.decay("finetune.adaptive_clip.quantile", f.AdaptiveClip.Quantile)
	c.require("finetune.adaptive_clip.learning_rate", f.AdaptiveClip.LearningRate > 0 && f.AdaptiveClip.LearningRate <= 1,
		"must be more than 0 and at most 1, not %v", f.AdaptiveClip.LearningRate)
}

// Validate reports the first impossible value, as a *ValueError.
func (s Sample) Validate() error {
	var c checker
	s.check(&c)
	return c.err()
}

func (s Sample) check(c *checker) {
	c.positive("sample.images", s.Images, maxImages)
	c.oneOf("sample.sampler", s.Sampler, "ddpm", "ddim", "dpm++")
	c.within("sample.steps", s.Steps, 1, 10_000)
	c.require("sample.guidance", s.Guidance >= 0 && s.Guidance <= 100, "must lie from 0 to 100, not %v", s.Guidance)
	c.require("sample.eta", s.Eta >= 0 && s.Eta <= 1, "must lie from 0 to 1, not %v", s.Eta)
	c.require("sample.eta", s.Eta == 0 || s.Sampler == "ddim", "is for sampler ddim, not %s", s.Sampler)
}

func (e Evaluate) check(c *checker) {
	for i, name := range e.Classifiers {
		c.oneOf("evaluate.classifiers", name, ClassifierCNN, ClassifierWRN)
		c.require("evaluate.classifiers", !slices.Contains(e.Classifiers[:i], name), "names %s twice", name)
	}
	c.require("evaluate.hold_out", e.HoldOut >= 0 && e.HoldOut <= 0.5, "must lie from 0 to 0.5, not %v", e.HoldOut)
	c.oneOf("evaluate.choose", e.Choose, ChooseBest, ChooseLast)
	c.require("evaluate.hold_out", e.Choose == ChooseLast || e.HoldOut > 0,
		"is 0: no image is kept apart to choose the best epoch by; give a share, or evaluate.choose: last")
	c.within("evaluate.epochs", e.Epochs, 1, 10_000)
	c.positive("evaluate.batch", e.Batch, maxImages)
	c.rate("evaluate.learning_rate", e.LearningRate)
}

func (w Workers) check(c *checker) {
	c.within("workers.count", w.Count, 1, 1024)
	c.require("workers.min", w.Min >= 1 && w.Min <= w.Count, "must lie from 1 to workers.count (%d), not %d", w.Count, w.Min)
	c.within("workers.threads", w.Threads, 0, 1024)
	c.within("workers.micro_batch", w.MicroBatch, 1, 16)
}
