package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// KernelOptions choose which rows are measured and for how long.
type KernelOptions struct {
	Threads int
	Filter  *regexp.Regexp // of a row's name, op/dir/shape; nil: all
	Time    time.Duration  // of each row
	// Observe, if not nil, is told each row's name before it is measured.
	Observe func(name string)
}

// KernelDocument is what `dploda bench kernels --json` prints.
type KernelDocument struct {
	Header
	Rows []KernelRow `json:"rows"`
}

// KernelRow is one op of one shape. Rates are sums over the threads, each by
// its own processor time while all of them work, of the fastest window.
//
// A row that multiplies gives gflops, the operations that its algorithm
// executes; for the direct one they are the least that the op's definition
// asks for on live examples, without padding. effective_gflops is the direct
// count over the same time. Any other row gives gbps: each input read once, each output
// written once, over the time.
type KernelRow struct {
	Op        string  `json:"op"`
	Dir       string  `json:"dir"`
	Shape     string  `json:"shape"`
	Algorithm string  `json:"algorithm,omitempty"`
	Threads   int     `json:"threads"`
	GFLOPS    float64 `json:"gflops,omitempty"`
	Effective float64 `json:"effective_gflops,omitempty"`
	GBPS      float64 `json:"gbps,omitempty"`
	// Peak is what the same threads did next to the row: multiply-adds in
	// registers; or copy between buffers far larger than the caches, for ops
	// that overwrite what they read also a loop that does.
	Peak  float64 `json:"peak"`
	Share float64 `json:"share"` // of Peak
	Unit  string  `json:"unit"`  // of the rates: GFLOP/s or GB/s
	// Theory is the theoretical peak of a row that multiplies, at the clock
	// measured next to it.
	Theory   float64 `json:"theory,omitempty"`
	ClockGHz float64 `json:"clock_ghz,omitempty"`
	// Bar is the share of Peak that the engine is meant to reach by the direct
	// count: another algorithm meets it with fewer multiplications.
	Bar      float64 `json:"bar,omitempty"`
	Met      *bool   `json:"met,omitempty"`      // of rows with a bar
	Attempts int     `json:"attempts,omitempty"` // if more than one was needed
}

// A kernelCase is a row before it is measured.
type kernelCase struct {
	op, dir, shape string
	bar            float64
	// prepare returns what makes each thread's work.
	prepare func() (newWork func() (func(), error), count work, err error)
}

// work counts what one call does: operations or bytes.
type work struct {
	algorithm        string
	executed, direct float64
	bytes            float64
	inPlace          bool // of a row by bytes: it overwrites what it reads
}

func (c kernelCase) name() string { return c.op + "/" + c.dir + "/" + c.shape }

// Kernels measures the kernels. Where a row made no sense, ErrShare or ErrPeak
// come with the whole document.
func Kernels(ctx context.Context, o KernelOptions) (*KernelDocument, error) {
	h, err := newHeader("kernels")
	if err != nil {
		return nil, err
	}
	d := &KernelDocument{Header: h}
	copiers := make([]*copier, o.Threads)
	var wrong []error
	for _, c := range kernelCases() {
		if o.Filter != nil && !o.Filter.MatchString(c.name()) {
			continue
		}
		if o.Observe != nil {
			o.Observe(c.name())
		}
		row, err := measureCase(ctx, c, o, copiers)
		if senseless(err) {
			wrong = append(wrong, err)
		} else if err != nil {
			return nil, err
		}
		d.Rows = append(d.Rows, row)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if len(d.Rows) == 0 {
		return nil, ErrNoRow
	}
	return d, errors.Join(wrong...)
}

// measureCase measures a row until it makes sense.
func measureCase(ctx context.Context, c kernelCase, o KernelOptions, copiers []*copier) (KernelRow, error) {
	newWork, count, err := c.prepare()
	if err != nil {
		return KernelRow{}, fmt.Errorf("%s: %w", c.name(), err)
	}
	each := make([]func(), o.Threads)
	for i := range each {
		if each[i], err = newWork(); err != nil {
			return KernelRow{}, fmt.Errorf("%s: %w", c.name(), err)
		}
	}
	row, err := validRow(c, count, func() (float64, yardstick, error) {
		return race(ctx, each, count, o.Time, copiers)
	})
	row.Threads = o.Threads
	return row, err
}

// validRow makes a row of the calls per second and the peak of a measurement
// that makes sense. The fastest peak of all attempts counts: what disturbs one
// only makes it slower.
func validRow(c kernelCase, count work, measure func() (float64, yardstick, error)) (KernelRow, error) {
	var row KernelRow
	var peak yardstick
	tries, err := untilValid(func() error {
		calls, now, err := measure()
		if err != nil {
			return err
		}
		peak = peak.faster(now)
		row = newKernelRow(c, count, calls, peak)
		return check(c.name(), row.Share, peak)
	})
	if tries > 1 {
		row.Attempts = tries
	}
	return row, err
}

// race runs every thread's work at once, with the yardsticks before and after,
// and returns the calls per second and the peaks of all threads together.
func race(ctx context.Context, each []func(), count work, atLeast time.Duration, copiers []*copier) (float64, yardstick, error) {
	rates, peaks := make([]float64, len(each)), make([]yardstick, len(each))
	started, measured := newBarrier(len(each)), newBarrier(len(each))
	err := onThreads(len(each), func(i int) error {
		yard := registerPeak
		if count.bytes > 0 {
			if copiers[i] == nil {
				copiers[i] = newCopier()
			}
			yard = func() yardstick { return yardstick{bytes: copiers[i].peak(count.inPlace)} }
		}
		calls := calibrate(each[i])
		started.wait()
		peaks[i] = yard()
		rates[i] = fastest(ctx, calls, atLeast, each[i])
		measured.wait()
		peaks[i] = peaks[i].faster(yard())
		return nil
	})
	total := 0.0
	for _, r := range rates {
		total += r
	}
	return total, sum(peaks), err
}

// newKernelRow turns calls per second into a row.
func newKernelRow(c kernelCase, count work, calls float64, peak yardstick) KernelRow {
	row := KernelRow{Op: c.op, Dir: c.dir, Shape: c.shape, Bar: c.bar, Algorithm: count.algorithm}
	if count.bytes > 0 {
		row.GBPS, row.Peak, row.Unit = count.bytes*calls/1e9, peak.bytes/1e9, "GB/s"
		row.Share = row.GBPS / row.Peak
		row.judge()
		return row
	}
	row.GFLOPS, row.Effective = count.executed*calls/1e9, count.direct*calls/1e9
	row.Peak, row.Unit = peak.flops/1e9, "GFLOP/s"
	row.Theory, row.ClockGHz = peak.theory/1e9, peak.clock/1e9
	row.Share = row.GFLOPS / row.Peak
	row.judge()
	return row
}

// judge holds the row against its bar.
func (r *KernelRow) judge() {
	if r.Bar > 0 {
		met := max(r.GBPS, r.Effective) >= r.Bar*r.Peak
		r.Met = &met
	}
}

// Text is the document for people.
func (d *KernelDocument) Text() string {
	var b strings.Builder
	b.WriteString(d.Header.text())
	t := newTable(&b, "op", "dir", "shape", "algorithm", "threads", "rate", "effective", "peak", "theory", "unit", "share", "bar", "")
	missed := 0
	for _, r := range d.Rows {
		rate, effective, theory, bar, verdict := r.GFLOPS, "", "", "", ""
		if r.GBPS > 0 {
			rate = r.GBPS
		}
		if r.Effective > r.GFLOPS {
			effective = fmt.Sprintf("%.1f", r.Effective)
		}
		if r.Theory > 0 {
			theory = fmt.Sprintf("%.1f", r.Theory)
		}
		if r.Bar > 0 {
			bar = fmt.Sprintf("%.2f", r.Bar)
			if !*r.Met {
				verdict = "missed"
				missed++
			}
		}
		t.row(r.Op, r.Dir, r.Shape, r.Algorithm, r.Threads, fmt.Sprintf("%.1f", rate), effective, fmt.Sprintf("%.1f", r.Peak), theory,
			r.Unit, fmt.Sprintf("%.3f", r.Share), bar, verdict)
	}
	t.flush()
	fmt.Fprintf(&b, "%d rows, %d below their bar\n", len(d.Rows), missed)
	return b.String()
}
