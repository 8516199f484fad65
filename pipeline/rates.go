package pipeline

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/bench"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/classifier"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/worker/task"
)

// Rates are the images a second of a config's work, measured on random images.
type Rates struct {
	// Finetune counts units of the batch, each with all its copies, on
	// FinetuneThreads threads.
	Finetune        float64 `json:"finetune"`
	FinetuneThreads int     `json:"finetune_threads"`
	Prototypes      float64 `json:"prototypes,omitempty"` // of one worker, which takes one thread
	// Sample and Classifiers, by their networks, are on Cores threads.
	Sample      float64            `json:"sample"`
	Classifiers map[string]float64 `json:"classifiers,omitempty"`
	Cores       int                `json:"cores"`
	Device      string             `json:"device"`
	// Busy is the share of the processors' time that the measured threads got: well below
	// 1, other programs ran beside them.
	Busy    float64 `json:"busy"`
	Seconds float64 `json:"seconds"` // that measuring took
	// alone are the rates by processor time: what they would be without other programs.
	alone *Rates
}

// The parts of the time that each work is measured for; compiling and first steps
// come on top.
const (
	shareFinetune   = 0.4
	shareSample     = 0.2
	shareClassifier = 0.1
	sharePrototypes = 0.03
)

// rate is images a second by the clock on the wall, and the share of its threads'
// processors that it got.
type rate struct{ perSecond, busy float64 }

func (r rate) alone() float64 { return r.perSecond / min(1, r.busy) }

// measure times what the run would do for about so long, through the code that does
// it.
func (r *resolved) measure(ctx context.Context, about time.Duration) (*Rates, error) {
	start := time.Now()
	i := r.base.Traits.Image
	data := workData(device.Shape{C: i[0], H: i[1], W: i[2]}, classNames(r.spec.Data))
	probe := &run{resolved: r, dev: NewDevice(), train: data, obs: quiet{}}
	part := func(share float64) time.Duration { return time.Duration(share * float64(about)) }
	own := threads(r.spec.Workers) * r.spec.Workers.Count
	var finetune, prototypes, sample rate
	var err error
	if finetune, err = probe.finetuneRate(ctx, own, part(shareFinetune)); err != nil {
		return nil, err
	}
	if r.prototypes != nil {
		if prototypes, err = probe.prototypesRate(ctx, part(sharePrototypes)); err != nil {
			return nil, err
		}
	}
	if sample, err = probe.sampleRate(ctx, part(shareSample)); err != nil {
		return nil, err
	}
	networks, aloneNetworks := map[string]float64{}, map[string]float64{}
	for name := range r.workload().Classifiers {
		judged, err := probe.classifierRate(ctx, name, part(shareClassifier))
		if err != nil {
			return nil, err
		}
		networks[name], aloneNetworks[name] = judged.perSecond, judged.alone()
	}
	rates := Rates{
		FinetuneThreads: own, Cores: runtime.NumCPU(), Device: DeviceDescription(), Busy: finetune.busy, Seconds: time.Since(start).Seconds(),
		Finetune: finetune.perSecond, Prototypes: prototypes.perSecond, Sample: sample.perSecond, Classifiers: networks,
	}
	alone := rates
	alone.Finetune, alone.Sample, alone.Classifiers = finetune.alone(), sample.alone(), aloneNetworks
	if r.prototypes != nil {
		alone.Prototypes = prototypes.alone()
	}
	rates.alone = &alone
	return &rates, nil
}

// finetuneRate takes steps of whole groups on every thread: one group, then as
// many as a worker of this run would have, or as the time allows.
func (r *run) finetuneRate(ctx context.Context, threads int, about time.Duration) (rate, error) {
	group := threads * r.spec.Workers.MicroBatch
	images := group
	for {
		step, err := r.finetuneStep(r.train, r.dev, threads, min(images, workDataImages))
		if err != nil {
			return rate{}, err
		}
		got, err := rateOf(ctx, step, threads, about/4)
		if err != nil {
			return rate{}, err
		}
		whole := (r.spec.Finetune.Batch + group - 1) / group * group
		within := int(got.perSecond*about.Seconds()/4) / group * group
		if next := min(whole, within, workDataImages/group*group); next > images {
			images = next
			continue
		}
		return got, nil
	}
}

func rateOf(ctx context.Context, step *bench.Step, threads int, atLeast time.Duration) (r rate, err error) {
	r.perSecond, r.busy, err = bench.Rate(ctx, step, threads, atLeast)
	return r, err
}

// prototypesRate takes the images of one worker for the first round.
func (r *run) prototypesRate(ctx context.Context, atLeast time.Duration) (rate, error) {
	t := &task.Prototypes{
		Mechanism: r.mechanisms[0], Data: r.train, Units: dataset.EachImage(r.train.Len()), Centers: prototype.New(*r.prototypes),
	}
	// Later rounds look for the nearest of the centres.
	t.Centers.Round = 1
	ids, sum := make([]uint32, r.train.Len()/4), make([]int32, t.Mechanism.Dim+1)
	for i := range ids {
		ids[i] = uint32(i)
	}
	return rateOf(ctx, &bench.Step{Images: len(ids), Run: func(ctx context.Context) error {
		clear(sum)
		return t.Accumulate(ctx, 0, [32]byte{}, ids, sum)
	}}, 1, atLeast)
}

// measuredSteps is how many steps of a sampler are measured at most; their time is
// alike.
const measuredSteps = 12

// sampleRate draws a group of images on each core, with the config's sampler.
func (r *run) sampleRate(ctx context.Context, atLeast time.Duration) (rate, error) {
	start, err := r.startAdapter()
	if err != nil {
		return rate{}, err
	}
	m := &model{adapter: start}
	if r.prototypes != nil {
		m.centers = prototype.New(*r.prototypes)
	}
	g := r.generator(start, m)
	g.settings.Steps = min(g.settings.Steps, measuredSteps)
	step, err := g.step(runtime.NumCPU() * r.dev.Lanes())
	if err != nil {
		return rate{}, err
	}
	got, err := rateOf(ctx, step, runtime.NumCPU(), atLeast)
	got.perSecond *= float64(g.settings.Steps) / float64(r.spec.Sample.Steps)
	return got, err
}

// classifierRate takes steps of a classifier's training.
func (r *run) classifierRate(ctx context.Context, network string, atLeast time.Duration) (rate, error) {
	c := r.newJudge().config
	c.Network, c.HoldOut = classifier.Network(network), 0
	c.Batch = min(c.Batch, r.train.Len())
	step, err := classifierStep(r.train, r.dev, c)
	if err != nil {
		return rate{}, err
	}
	defer step.Close()
	return rateOf(ctx, step, c.Threads, atLeast)
}

// workload is what a run computes, in images.
type workload struct {
	Prototypes int `json:"prototypes"` // of all rounds
	Finetune   int `json:"finetune"`   // units, of all steps
	Sample     int `json:"sample"`     // the rows beside ours included
	// Classifiers are by their networks, of all epochs and rows.
	Classifiers map[string]int `json:"classifiers"`
}

// workload follows the stages, judge above all.
func (r *resolved) workload() workload {
	s, rows := r.spec.Sample.Images, (&run{resolved: r}).baselineImages()
	w := workload{
		Finetune: r.spec.Finetune.Batch * r.spec.Finetune.Steps, Sample: s + rows, // before fine-tuning
		Classifiers: map[string]int{},
	}
	if r.prototypes != nil {
		w.Prototypes = r.spec.Data.NominalSize * r.prototypes.Rounds
	}
	e := r.spec.Evaluate
	train := func(network string, images int) {
		// In whole batches: one that is not full takes as long.
		kept := images - int(e.HoldOut*float64(images))
		w.Classifiers[network] += (kept + e.Batch - 1) / e.Batch * e.Batch * e.Epochs
	}
	for _, network := range e.Classifiers {
		train(network, s)
	}
	if !r.spec.Data.Public || len(e.Classifiers) == 0 {
		return w
	}
	first := e.Classifiers[0]
	train(first, s) // as many real images
	train(first, rows)
	if r.base.PublicClasses() > 0 {
		w.Sample += rows
		train(first, rows)
	}
	if r.prototypes != nil { // the prototypes alone, the adapter alone, both
		w.Sample += 2 * rows
		for range 3 {
			train(first, rows)
		}
	}
	return w
}

// Hours is how long the stages take. Reading the images, the probe and writing
// are not in it.
type Hours struct {
	Prototypes float64 `json:"prototypes"`
	Finetune   float64 `json:"finetune"`
	Sample     float64 `json:"sample"`
	Evaluate   float64 `json:"evaluate"` // the samples beside ours and the classifiers
	Total      float64 `json:"total"`
}

// machines are some, each with one worker of some threads; the first one samples
// and evaluates.
type machines struct {
	count, threads, cores int
	link                  float64 // bytes per second between them; 0: they are one
}

// gigabit is the network that a cluster is taken to have, in bytes per second.
const gigabit = 125e6

// hours spreads the workload over machines whose threads are each as fast as the
// measured ones were beside one another.
func (r *resolved) hours(rates *Rates, on machines) *Hours {
	w, f, h := r.workload(), r.spec.Finetune, &Hours{}
	perHour := func(perSecond float64) float64 { return max(perSecond, 1e-9) * 3600 }
	// A thread computes a group of examples at a time, and a group that is not full
	// takes as long.
	workers, group := on.count*on.threads, r.spec.Workers.MicroBatch
	groups := (f.Batch + workers*group - 1) / (workers * group)
	h.Finetune = float64(f.Steps*groups*group) / perHour(rates.Finetune/float64(rates.FinetuneThreads))
	if on.link > 0 {
		// Reduce-scatter among the workers, the segments to the coordinator, and the
		// new parameters from it to each worker.
		n := float64(on.count)
		h.Finetune += float64(f.Steps) * 4 * float64(r.dim) * ((n-1)/n + 1 + n) / on.link / 3600
	}
	if r.prototypes != nil {
		h.Prototypes = float64(w.Prototypes) / float64(on.count) / perHour(rates.Prototypes)
	}
	perCore := func(perSecond float64, cores int) float64 {
		return perHour(perSecond / float64(rates.Cores) * float64(cores))
	}
	sample := perCore(rates.Sample, on.cores)
	h.Sample = float64(r.spec.Sample.Images) / sample
	h.Evaluate = float64(w.Sample-r.spec.Sample.Images) / sample
	// A classifier's batch has work for so many threads and no more.
	lanes := NewDevice().Lanes()
	useful := max(1, min(on.cores, (r.spec.Evaluate.Batch+lanes-1)/lanes))
	for network, images := range w.Classifiers {
		h.Evaluate += float64(images) / perCore(rates.Classifiers[network], useful)
	}
	h.Total = h.Prototypes + h.Finetune + h.Sample + h.Evaluate
	return h
}

// here is this machine with the config's workers.
func (r *resolved) here(rates *Rates) *Hours {
	return r.hours(rates, machines{count: r.spec.Workers.Count, threads: threads(r.spec.Workers), cores: rates.Cores})
}

// Cluster is machines that a run could have: one worker on each.
type Cluster struct{ Machines, Threads int }

// ParseCluster reads "4x16": four machines of sixteen threads each.
func ParseCluster(text string) (Cluster, error) {
	left, right, ok := strings.Cut(text, "x")
	m, err1 := strconv.Atoi(left)
	t, err2 := strconv.Atoi(right)
	if !ok || err1 != nil || err2 != nil || m < 1 || t < 1 || m > 1024 || t > 1024 {
		return Cluster{}, fmt.Errorf("--cluster is %q; it takes machines x threads, each 1 to 1024, for example 4x16", text)
	}
	return Cluster{m, t}, nil
}

func (c Cluster) String() string { return fmt.Sprintf("%dx%d", c.Machines, c.Threads) }

// on is the cluster's time for the run.
func (c Cluster) hours(r *resolved, rates *Rates) *Hours {
	m := machines{count: c.Machines, threads: c.Threads, cores: c.Threads}
	if c.Machines > 1 {
		m.link = gigabit
	}
	return r.hours(rates, m)
}
