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

// print writes a document as JSON or as a table. A document with rows that made
// no sense is printed, too; the error then says which.
func (f *benchFlags) print(cmd *cobra.Command, document interface{ Text() string }, err error) error {
	switch {
	case errors.Is(err, bench.ErrNoRow):
		return usageError{fmt.Errorf("--filter %q matches no row", f.filter)}
	case err != nil && !errors.Is(err, bench.ErrShare) && !errors.Is(err, bench.ErrPeak):
		return err
	}
	out := cmd.OutOrStdout()
	if !f.json {
		_, printed := fmt.Fprint(out, document.Text())
		return errors.Join(printed, err)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return errors.Join(enc.Encode(document), err)
}

func newBenchStep() *cobra.Command {
	var f benchFlags
	var breakdown bool
	cmd := &cobra.Command{
		Use:   "step",
		Short: "Measure whole steps",
		Long: `step measures whole steps through the code that a run uses, on random public
images and weights: fine-tuning (rank 8 adapters on all convolutions, 4 copies
an example), pre-training, sampling (10 steps of DPM-Solver++) and the
classifier, on U-Nets of 32 and 64 channels at 28x28 and 32x32 and on the demo's.

Rows are measured on one thread and, step by step in turn with that, on
--threads. Images a second are by the clock on the wall, of the median step;
shares of peak are by processor time: what the algorithms multiply and add,
over the peak of multiply-adds in registers measured before and after. A share
above 1, or a peak below 95 % of theory after 5 attempts, ends with an error.
A breakdown by kinds of ops follows, of a step on one thread with a clock
between ops, unless --breakdown=false, and the memory of a step of 64 and of
4096 images (memory/network) against the plan's estimate.

--json prints one document: the header's fields (command, machine, cpu, go,
level, clock_ghz, fma_per_cycle, peak_gflops, theory_gflops), networks (the
config.json of each), memory, and rows of
  work, net, threads, images_per_step, steps, seconds_per_step,
  images_per_second, gflop_per_image (direct convolutions, no padding),
  effective_gflops (that count over time), executed_gflops, peak_gflops,
  theory_gflops, share, busy (processor time over wall time and threads),
  scaling and scaling_cpu (over one thread), allocs_per_step,
  alloc_bytes_per_step, plan_bytes, outside_kernels, breakdown (op, dir,
  algorithm, share, gflops), attempts.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, atLeast, err := f.check()
			if err != nil {
				return err
			}
			d, err := bench.Steps(cmd.Context(), pipeline.Works(), bench.StepOptions{
				Threads: f.threads, Filter: filter, Time: atLeast, Device: pipeline.NewDevice(), Breakdown: breakdown,
				Memory: memoryProcess, MemoryNets: pipeline.MemoryNets,
				Observe: func(name string) { fmt.Fprintln(cmd.ErrOrStderr(), name) },
			})
			return f.print(cmd, d, err)
		},
	}
	cmd.Flags().BoolVar(&breakdown, "breakdown", true, "measure where a step's time goes, in two steps more")
	f.register(cmd, runtime.NumCPU(), 5, "work/network, such as finetune/unet32@28,")
	return cmd
}

func newBenchKernels() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "Measure the kernels beside the processor's own peak",
		Long: `kernels measures every kernel on the shapes that the networks have. On several
threads each has data of its own, and rates are sums over threads of what each
did while all worked.

Rows that multiply give the floating-point operations that their algorithm
executes a second; the direct algorithm's are the least that the op's definition
asks for, without padding. Their peak is the fastest of several loops of
multiply-adds in registers, measured before and after each row by the thread's
processor time, and the theoretical one is the clock, measured by a chain of
additions, times lanes, times 2, times the multiply-adds of a cycle. All other
rows give the bytes that must be read and written a second, on data far larger
than the caches, and their peak is copy's, for ops that overwrite what they read
the faster of copy's and that of a loop that does the same. A share above 1, or a peak below
95 % of theory after 5 attempts, ends with an error.

--json prints one document: the header's fields (command, machine, cpu, go,
level, clock_ghz, fma_per_cycle, peak_gflops, theory_gflops) and rows of
  op, dir, shape, algorithm, threads, gflops and effective_gflops (the direct
  count over the same time) or gbps, peak, share (of peak), unit, theory,
  clock_ghz, bar (the share by the direct count that is aimed at), met,
  attempts.
DPLODA_CPU=avx2 measures another implementation of the kernels.`,
		Args: noArgs,
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
