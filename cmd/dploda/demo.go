package main

import (
	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

func newDemo() *cobra.Command {
	var f runFlags
	var exportData string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole pipeline on images drawn by code",
		Long: `demo runs the whole pipeline on embedded defaults: it draws ten classes of
private images, fine-tunes the shipped public base under differential privacy
(ε 10, δ 1e-5), samples synthetic images, trains a classifier on them and scores
it on held-out private images. The same command in the same folder goes on
where it was stopped.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := pipeline.DemoSpec()
			if err != nil {
				return err
			}
			return f.run(cmd, spec, pipeline.RunOptions{ExportData: exportData, Demo: true})
		},
	}
	f.register(cmd, "run/demo")
	cmd.Flags().StringVar(&exportData, "export-data", "", "also write the drawn data sets there, under MNIST's file names")
	return cmd
}
