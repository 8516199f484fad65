package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/pipeline"
)

func newPretrain() *cobra.Command {
	var f runFlags
	var opts pipeline.PretrainOptions
	cmd := &cobra.Command{
		Use:   "pretrain CONFIG --out DIR",
		Short: "Train a base model on public images",
		Long: `pretrain trains a base model on public images, without privacy, and writes it
as a diffusers UNet2DModel folder. The same command in the same folder goes on
where it was stopped, with another number of workers too; whatever their number,
the same base comes out.`,
		Args: oneArg("the config file, for example examples/pretrain-drawn.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.Out == "" {
				return usageError{errors.New("pretrain needs a folder for the base model: give --out DIR")}
			}
			if opts.Workers < 0 || opts.Workers > 1024 {
				return usageError{fmt.Errorf("--workers must be 0 to 1024, not %d", opts.Workers)}
			}
			if opts.Processes && opts.Workers == 0 {
				return usageError{errors.New("--worker-processes needs --workers N")}
			}
			spec, err := config.LoadPretrain(args[0])
			if err != nil {
				return usageError{err}
			}
			observer, end := newObserver(f.json)
			err = pipeline.Pretrain(cmd.Context(), spec, opts, observer)
			end()
			if errors.Is(err, context.Canceled) {
				fmt.Fprintf(cmd.ErrOrStderr(), "stopped; the same command goes on from the last checkpoint in %s\n", opts.Out)
				return nil
			}
			return err
		},
	}
	cmd.Flags().StringVar(&opts.Out, "out", "", "folder for the base model (required)")
	cmd.Flags().StringVar(&opts.Data, "data", "", "folder of the public data set")
	cmd.Flags().IntVar(&opts.Threads, "threads", 0, "threads (default all cores), divided among the workers")
	cmd.Flags().IntVar(&opts.Workers, "workers", 0, "workers that share each step out over the ring (default none: this process computes alone)")
	cmd.Flags().BoolVar(&opts.Processes, "worker-processes", false, "make each worker a process of its own")
	cmd.Flags().BoolVar(&f.json, "json", false, "print progress as JSON")
	return cmd
}
