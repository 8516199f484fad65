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
where it was stopped.`,
		Args: oneArg("the config file, for example examples/pretrain-drawn.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.Out == "" {
				return usageError{errors.New("pretrain needs a folder for the base model: give --out DIR")}
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
	cmd.Flags().IntVar(&opts.Threads, "threads", 0, "threads (default all cores)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print progress as JSON")
	return cmd
}
