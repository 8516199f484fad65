package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

// sharedFlags say where a fine-tuned model is.
func sharedFlags(cmd *cobra.Command, files *pipeline.SharedFiles) {
	flags := cmd.Flags()
	flags.StringVar(&files.Run, "run", "", "a run's folder, or its share/ wherever it was copied")
	flags.StringVar(&files.Base, "base", "", "the base that the run was built on: a folder, or builtin:NAME (default: the run's, or a shipped one)")
	flags.StringVar(&files.Adapter, "adapter", "", "without --run: the run's adapter.safetensors")
	flags.StringVar(&files.Prototypes, "prototypes", "", "without --run: the run's prototypes.safetensors, if it had prototypes")
}

func newSample() *cobra.Command {
	var f runFlags
	var opts pipeline.SampleOptions
	var images, steps int
	var guidance, eta float64
	var seed uint64
	cmd := &cobra.Command{
		Use:   "sample --run RUN --out DIR",
		Short: "Draw more synthetic images from a finished run",
		Long: `sample draws synthetic images from the model that a run fine-tuned. It reads the
run's share/ alone, and the base, so it works wherever these were copied to. The
model was released under differential privacy, and sampling comes after: however
many images are drawn, they cost no more privacy.

Image i depends on the model, the sampler's settings, the seed and i alone, not
on threads or on how often the command was stopped: without flags the images are
the run's own, and a larger --n gives these and more. The same command in the
same folder goes on where it was stopped.

  dploda sample --run run/mnist --n 60000 --out mnist60k
  dploda sample --run share --base BASE --classes 3,8 --seed 2 --out others`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := cmd.Flags()
			if opts.Out == "" {
				return usageError{errors.New("sample needs a folder for the images: give --out DIR")}
			}
			if flags.Changed("n") {
				opts.Images = &images
			}
			if flags.Changed("steps") {
				opts.Steps = &steps
			}
			if flags.Changed("guidance") {
				opts.Guidance = &guidance
			}
			if flags.Changed("eta") {
				opts.Eta = &eta
			}
			if flags.Changed("seed") {
				opts.Seed = &seed
			}
			if slices.Equal(opts.Classes, []string{"balanced"}) || len(opts.Classes) == 0 {
				opts.Classes = nil
			}
			observer, end := newObserver(f.json)
			report, err := pipeline.Sample(cmd.Context(), opts, observer)
			end()
			if errors.Is(err, context.Canceled) {
				fmt.Fprintf(cmd.ErrOrStderr(), "stopped; the same command goes on with %s\n", opts.Out)
				return nil
			}
			if option := new(pipeline.OptionError); errors.As(err, option) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			return f.print(cmd, func() (any, string, error) { return report, report.Summary(), nil })
		},
	}
	sharedFlags(cmd, &opts.Files)
	flags := cmd.Flags()
	flags.StringVar(&opts.Out, "out", "", "folder for the images (required)")
	flags.IntVar(&images, "n", 0, "number of images (default as many as the run drew)")
	flags.StringSliceVar(&opts.Classes, "classes", nil, "names of classes, drawn in turn (default balanced: all)")
	flags.StringVar(&opts.Sampler, "sampler", "", "ddpm, ddim or dpm++ (default the run's)")
	flags.IntVar(&steps, "steps", 0, "steps of the sampler (default the run's)")
	flags.Float64Var(&guidance, "guidance", 0, "classifier-free guidance, 0 for none (default the run's)")
	flags.Float64Var(&eta, "eta", 0, "ddim: share of fresh noise, 0 to 1 (default the run's)")
	flags.Uint64Var(&seed, "seed", 0, "other images than the run's own (default none: the run's own)")
	flags.IntVar(&opts.Threads, "threads", 0, "threads (default all cores); they do not change the images")
	flags.StringSliceVar(&opts.Formats, "format", []string{pipeline.FormatNPZ, pipeline.FormatFolder, pipeline.FormatGrid},
		"what to write: npz (samples.npz: arr_0 uint8 [n, height, width, channels], arr_1 int64 labels), folder (images/CLASS/*.png), grid (samples.png)")
	flags.BoolVar(&f.json, "json", false, "print the summary (and progress) as JSON")
	return cmd
}
