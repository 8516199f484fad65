package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dploda/dploda/pipeline"
)

// tinyModel is the folder of a finished tiny run.
func tinyModel(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "run")
	if code, _, stderr := run(t, tiny(out, 3)...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	return out
}

// TestSampleAgain: without flags `dploda sample` gives the bytes of the run's own
// samples, and killed at any moment it ends with those of an undisturbed call.
//
// Tried: the missing images numbered among themselves.
func TestSampleAgain(t *testing.T) {
	t.Parallel()
	model := tinyModel(t)
	own := filepath.Join(t.TempDir(), "own")
	if code, _, stderr := run(t, "sample", "--run", model, "--out", own); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	sameFile(t, filepath.Join(model, "share", "samples.npz"), filepath.Join(own, "samples.npz"))

	command := func(out string, flags ...string) []string {
		return append([]string{"sample", "--run", model, "--out", out, "--n", "1100", "--sampler", "ddpm", "--steps", "12", "--threads", "2"}, flags...)
	}
	whole := filepath.Join(t.TempDir(), "whole")
	code, stdout, stderr := run(t, command(whole, "--json", "--threads", "1")...)
	var report pipeline.SampleReport
	if err := json.Unmarshal([]byte(stdout), &report); code != 0 || err != nil || report.Drawn != 1100 || report.Sample.Steps != 12 {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	killed := filepath.Join(t.TempDir(), "killed")
	parts := func(n int) moment {
		return moment{"with parts", func(out string) bool {
			found, _ := filepath.Glob(filepath.Join(out, "parts", "*.dploda"))
			return len(found) >= n
		}}
	}
	strikes := 0
	for _, m := range []moment{made("sample.json"), parts(1), parts(2), parts(4), made("samples.npz"), made("images.partial")} {
		p := start(t, command(killed)...)
		p.until(func() bool { return m.now(killed) })
		if p.strike(syscall.SIGKILL) == -1 {
			strikes++
		}
	}
	if strikes < 3 { // the last moments are short
		t.Fatalf("only %d kills came before the end", strikes)
	}
	if code, _, stderr := run(t, command(killed)...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	sameFile(t, filepath.Join(whole, "samples.npz"), filepath.Join(killed, "samples.npz"))
	sameFile(t, filepath.Join(whole, "samples.png"), filepath.Join(killed, "samples.png"))
	sameFile(t, filepath.Join(whole, "sample.json"), filepath.Join(killed, "sample.json"))
	if exists(killed, "parts") || exists(killed, "images.partial") || !exists(killed, "images", "ring", "001090.png") {
		t.Error("the folder is not tidy")
	}
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	if y, err := os.ReadFile(b); err != nil || !bytes.Equal(x, y) {
		t.Errorf("%s is not %s: %v", b, a, err)
	}
}
