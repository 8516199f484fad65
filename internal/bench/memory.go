package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dploda/dploda/internal/device"
)

// MemoryRow is the memory of a process that takes one step of a work. It is
// measured in a process of its own, for the system's high-water mark is the
// process's.
type MemoryRow struct {
	Work    string `json:"work"`
	Net     string `json:"net"`
	Threads int    `json:"threads"`
	Images  int    `json:"images_per_step"`
	// PlanBytes is the plan's estimate, HighWater the most that was resident,
	// and Program what of it is the program itself: its file and what it held
	// before the network was built.
	PlanBytes int64 `json:"plan_bytes"`
	HighWater int64 `json:"high_water_bytes"`
	Program   int64 `json:"program_bytes"`
	// OverPlan is what the step took, HighWater - Program, over the plan.
	OverPlan float64 `json:"over_plan"`
}

// ErrNoMemory says that this system does not tell a process its high-water
// mark.
var ErrNoMemory = errors.New("this system does not tell how much memory a process has held")

// MemoryBatches are the images of a step whose memory must be the same.
var MemoryBatches = []int{64, 4096}

// memoryRows measures the networks that the filter matches, as memory/network.
func memoryRows(ctx context.Context, o StepOptions) ([]MemoryRow, error) {
	rows := []MemoryRow{}
	for _, net := range o.MemoryNets {
		name := "memory/" + net
		if o.Filter != nil && !o.Filter.MatchString(name) {
			continue
		}
		for _, images := range MemoryBatches {
			if o.Observe != nil {
				o.Observe(fmt.Sprintf("%s, %d images", name, images))
			}
			row, err := o.Memory(ctx, net, images, o.Threads)
			if errors.Is(err, ErrNoMemory) {
				return rows, nil
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// MeasureMemory takes one step of a work in this process, which must have done
// nothing else.
func MeasureMemory(ctx context.Context, w Work, dev device.Device, threads int) (MemoryRow, error) {
	row := MemoryRow{Work: w.Kind, Net: w.Net, Threads: threads}
	before, err := resident("RssAnon")
	if err != nil {
		return row, err
	}
	r := &recorder{Device: dev}
	step, err := w.New(r, threads)
	if err != nil {
		return row, err
	}
	if step.Close != nil {
		defer step.Close()
	}
	if err := step.whole(ctx); err != nil {
		return row, err
	}
	row.Images, row.PlanBytes = step.Images, r.memory(threads)+step.HostBytes
	if row.HighWater, err = resident("VmHWM"); err != nil {
		return row, err
	}
	file, err := resident("RssFile")
	if err != nil {
		return row, err
	}
	row.Program = before + file
	row.OverPlan = float64(row.HighWater-row.Program) / float64(row.PlanBytes)
	return row, nil
}

// resident reads a figure of this process's memory, in bytes.
func resident(key string) (int64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, ErrNoMemory
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		value, ok := strings.CutPrefix(lines.Text(), key+":")
		if !ok {
			continue
		}
		var kibibytes int64
		_, err := fmt.Sscanf(value, "%d kB", &kibibytes)
		return kibibytes << 10, err
	}
	return 0, ErrNoMemory
}
