package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dataset/drawn"
)

// completeFolder: a complete run is not begun again, and its folder is no
// other run's.
func completeFolder(t *testing.T, out string) {
	adapter := read(t, out, "share", "adapter.safetensors")
	code, stdout, stderr := run(t, append(tiny(out, 1), "--json")...)
	var report struct {
		Name    string   `json:"name"`
		Epsilon *float64 `json:"epsilon_spent"`
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Name != "tiny" || report.Epsilon != nil {
		t.Errorf("--json: %v\n%s", err, stdout)
	}
	want := out + " is complete: read " + filepath.Join(out, "share", "report.json") + ", or choose another folder with --out\n"
	if code != 0 || stderr != want {
		t.Errorf("exit code %d\n%s\nwant\n%s", code, stderr, want)
	}
	other := out + " belongs to a run of another config (" + filepath.Join(out, "config.yaml") + "); choose another folder with --out or restore that config"
	refused(t, exitFailed, other, tiny(out, 2)...)
	refused(t, exitFailed, other, "run", "testdata/tiny.yaml", "--out", out)
	refused(t, exitFailed, other, "run", "testdata/private.yaml", "--out", out)
	if string(read(t, out, "share", "adapter.safetensors")) != string(adapter) {
		t.Error("a refused run changed the adapter")
	}
}

// TestOneAtATime: two processes cannot work in one folder or on one ledger.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	folder, state, out := privateImages(t, 11), t.TempDir(), t.TempDir()
	register(t, state, "patients")
	command := []string{"run", "testdata/private.yaml", "--data", folder, "--state", state, "--out", out}
	p := start(t, command...)
	if !p.until(func() bool { return released(1).now(out) }) {
		t.Fatal(p.stderr.String())
	}
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	refused(t, exitFailed, "another dploda works in "+out+"; wait until it ends, or choose another folder with --out", command...)
	another := t.TempDir()
	refused(t, exitFailed, fmt.Sprintf("the state directory %s is in use by another dploda process (pid %d); wait until it ends or choose another with --state", state, p.cmd.Process.Pid),
		append(command, "--out", another)...)
	p.strike(syscall.SIGKILL)
}

// TestChangedData: a run whose images changed since it began does not go on.
func TestChangedData(t *testing.T) {
	t.Parallel()
	folder, state, out := privateImages(t, 11), t.TempDir(), t.TempDir()
	register(t, state, "patients")
	command := []string{"run", "testdata/private.yaml", "--data", folder, "--state", state, "--out", out}
	disturb(t, out, command, made("private", "identity.json"))
	if err := dataset.WriteIdx(folder, dataset.Train, drawn.Shapes(12, 300)); err != nil {
		t.Fatal(err)
	}
	refused(t, exitFailed, "the images, or their units, are not those that this run began with; restore the data folder, or begin a new run with another --out", command...)
}

// TestTestSeedNeedsPublicData: predictable noise protects nothing.
func TestTestSeedNeedsPublicData(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	refused(t, exitFailed, "--test-seed makes the noise predictable, so it needs data.public: true, which says that the images are no secret",
		"run", "testdata/private.yaml", "--data", t.TempDir(), "--out", out, "--test-seed", "1")
	if exists(out) {
		t.Error("the refused run left a folder")
	}
}

// TestJSONAlone: with --json, standard output is one JSON value, and every
// line of standard error is one too.
func TestJSONAlone(t *testing.T) {
	t.Parallel()
	_, stdout, stderr := run(t, "run", "testdata/tiny.yaml", "--dry-run", "--json", "--out", t.TempDir())
	var plan struct {
		EpsilonFinal float64 `json:"epsilon_final"`
		Mechanisms   []struct {
			Sigma int64 `json:"sigma_grid"`
		} `json:"mechanisms"`
	}
	if err := json.Unmarshal([]byte(stdout), &plan); err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if plan.EpsilonFinal <= 0 || plan.EpsilonFinal > 10 || len(plan.Mechanisms) != 2 || plan.Mechanisms[1].Sigma <= 0 {
		t.Errorf("the plan is %+v", plan)
	}
	out := t.TempDir()
	p := start(t, tiny(out, 1, "--json")...)
	p.until(func() bool { return released(3).now(out) })
	p.strike(syscall.SIGKILL)
	lines := strings.Split(strings.TrimSuffix(p.stderr.String(), "\n"), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of standard error: %s", line)
		}
	}
	if len(lines) < 5 {
		t.Errorf("%d lines", len(lines))
	}
}
