package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// curveOf is what each line of metrics.jsonl tells of the released sums, of which
// nothing depends on workers and interruptions.
func curveOf(t *testing.T, out string) string {
	t.Helper()
	var curve strings.Builder
	for line := range bytes.Lines(read(t, out, "metrics.jsonl")) {
		var values map[string]json.RawMessage
		if err := json.Unmarshal(line, &values); err != nil {
			t.Fatalf("a line of metrics.jsonl: %v\n%s", err, line)
		}
		for _, key := range []string{"step", "update_norm", "loss", "loss_smoothed", "clipped", "clip_norm"} {
			// The norm is there with adaptive clipping, as in tiny.yaml.
			if values[key] == nil && key != "clip_norm" && string(values["phase"]) == `"finetune"` {
				t.Errorf("a line of metrics.jsonl has no %s:\n%s", key, line)
			}
			fmt.Fprintf(&curve, "%s %s ", key, values[key])
		}
		curve.WriteByte('\n')
	}
	return curve.String()
}

// checkMetrics: each line of metrics.jsonl is an object with its step, and the
// steps count up from one without a gap, whatever happened to the process.
func checkMetrics(t *testing.T, out string) {
	t.Helper()
	want := 1
	lines := bufio.NewScanner(bytes.NewReader(read(t, out, "metrics.jsonl")))
	for ; lines.Scan(); want++ {
		var line struct {
			Step  *int   `json:"step"`
			Phase string `json:"phase"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Step == nil || line.Phase == "" {
			t.Errorf("a line of metrics.jsonl: %v\n%s", err, lines.Text())
			return
		}
		if *line.Step != want {
			t.Errorf("metrics.jsonl goes on with step %d where %d should be:\n%s", *line.Step, want, read(t, out, "metrics.jsonl"))
			return
		}
	}
	if steps := 2 + 8; want != steps+1 {
		t.Errorf("metrics.jsonl holds %d steps of %d", want-1, steps)
	}
}
