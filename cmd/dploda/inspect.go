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
	return cmd
}
