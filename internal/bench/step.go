package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/dploda/dploda/internal/device"
)

// A Work is a whole step of some kind on some network.
type Work struct {
	Kind   string // finetune, pretrain, sample, classifier
	Net    string
	Config any // the network as config.json has it; nil for the classifier
	// New prepares the step on a device. Its streams come from dev alone.
	New func(dev device.Device, threads int) (*Step, error)
}

// A Step is a prepared Work. Close, if not nil, ends it.
type Step struct {
	Images int // of one Run
	Run    func(ctx context.Context) error
	// Update, if not nil, is the part of the step that follows Run: optimizer
	// and moving average, arithmetic that no stream sees.
	Update func() error
	Close  func()
	// HostBytes is what the plan estimates besides the device's memory.
	HostBytes int64
}

// whole is the step with its update.
func (s *Step) whole(ctx context.Context) error {
	if err := s.Run(ctx); err != nil || s.Update == nil {
		return err
	}
	return s.Update()
}

// Name is what a filter matches.
func (w Work) Name() string { return w.Kind + "/" + w.Net }

// StepOptions choose what is measured and for how long.
type StepOptions struct {
	Threads int
	Filter  *regexp.Regexp // of a Work's name; nil: all
	Time    time.Duration  // of each row
	Device  device.Device
	// Breakdown asks for a step's time by kinds of ops, which takes two more steps.
	Breakdown bool
	// Memory measures the memory of one step of MemoryNets' networks in a process
	// of its own.
	Memory     func(ctx context.Context, net string, images, threads int) (MemoryRow, error)
	MemoryNets []string
	// Observe, if not nil, is told each row's name before it is measured.
	Observe func(name string)
}

// StepDocument is what `dploda bench step --json` prints.
type StepDocument struct {
	Header
	Networks map[string]any `json:"networks"` // config.json of each network
	Rows     []StepRow      `json:"rows"`
	Memory   []MemoryRow    `json:"memory"` // empty where the system does not tell
}

// StepRow is one work on so many threads. Rates in GFLOP/s are sums over the
// threads, by the processor time of all of them; images_per_second is by the
// clock on the wall.
type StepRow struct {
	Work    string `json:"work"`
	Net     string `json:"net"`
	Threads int    `json:"threads"`
	Images  int    `json:"images_per_step"`
	Steps   int    `json:"steps"` // measured; figures are of the median one

	SecondsPerStep  float64 `json:"seconds_per_step"`
	ImagesPerSecond float64 `json:"images_per_second"`
	// GFLOPPerImage counts direct convolutions of live pixels.
	GFLOPPerImage float64 `json:"gflop_per_image"`
	// EffectiveGFLOPS is that count over time, ExecutedGFLOPS what the chosen
	// algorithms multiply and add, PeakGFLOPS the peak measured next to the row
	// on as many threads. Share is executed over peak.
	EffectiveGFLOPS float64 `json:"effective_gflops"`
	ExecutedGFLOPS  float64 `json:"executed_gflops"`
	PeakGFLOPS      float64 `json:"peak_gflops"`
	TheoryGFLOPS    float64 `json:"theory_gflops,omitempty"`
	Share           float64 `json:"share"`
	// Busy is processor time over wall time and threads: below 1, threads
	// waited for one another or for other programs.
	Busy float64 `json:"busy"`
	// Scaling is images_per_second over that of the row of one thread, which
	// was measured in turn with this one; ScalingCPU the same by processor time,
	// which other programs do not disturb.
	Scaling    float64 `json:"scaling,omitempty"`
	ScalingCPU float64 `json:"scaling_cpu,omitempty"`

	AllocsPerStep float64 `json:"allocs_per_step"`
	BytesPerStep  float64 `json:"alloc_bytes_per_step"`
	PlanBytes     int64   `json:"plan_bytes"` // the plan's estimate of memory

	// Outside is the share of a step's processor time that is no kernel's:
	// packing weights, preparing examples, moving them into lanes, and the work
	// around. It and
	// Breakdown are of one thread.
	Outside   float64  `json:"outside_kernels,omitempty"`
	Breakdown []OpTime `json:"breakdown,omitempty"`
	Attempts  int      `json:"attempts,omitempty"` // to measure the peak, if more than one
}

// Steps measures works. Where a row made no sense, ErrShare or ErrPeak come with
// the whole document.
func Steps(ctx context.Context, works []Work, o StepOptions) (*StepDocument, error) {
	h, err := newHeader("step")
	if err != nil {
		return nil, err
	}
	d := &StepDocument{Header: h, Networks: map[string]any{}, Rows: []StepRow{}}
	var wrong []error
	for _, w := range works {
		if o.Filter != nil && !o.Filter.MatchString(w.Name()) {
			continue
		}
		if o.Observe != nil {
			o.Observe(w.Name())
		}
		rows, err := measureWork(ctx, w, o)
		if senseless(err) {
			wrong = append(wrong, err)
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name(), err)
		}
		d.Rows = append(d.Rows, rows...)
		if w.Config != nil {
			d.Networks[w.Net] = w.Config
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if d.Memory, err = memoryRows(ctx, o); err != nil {
		return nil, err
	}
	if len(d.Rows)+len(d.Memory) == 0 {
		return nil, ErrNoRow
	}
	return d, errors.Join(wrong...)
}

// ErrNoRow says that a filter left nothing to measure.
var ErrNoRow = errors.New("--filter matches no row")

// stepRun is a work on some threads under measurement.
type stepRun struct {
	threads          int
	step             *Step
	recorder         *recorder
	peak             yardstick
	attempts         int
	wall, cpu        []time.Duration // of each step
	mallocs, bytes   []uint64
	direct, executed float64 // operations of a step
}

// measureWork measures a work on one thread and, in turn with it, on the
// threads asked for.
func measureWork(ctx context.Context, w Work, o StepOptions) ([]StepRow, error) {
	counts := []int{1}
	if o.Threads > 1 {
		counts = append(counts, o.Threads)
	}
	var runs []*stepRun
	for _, threads := range counts {
		r, err := newStepRun(ctx, w, o.Device, threads)
		if err != nil {
			return nil, err
		}
		if r.step.Close != nil {
			defer r.step.Close()
		}
		runs = append(runs, r)
	}
	wrong := takeTurns(ctx, w, runs, o.Time)
	if wrong != nil && !senseless(wrong) {
		return nil, wrong
	}
	var rows []StepRow
	for _, r := range runs {
		row := r.row(w)
		if r.threads > 1 {
			row.Scaling = row.ImagesPerSecond / rows[0].ImagesPerSecond
			row.ScalingCPU = row.ExecutedGFLOPS / rows[0].ExecutedGFLOPS
		}
		if row.Share > 1 {
			wrong = errors.Join(wrong, check(fmt.Sprintf("%s on %d threads", w.Name(), r.threads), row.Share, r.peak))
		}
		rows = append(rows, row)
	}
	if o.Breakdown {
		var err error
		if rows[0].Breakdown, rows[0].Outside, err = profileWork(ctx, w, o.Device); err != nil {
			return nil, err
		}
	}
	return rows, wrong
}

// newStepRun prepares a work and takes a first step, which touches all memory.
func newStepRun(ctx context.Context, w Work, dev device.Device, threads int) (*stepRun, error) {
	r := &stepRun{threads: threads, recorder: &recorder{Device: dev}}
	var err error
	if r.step, err = w.New(r.recorder, threads); err != nil {
		return nil, err
	}
	r.recorder.reset()
	err = r.step.whole(ctx)
	r.direct, r.executed = r.recorder.flops()
	return r, err
}

// takeTurns measures a step of each run in turn, the peak before and after,
// until each has had its time.
func takeTurns(ctx context.Context, w Work, runs []*stepRun, atLeast time.Duration) error {
	yardsticks := func() (err error) {
		for _, r := range runs {
			err = errors.Join(err, r.measurePeak(w.Name()))
		}
		return err
	}
	before := yardsticks()
	if before != nil && !senseless(before) {
		return before
	}
	for start := time.Now(); ; {
		for _, r := range runs {
			if err := r.measureStep(ctx); err != nil {
				return err
			}
		}
		if time.Since(start) >= atLeast*time.Duration(len(runs)) {
			return errors.Join(before, yardsticks())
		}
	}
}

// measurePeak measures the peak until it is what theory says.
func (r *stepRun) measurePeak(name string) error {
	n, err := untilValid(func() error {
		y, err := registerPeaks(r.threads)
		if err != nil {
			return err
		}
		r.peak = r.peak.faster(y)
		return check(fmt.Sprintf("%s on %d threads", name, r.threads), 0, y)
	})
	r.attempts = max(r.attempts, n)
	return err
}

func (r *stepRun) measureStep(ctx context.Context) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	wall, cpu := time.Now(), processTime()
	err := r.step.whole(ctx)
	r.wall, r.cpu = append(r.wall, time.Since(wall)), append(r.cpu, processTime()-cpu)
	runtime.ReadMemStats(&after)
	r.mallocs = append(r.mallocs, after.Mallocs-before.Mallocs)
	r.bytes = append(r.bytes, after.TotalAlloc-before.TotalAlloc)
	return err
}

// row turns the measured steps into figures.
func (r *stepRun) row(w Work) StepRow {
	wall, cpu := median(r.wall).Seconds(), median(r.cpu).Seconds()
	perThread := float64(r.threads) / cpu / 1e9
	row := StepRow{
		Work: w.Kind, Net: w.Net, Threads: r.threads, Images: r.step.Images, Steps: len(r.wall),
		SecondsPerStep: wall, ImagesPerSecond: float64(r.step.Images) / wall,
		GFLOPPerImage:   r.direct / float64(r.step.Images) / 1e9,
		EffectiveGFLOPS: r.direct * perThread, ExecutedGFLOPS: r.executed * perThread,
		PeakGFLOPS: r.peak.flops / 1e9, TheoryGFLOPS: r.peak.theory / 1e9,
		Busy:          cpu / wall / float64(r.threads),
		AllocsPerStep: float64(median(r.mallocs)), BytesPerStep: float64(median(r.bytes)),
		PlanBytes: r.recorder.memory(r.threads) + r.step.HostBytes,
	}
	row.Share = row.ExecutedGFLOPS / row.PeakGFLOPS
	if r.attempts > 1 {
		row.Attempts = r.attempts
	}
	return row
}

// profileWork takes one step on one thread with a clock at every op.
func profileWork(ctx context.Context, w Work, dev device.Device) ([]OpTime, float64, error) {
	r := &recorder{Device: dev, profile: true}
	step, err := w.New(r, 1)
	if err != nil {
		return nil, 0, err
	}
	if step.Close != nil {
		defer step.Close()
	}
	if err := step.whole(ctx); err != nil { // touches all memory
		return nil, 0, err
	}
	r.reset()
	start := processTime()
	if err := step.Run(ctx); err != nil {
		return nil, 0, err
	}
	if step.Update != nil {
		before := processTime()
		if err := step.Update(); err != nil {
			return nil, 0, err
		}
		r.update = processTime() - before
	}
	list := r.breakdown(processTime() - start)
	within := 0.0
	for _, op := range list {
		if !slices.Contains(outside, op.Op) {
			within += op.Share
		}
	}
	return list, 1 - within, nil
}

// median is the middle one, the upper of two.
func median[T interface{ ~int64 | ~uint64 }](v []T) T {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}
