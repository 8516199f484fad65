package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const tinyPretraining = `
name: tiny
data: {kind: drawn-public, public: true, train_images: 200, classes: 4}
unet:
  sample_size: 14
  block_out_channels: [16, 32]
  down_block_types: [DownBlock2D, DownBlock2D]
  up_block_types: [UpBlock2D, UpBlock2D]
  add_attention: false
codec: {unshuffle: 2}
train: {images: 1152, batch: 48, warmup: 2}
grids: 12
`

// TestPretrainingWithWorkers: whoever computes, whatever dies and however often
// it is stopped, the base has the same bytes. With the grid's unit not taken
// over by the workers it was seen to fail.
func TestPretrainingWithWorkers(t *testing.T) {
	folder := t.TempDir()
	config := filepath.Join(folder, "tiny.yaml")
	if err := os.WriteFile(config, []byte(tinyPretraining), 0o644); err != nil {
		t.Fatal(err)
	}
	command := func(out string, flags ...string) []string {
		return append([]string{"pretrain", config, "--out", out}, flags...)
	}
	base := func(out string) string {
		return string(read(t, out, "diffusion_pytorch_model.safetensors")) + string(read(t, out, "samples-24.png"))
	}
	complete := func(out string, flags ...string) (stderr string) {
		t.Helper()
		code, _, stderr := run(t, command(out, flags...)...)
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, stderr)
		}
		return stderr
	}
	alone := filepath.Join(folder, "alone")
	complete(alone)
	want := base(alone)
	three := filepath.Join(folder, "three")
	if complete(three, "--workers", "3"); base(three) != want {
		t.Error("three workers make another base")
	}

	stopped := filepath.Join(folder, "stopped")
	for i, flags := range [][]string{{"--workers", "2"}, {}, {"--workers", "5", "--threads", "1"}} {
		p := start(t, command(stopped, flags...)...)
		drawn := []string{"samples-4.png", "samples-10.png", "samples-16.png"}[i]
		if !p.until(func() bool { return exists(stopped, drawn) }) {
			t.Fatalf("it ended before %s:\n%s", drawn, p.stderr.String())
		}
		if code := p.strike(syscall.SIGTERM); code != 0 || !strings.Contains(p.stderr.String(), "the same command goes on") {
			t.Fatalf("exit code %d\n%s", code, p.stderr.String())
		}
	}
	if complete(stopped); base(stopped) != want {
		t.Error("another base comes out of a training that was stopped")
	}

	if runtime.GOOS != "linux" {
		t.Skip("finds the worker processes in /proc, which only Linux has")
	}
	killed := filepath.Join(folder, "killed")
	p := start(t, command(killed, "--workers", "2", "--worker-processes")...)
	if !p.until(func() bool { return exists(killed, "samples-6.png") }) {
		t.Fatalf("it ended at once:\n%s", p.stderr.String())
	}
	workers := children(p.cmd.Process.Pid)
	if len(workers) == 0 {
		t.Fatal("no worker processes")
	}
	syscall.Kill(slices.Max(workers), syscall.SIGKILL)
	if code := p.wait(); code != 0 || !strings.Contains(p.stderr.String(), "is lost") {
		t.Fatalf("exit code %d\n%s", code, p.stderr.String())
	}
	if base(killed) != want {
		t.Error("a worker's death makes another base")
	}
}

func TestPretrainFlags(t *testing.T) {
	refused(t, 2, "--workers must be 0 to 1024, not -1", "pretrain", "x.yaml", "--out", "x", "--workers", "-1")
	refused(t, 2, "--worker-processes needs --workers N", "pretrain", "x.yaml", "--out", "x", "--worker-processes")
}
