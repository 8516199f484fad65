package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/internal/bench"
	"github.com/dploda/dploda/pipeline"
)

// benchFlags are the flags that both benchmarks share.
type benchFlags struct {
	json    bool
	threads int
	filter  string
	seconds float64
}

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine's kernels and whole steps",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchKernels(), newBenchStep(), newBenchMemory())
	return cmd
}

func (f *benchFlags) register(cmd *cobra.Command, threads int, seconds float64, matched string) {
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.IntVar(&f.threads, "threads", threads, "threads that work at once")
	flags.StringVar(&f.filter, "filter", "", "measure only the rows whose "+matched+" matches this regular expression")
	flags.Float64Var(&f.seconds, "seconds", seconds, "time to measure each row for")
}

// check returns the filter and the time, or says which flag is wrong.
func (f *benchFlags) check() (*regexp.Regexp, time.Duration, error) {
	if f.threads < 1 || f.threads > runtime.NumCPU() {
		return nil, 0, usageError{fmt.Errorf("--threads is %d; this machine can run 1 to %d at once", f.threads, runtime.NumCPU())}
	}
	if !(f.seconds > 0) || f.seconds > math.MaxInt32 {
		return nil, 0, usageError{fmt.Errorf("--seconds is %v; it must be above 0", f.seconds)}
	}
	filter, err := regexp.Compile(f.filter)
	if err != nil {
		return nil, 0, usageError{fmt.Errorf("--filter %q is not a regular expression: %w", f.filter, err)}
	}
	return filter, time.Duration(f.seconds * float64(time.Second)), nil
}

// print writes a document as JSON or as a table.
func (f *benchFlags) print(cmd *cobra.Command, document interface{ Text() string }, err error) error {
	switch {
	case errors.Is(err, bench.ErrNoRow):
		return usageError{fmt.Errorf("--filter %q matches no row", f.filter)}
	case err != nil:
		return err
	}
	if !f.json {
		_, err := fmt.Fprint(cmd.OutOrStdout(), document.Text())
		return err
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}

func newBenchStep() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "step",
		Short: "Measure whole steps",
		Long:  `step measures whole steps.`,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, atLeast, err := f.check()
			if err != nil {
				return err
			}
			d, err := bench.Steps(cmd.Context(), pipeline.Works(), bench.StepOptions{
				Threads: f.threads, Filter: filter, Time: atLeast, Device: pipeline.NewDevice(),
				Memory: memoryProcess, MemoryNets: pipeline.MemoryNets,
				Observe: func(name string) { fmt.Fprintln(cmd.ErrOrStderr(), name) },
			})
			return f.print(cmd, d, err)
		},
	}
	f.register(cmd, runtime.NumCPU(), 5, "work/network, such as finetune/unet32@28,")
	return cmd
}

func newBenchKernels() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "Measure the kernels beside the processor's own peak",
		Long:  `kernels measures the kernels.`,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, atLeast, err := f.check()
			if err != nil {
				return err
			}
			d, err := bench.Kernels(cmd.Context(), bench.KernelOptions{
				Threads: f.threads, Filter: filter, Time: atLeast,
				Observe: func(name string) { fmt.Fprintln(cmd.ErrOrStderr(), name) },
			})
			return f.print(cmd, d, err)
		},
	}
	f.register(cmd, 1, 0.2, "op/direction/shape, such as conv3x3/forward/64@32x32,")
	return cmd
}

// newBenchMemory is the process that bench step starts to measure its memory.
func newBenchMemory() *cobra.Command {
	var net string
	var images, threads int
	cmd := &cobra.Command{
		Use:    "memory",
		Short:  "Take one step and report its memory",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			work, err := pipeline.MemoryWork(net, images)
			if err != nil {
				return usageError{err}
			}
			row, err := bench.MeasureMemory(cmd.Context(), work, pipeline.NewDevice(), threads)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(row)
		},
	}
	cmd.Flags().StringVar(&net, "net", "", "network")
	cmd.Flags().IntVar(&images, "images", 0, "images of the step")
	cmd.Flags().IntVar(&threads, "threads", 1, "threads")
	return cmd
}

// memoryProcess measures a step's memory in a process of its own.
func memoryProcess(ctx context.Context, net string, images, threads int) (row bench.MemoryRow, err error) {
	if runtime.GOOS != "linux" {
		return row, bench.ErrNoMemory
	}
	program, err := os.Executable()
	if err != nil {
		return row, err
	}
	c := exec.CommandContext(ctx, program, "bench", "memory", "--net", net, "--images", strconv.Itoa(images), "--threads", strconv.Itoa(threads))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return row, err
	}
	return row, json.Unmarshal(out, &row)
}
