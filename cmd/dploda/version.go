package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version and the device",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "dploda %s, %s\n", pipeline.Version, pipeline.DeviceDescription())
			return err
		},
	}
}
