package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/pipeline"
)

func newFeatures() *cobra.Command {
	var f runFlags
	var opts pipeline.FeaturesOptions
	cmd := &cobra.Command{
		Use:   "features CONFIG --out FILE",
		Short: "Train a classifier on public images, for Fréchet distances in its features",
		Long: `features trains the small CNN on the public images of a pre-training's config and
writes the part before its last layer. A run whose images are declared public
names the file in evaluate.features; its report then holds the Fréchet distance
of synthetic and real images in these features.`,
		Args: oneArg("the config file of a pre-training, for example examples/pretrain-drawn.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.Out == "" {
				return usageError{errors.New("features needs a file to write: give --out FILE")}
			}
			if opts.Epochs < 1 {
				return usageError{fmt.Errorf("--epochs must be at least 1, not %d", opts.Epochs)}
			}
			spec, err := config.LoadPretrain(args[0])
			if err != nil {
				return usageError{err}
			}
			observer, end := newObserver(f.json)
			err = pipeline.MakeFeatures(cmd.Context(), spec, opts, observer)
			end()
			if errors.Is(err, context.Canceled) {
				fmt.Fprintln(cmd.ErrOrStderr(), "stopped; nothing was written")
				return nil
			}
			return err
		},
	}
	cmd.Flags().StringVar(&opts.Out, "out", "", "the features file (required)")
	cmd.Flags().StringVar(&opts.Data, "data", "", "folder of the public data set")
	cmd.Flags().IntVar(&opts.Epochs, "epochs", 8, "times that the images are seen")
	cmd.Flags().IntVar(&opts.Threads, "threads", 0, "threads (default all cores)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print progress as JSON")
	return cmd
}
