package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

func newLedger() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show, verify and export the site's ledger, and close runs that are given up",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLedgerShow(), newLedgerVerify(), newLedgerExport(), newLedgerClose())
	return cmd
}

func newLedgerShow() *cobra.Command {
	var f siteFlags
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show domains and runs with what they spent",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.print(cmd, func() (any, string, error) { return pipeline.ShowLedger(f.state) })
		},
	}
	f.register(cmd)
	return cmd
}

func newLedgerVerify() *cobra.Command {
	var f siteFlags
	var export string
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Replay a ledger, or hold a privacy statement against one, and compute its numbers again",
		Long: `verify replays the site's ledger, or an exported one: the hash chain, every rule of
the state machine, and the accountant's numbers. For a privacy.json it computes
everything that the statement claims again from the exported ledger beside it or
named by --ledger. It needs no private file and no network.`,
		Args: atMostOneArg("an exported ledger or a privacy.json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.HasSuffix(optional(args), ".json") {
				return f.verifyStatement(cmd, args[0], export)
			}
			if export != "" {
				return usageError{errors.New("--ledger names the ledger of a privacy.json, which is not given")}
			}
			v, err := pipeline.VerifyLedger(optional(args), f.state)
			if err != nil {
				return err
			}
			return f.print(cmd, func() (any, string, error) { return v, v.Text(), nil })
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&export, "ledger", "", "the exported ledger of a privacy.json (default ledger.export beside it)")
	return cmd
}

// verifyStatement prints every check, also of a statement that does not hold.
func (f *siteFlags) verifyStatement(cmd *cobra.Command, path, export string) error {
	v, err := pipeline.VerifyStatement(path, export)
	if v == nil {
		return err
	}
	if printed := f.print(cmd, func() (any, string, error) { return v, v.Text(), nil }); printed != nil {
		return printed
	}
	return err
}

func newLedgerExport() *cobra.Command {
	var f siteFlags
	var out string
	cmd := &cobra.Command{
		Use:   "export --out FILE",
		Short: "Copy the site's ledger into a file that anyone can verify",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usageError{errors.New("export needs --out FILE")}
			}
			return pipeline.ExportLedger(f.state, out)
		},
	}
	cmd.Flags().StringVar(&f.state, "state", "", "the site's state folder (default $XDG_STATE_HOME/dploda)")
	cmd.Flags().StringVar(&out, "out", "", "the file to write")
	return cmd
}

func newLedgerClose() *cobra.Command {
	var f siteFlags
	cmd := &cobra.Command{
		Use:   "close RUN",
		Short: "End a run for ever and give its reserve back to the data domain",
		Long: `close ends a run that will not go on, such as one whose folder was deleted: it can
never be continued, its secret is destroyed, and what it reserved and did not
spend is the data domain's again. RUN is the whole id that 'dploda ledger show'
prints.`,
		Args: oneArg("the whole id of the run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := pipeline.CloseRun(f.state, args[0]); err != nil {
				return asUsage(err)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "run %s is closed\n", args[0])
			return err
		},
	}
	cmd.Flags().StringVar(&f.state, "state", "", "the site's state folder (default $XDG_STATE_HOME/dploda)")
	return cmd
}

func atMostOneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("%s takes at most one argument, %s, but got %d", cmd.Name(), what, len(args))}
		}
		return nil
	}
}

// optional is the argument that may be left out.
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
