package main

import (
	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

func newInspect() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Print what is in a file that dploda wrote",
		Long: `inspect prints what is in any file or folder that dploda wrote: a run folder, a
base model, an adapter, samples, a checkpoint blob, a ledger export, metrics,
a report or a privacy statement.`,
		Args: oneArg("the file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.print(cmd, func() (any, string, error) { return pipeline.Inspect(args[0]) })
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.AddCommand(newInspectData())
	return cmd
}

func newInspectData() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "data DIR",
		Short: "Print what is in a folder of images, for the owner's eyes only",
		Long: `inspect data prints what is in a folder of images to train on: its kind, the
images of each class, their sizes and channels, files that cannot be used and
images that are there twice. It tells of private images, so it prints to the
terminal only and writes no file.`,
		Args: oneArg("the folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.print(cmd, func() (any, string, error) { return pipeline.InspectData(args[0]) })
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}
