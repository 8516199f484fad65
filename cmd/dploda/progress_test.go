package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/vbauerster/mpb/v8"

	"github.com/dploda/dploda/pipeline"
)

func TestDescribe(t *testing.T) {
	p := pipeline.Progress{Done: 120, Total: 450, Unit: "steps"}
	if got := describe(p); got != "120/450 steps" {
		t.Error(got)
	}
	loss := 0.12345
	p.Budget, p.Epsilon, p.Loss, p.Rate, p.Left = 10, 2.314, &loss, 811.7, 40200*time.Millisecond
	if got := describe(p); got != "120/450 steps, ε 2.31 of 10, loss 0.123, 812 images/s, 40s left" {
		t.Error(got)
	}
}

// twoStages is a short run as an observer is told of it.
func twoStages(o pipeline.Observer) {
	o.Stage("prototypes")
	o.Progress(pipeline.Progress{Stage: "prototypes", Done: 2, Total: 2, Unit: "rounds"})
	o.Stage("finetune")
	for done := range 4 {
		o.Progress(pipeline.Progress{Stage: "finetune", Done: done, Total: 8, Unit: "steps"})
	}
	o.Note("a worker left")
}

// TestBarsKeepTheirWords: the bar of an ended stage does not show the next
// one's figures, and one that was stopped does not look complete.
func TestBarsKeepTheirWords(t *testing.T) {
	var out bytes.Buffer
	b := &bars{progress: mpb.New(mpb.WithOutput(&out), mpb.WithWidth(100), mpb.WithAutoRefresh())}
	twoStages(b)
	b.end()
	last := map[string]string{}
	for line := range strings.SplitSeq(out.String(), "\n") {
		for _, stage := range []string{"prototypes", "finetune"} {
			if i := strings.Index(line, stage+" "); i >= 0 {
				last[stage] = strings.TrimSpace(line[i:])
			}
		}
	}
	if s := last["prototypes"]; !strings.HasSuffix(s, "2/2 rounds") || strings.Contains(s, "-") {
		t.Errorf("prototypes: %s", s)
	}
	if s := last["finetune"]; !strings.HasSuffix(s, "3/8 steps") || !strings.Contains(s, "-") {
		t.Errorf("finetune: %s", s)
	}
	if !strings.Contains(out.String(), "a worker left\n") {
		t.Error("the note is lost")
	}
}

// TestPlainLines: a line at a stage's begin, one each five seconds, one at its
// end.
func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	clock := time.Unix(0, 0)
	twoStages(&plainLines{out: &out, now: func() time.Time { clock = clock.Add(2 * time.Second); return clock }})
	want := `prototypes
  prototypes: 2/2 rounds
finetune
  finetune: 2/8 steps
a worker left
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
