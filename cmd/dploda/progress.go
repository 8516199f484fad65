package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
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
		b := &bars{progress: mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(72), mpb.WithAutoRefresh())}
		return b, b.end
	default:
		return &plainLines{out: os.Stderr, now: time.Now}, func() {}
	}
}

// describe is a progress report in words: "120/450 steps, ε 2.31 of 10, 812 images/s, 40s left".
func describe(p pipeline.Progress) string {
	parts := []string{fmt.Sprintf("%d/%d %s", p.Done, p.Total, p.Unit)}
	if p.Budget > 0 {
		parts = append(parts, fmt.Sprintf("ε %.2f of %g", p.Epsilon, p.Budget))
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

// bars draws one bar, that of the running stage.
type bars struct {
	progress *mpb.Progress
	bar      *mpb.Bar
	mu       sync.Mutex // guards text: the bar is drawn by mpb's own goroutine
	text     string
	name     string
}

func (b *bars) Stage(name string) {
	b.finish()
	b.name = name
}

func (b *bars) Note(text string) { fmt.Fprintf(b.progress, "%s\n", text) }

func (b *bars) Progress(p pipeline.Progress) {
	b.mu.Lock()
	b.text = describe(p)
	b.mu.Unlock()
	if b.bar == nil {
		b.bar = b.progress.AddBar(int64(p.Total),
			mpb.PrependDecorators(decor.Name(p.Stage, decor.WC{W: 14, C: decor.DindentRight})),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.text
			})))
	}
	b.bar.SetCurrent(int64(p.Done))
}

func (b *bars) finish() {
	if b.bar != nil {
		b.bar.SetTotal(-1, true)
		b.bar = nil
	}
}

func (b *bars) end() {
	b.finish()
	b.progress.Wait()
}
