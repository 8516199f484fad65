package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

func newExport() *cobra.Command {
	var f runFlags
	var opts pipeline.ExportOptions
	cmd := &cobra.Command{
		Use:   "export --format FORMAT --run RUN --out DIR",
		Short: "Write a finished run, or a base, for Python's diffusers, PEFT and numpy",
		Long: `export writes what a run released for other programs. It reads the run's share/
and the base, and costs no privacy. The formats are

  diffusers  a folder for UNet2DModel.from_pretrained: with --base alone the base
             as it is; of a run the base with everything trained merged into it,
             the classes' embedding included. That is exact for LoRA, full and
             none. LoDA's adapters are not linear and cannot be merged:
             examples/python/load_adapter.py attaches them
  peft       a folder for PeftModel.from_pretrained: LoRA only
  npz        the run's own synthetic images
  check      random inputs and what dploda predicts on them, by which the
             programs in examples/python compare themselves with dploda`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.Out == "" || opts.Format == "" {
				return usageError{errors.New("export needs a format and a folder: give --format diffusers, peft, npz or check, and --out DIR")}
			}
			observer, end := newObserver(f.json)
			report, err := pipeline.Export(cmd.Context(), opts, observer)
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
	cmd.Flags().StringVar(&opts.Format, "format", "", "diffusers, peft, npz or check (required)")
	cmd.Flags().StringVar(&opts.Out, "out", "", "an empty or new folder (required)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the report as JSON")
	return cmd
}
