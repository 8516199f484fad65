package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/dploda/dploda/pipeline"
)

// newObserver chooses how a run is shown: JSON lines for machines, a progress
// bar on a terminal, plain lines elsewhere. The returned function ends it.
func newObserver(asJSON bool) (pipeline.Observer, func()) {
	switch {
	case asJSON:
		return &jsonLines{out: os.Stderr}, func() {}
	case term.IsTerminal(int(os.Stderr.Fd())):
		b := &bars{progress: mpb.New(mpb.WithOutput(os.Stderr), mpb.WithAutoRefresh())}
		return b, b.end
	default:
		return &plainLines{out: os.Stderr, now: time.Now}, func() {}
	}
}

// tellOwner prints what only the owner of the images may read, and says so.
func tellOwner(asJSON bool) func(text string) {
	if asJSON {
		l := &jsonLines{out: os.Stderr}
		return func(text string) {
			l.write(map[string]string{"event": "owner", "text": pipeline.OwnersEyes + text})
		}
	}
	return func(text string) { fmt.Fprintln(os.Stderr, pipeline.OwnersEyes+text) }
}

// describe is a progress report in words: "120/450 steps, ε 2.31 of 10, loss
// 0.123, 812 images/s, 40s left".
func describe(p pipeline.Progress) string {
	parts := []string{fmt.Sprintf("%d/%d %s", p.Done, p.Total, p.Unit)}
	if p.Budget > 0 {
		parts = append(parts, fmt.Sprintf("ε %.2f of %g", p.Epsilon, p.Budget))
	}
	if p.Loss != nil {
		parts = append(parts, fmt.Sprintf("loss %.3f", *p.Loss))
	}
	if p.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%.0f images/s", p.Rate))
	}
	if p.Left > 0 {
		parts = append(parts, fmt.Sprintf("%s left", p.Left.Round(time.Second)))
	}
	return strings.Join(parts, ", ")
}

// plainLines prints a line when a stage begins, at most one each five seconds
// while it runs, and one at its end.
type plainLines struct {
	out  io.Writer
	now  func() time.Time
	last time.Time
}

func (l *plainLines) Stage(name string) { fmt.Fprintf(l.out, "%s\n", name); l.last = l.now() }

func (l *plainLines) Note(text string) { fmt.Fprintf(l.out, "%s\n", text) }

func (l *plainLines) Progress(p pipeline.Progress) {
	if t := l.now(); t.Sub(l.last) >= 5*time.Second || p.Done == p.Total {
		fmt.Fprintf(l.out, "  %s: %s\n", p.Stage, describe(p))
		l.last = t
	}
}

// jsonLines prints one object a line.
type jsonLines struct{ out io.Writer }

func (l *jsonLines) write(v any) {
	line, err := json.Marshal(v)
	if err == nil {
		fmt.Fprintf(l.out, "%s\n", line)
	}
}

func (l *jsonLines) Stage(name string) { l.write(map[string]string{"event": "stage", "stage": name}) }
func (l *jsonLines) Note(text string)  { l.write(map[string]string{"event": "note", "text": text}) }
func (l *jsonLines) Progress(p pipeline.Progress) {
	l.write(struct {
		Event string `json:"event"`
		pipeline.Progress
		Done  int `json:"done"`
		Total int `json:"total"`
	}{"progress", p, p.Done, p.Total})
}

// bars draws a bar for each stage that reports progress.
type bars struct {
	progress *mpb.Progress
	stage    string
	bar      *mpb.Bar
	text     *atomic.Pointer[string] // the running bar's: mpb's own goroutine draws it
}

// barWidth leaves room for a stage's name and a report in words.
const barWidth = 20

func (b *bars) Stage(name string) {
	b.finish()
	b.stage = strings.Replace(name, "train a classifier on", "train on", 1)
}

func (b *bars) Note(text string) { fmt.Fprintf(b.progress, "%s\n", text) }

func (b *bars) Progress(p pipeline.Progress) {
	words := describe(p)
	if b.bar == nil {
		text := new(atomic.Pointer[string])
		text.Store(&words)
		b.text = text
		b.bar = b.progress.AddBar(int64(p.Total), mpb.BarWidth(barWidth),
			mpb.PrependDecorators(decor.Name(b.stage, decor.WC{W: 34, C: decor.DindentRight})),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *text.Load() })))
	}
	b.text.Store(&words)
	b.bar.SetCurrent(int64(p.Done))
}

// finish leaves the bar of a stage that did not come to its end where it is.
func (b *bars) finish() {
	if b.bar != nil {
		b.bar.Abort(false) // no effect on one that is full
		b.bar = nil
	}
}

func (b *bars) end() {
	b.finish()
	b.progress.Wait()
}
