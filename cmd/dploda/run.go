package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/pipeline"
)

// runFlags are the flags that demo and run share. A flag that was not given
// leaves the config's value.
type runFlags struct {
	out        string
	state      string
	workers    int
	microBatch int
	processes  bool
	testSeed   uint64
	dryRun     bool
	json       bool
}

func (f *runFlags) register(cmd *cobra.Command, out string) {
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", out, "the run's folder")
	flags.StringVar(&f.state, "state", "", "the site's state folder with ledger and secrets (default $XDG_STATE_HOME/dploda; demo: a throw-away one in the run's folder)")
	flags.IntVar(&f.workers, "workers", 0, "number of workers")
	flags.IntVar(&f.microBatch, "micro-batch", 0, "examples that a worker computes at a time, 1 to 16")
	flags.BoolVar(&f.processes, "worker-processes", false, "run workers as processes of their own")
	flags.Uint64Var(&f.testSeed, "test-seed", 0, "make every draw a function of this seed: reproducible and NOT private; only for public data")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the resolved plan, σ, the final ε and the memory, and stop")
	flags.BoolVar(&f.json, "json", false, "print the report (and progress) as JSON")
}

// run applies the flags to the spec and carries it out.
func (f *runFlags) run(cmd *cobra.Command, spec *config.RunSpec, opts pipeline.RunOptions) error {
	flags := cmd.Flags()
	if flags.Changed("workers") {
		spec.Workers.Count = f.workers
	}
	if flags.Changed("micro-batch") {
		spec.Workers.MicroBatch = f.microBatch
	}
	if flags.Changed("worker-processes") {
		spec.Workers.Processes = f.processes
	}
	if err := spec.Validate(); err != nil {
		return usageError{err}
	}
	opts.Out, opts.State = f.out, f.state
	if flags.Changed("test-seed") {
		opts.TestSeed = &f.testSeed
	}
	if f.dryRun {
		return f.print(cmd, func() (any, string, error) {
			plan, err := pipeline.DryRun(spec, f.state)
			if err != nil {
				return nil, "", err
			}
			return plan, plan.Text(), nil
		})
	}
	opts.Owner = tellOwner(f.json)
	observer, end := newObserver(f.json)
	report, err := pipeline.Run(cmd.Context(), spec, opts, observer)
	end()
	switch {
	case errors.Is(err, pipeline.ErrComplete):
		fmt.Fprintf(cmd.ErrOrStderr(), "%s is complete: read %s, or choose another folder with --out\n",
			f.out, filepath.Join(f.out, "share", "report.json"))
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(cmd.ErrOrStderr(), "stopped; the same command goes on from the last checkpoint in %s\n", f.out)
		return nil
	case err != nil:
		return err
	}
	return f.print(cmd, func() (any, string, error) { return report, report.Summary(f.out), nil })
}

// print writes a value as JSON or as text to standard output.
func (f *runFlags) print(cmd *cobra.Command, value func() (any, string, error)) error {
	v, text, err := value()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if !f.json {
		_, err = fmt.Fprint(out, text)
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newRun() *cobra.Command {
	var f runFlags
	var data string
	cmd := &cobra.Command{
		Use:   "run CONFIG",
		Short: "Run the pipeline of a config file",
		Long: `run carries out a config file: fine-tuning under differential privacy, sampling,
evaluation and the report. The same command in the same folder goes on where it
was stopped.`,
		Args: oneArg("the config file, for example examples/mnist.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := config.LoadRun(args[0])
			if err != nil {
				return usageError{err}
			}
			if !cmd.Flags().Changed("out") {
				f.out = filepath.Join("run", strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0])))
			}
			return f.run(cmd, spec, pipeline.RunOptions{Data: data})
		},
	}
	f.register(cmd, "")
	cmd.Flags().Lookup("out").Usage = "the run's folder (default run/NAME of the config file)"
	cmd.Flags().StringVar(&data, "data", os.Getenv("DPLODA_DATA_DIR"), "folder of the private data set")
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, but got %q", cmd.Name(), args[0])}
	}
	return nil
}

func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s takes one argument, %s, but got %d", cmd.Name(), what, len(args))}
		}
		return nil
	}
}
