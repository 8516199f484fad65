package main

import (
	"encoding/json"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/bench"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// measured runs a benchmark and decodes its document. How fast this machine is
// does not matter; one that is too disturbed to measure at all skips.
func measured(t *testing.T, document any, args ...string) {
	t.Helper()
	code, stdout, stderr := run(t, append([]string{"bench"}, args...)...)
	if code == exitFailed && (strings.Contains(stderr, bench.ErrPeak.Error()) || strings.Contains(stderr, bench.ErrShare.Error())) {
		t.Skip("this machine is too busy to be measured: " + stderr)
	}
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), document); err != nil {
		t.Fatalf("%v in\n%s", err, stdout)
	}
}

func TestBenchKernels(t *testing.T) {
	var d bench.KernelDocument
	measured(t, &d, "kernels", "--json", "--seconds", "0.01", "--filter", "^(conv1x1/forward/64@14x14|scale/forward/32@28x28)$")
	if d.Command != "kernels" || d.Level != kernel.Level() || len(d.Rows) != 2 {
		t.Fatalf("document %+v", d)
	}
	conv, scale := d.Rows[0], d.Rows[1]
	if conv.Op != "conv1x1" || conv.Unit != "GFLOP/s" || !(conv.GFLOPS > 0 && conv.Share > 0 && conv.Share <= 1) || conv.Threads != 1 {
		t.Errorf("row %+v", conv)
	}
	if scale.Op != "scale" || scale.Unit != "GB/s" || !(scale.GBPS > 0 && scale.Share > 0 && scale.Share <= 1) {
		t.Errorf("row %+v", scale)
	}
}

func TestBenchStep(t *testing.T) {
	if kernel.Level() == "portable" {
		t.Skip("a step takes minutes on portable kernels")
	}
	var d bench.StepDocument
	measured(t, &d, "step", "--json", "--threads", "1", "--seconds", "0.01", "--filter", "^classifier/dpdm@28$")
	if d.Command != "step" || len(d.Rows) != 1 {
		t.Fatalf("document %+v", d)
	}
	r := d.Rows[0]
	if r.Work != "classifier" || r.Net != "dpdm@28" || r.Threads != 1 || r.Steps < 1 ||
		!(r.ImagesPerSecond > 0 && r.GFLOPPerImage > 0.03 && r.GFLOPPerImage < 0.05 && r.Share > 0 && r.Share <= 1) {
		t.Errorf("row %+v", r)
	}
	if len(r.Breakdown) < 5 || !(r.Outside > 0 && r.Outside < 1) {
		t.Errorf("%v outside the kernels, breakdown %+v", r.Outside, r.Breakdown)
	}
	if len(d.Memory) != 0 {
		t.Errorf("memory that was not asked for: %+v", d.Memory)
	}
	d = bench.StepDocument{}
	measured(t, &d, "step", "--json", "--threads", "1", "--seconds", "0.01", "--filter", "^classifier/dpdm@28$", "--breakdown=false")
	if len(d.Rows) != 1 || d.Rows[0].Breakdown != nil {
		t.Errorf("a breakdown that was not asked for: %+v", d.Rows)
	}
}

func TestBenchRefusesBadFlags(t *testing.T) {
	for _, command := range []string{"kernels", "step"} {
		refused(t, exitUsage, "--threads is 0; this machine can run 1 to "+strconv.Itoa(runtime.NumCPU())+" at once", "bench", command, "--threads", "0")
		refused(t, exitUsage, "--seconds is 0; it must be above 0", "bench", command, "--seconds", "0")
		refused(t, exitUsage, "--filter \"(\" is not a regular expression: error parsing regexp: missing closing ): `(`", "bench", command, "--filter", "(")
		refused(t, exitUsage, `--filter "nothing" matches no row`, "bench", command, "--filter", "nothing")
		refused(t, exitUsage, command+` takes no argument, but got "x"`, "bench", command, "x")
	}
}
