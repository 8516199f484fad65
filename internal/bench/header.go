package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// Header says where and with what a document was measured.
type Header struct {
	Command string `json:"command"` // kernels or step
	Machine string `json:"machine"` // operating system, architecture, processors
	CPU     string `json:"cpu"`     // the processor's own name
	Go      string `json:"go"`
	Level   string `json:"level"` // of the kernels: avx512, avx2, neon, portable
	// ClockGHz, FMAPerCycle, PeakGFLOPS and TheoryGFLOPS are those of one thread
	// at the start; the clock and what needs it are 0 where it cannot be
	// measured.
	ClockGHz     float64 `json:"clock_ghz"`
	FMAPerCycle  float64 `json:"fma_per_cycle"`
	PeakGFLOPS   float64 `json:"peak_gflops"`
	TheoryGFLOPS float64 `json:"theory_gflops"`
}

func newHeader(command string) (Header, error) {
	y, err := registerPeaks(1)
	h := Header{
		Command: command, Machine: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		CPU: processorName(), Go: runtime.Version(), Level: kernel.Level(),
		ClockGHz: y.clock / 1e9, PeakGFLOPS: y.flops / 1e9, TheoryGFLOPS: y.theory / 1e9,
	}
	if y.theory > 0 {
		h.FMAPerCycle = y.theory / (y.clock * 2 * float64(kernel.RegisterLanes()))
	}
	return h, err
}

// processorName reads the name where the system tells it.
func processorName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// text is the header for people.
func (h Header) text() string {
	s := fmt.Sprintf("%s: %s; %s; %s kernels\n", h.Machine, h.CPU, h.Go, h.Level)
	if h.TheoryGFLOPS > 0 {
		s += fmt.Sprintf("one thread: %.2f GHz, peak %.1f GFLOP/s measured, %.1f in theory (%g multiply-adds of %d lanes a cycle)\n",
			h.ClockGHz, h.PeakGFLOPS, h.TheoryGFLOPS, h.FMAPerCycle, kernel.RegisterLanes())
	} else {
		s += fmt.Sprintf("one thread: peak %.2f GFLOP/s measured; this machine's clock cannot be measured\n", h.PeakGFLOPS)
	}
	return s
}
