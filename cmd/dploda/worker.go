package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

// newWorker is what --worker-processes starts. It is hidden: a person joins a
// run with nothing that this version could give them.
func newWorker() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Compute for a run; started by demo and run with --worker-processes",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := pipeline.ServeWorker(cmd.Context(), cmd.InOrStdin()); err != nil {
				// The run that started it writes its last words into a log: they are
				// not for the owner alone.
				return errors.New(err.Error())
			}
			return nil
		},
	}
}
