package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/audit"
	"github.com/dploda/dploda/pipeline"
)

// errAudit ends the program with exit code 1 after the table.
var errAudit = errors.New("the audit failed; see the rows marked FAIL")

func newAudit() *cobra.Command {
	var quick, asJSON bool
	var part string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Test the privacy claims on the code of a real run",
		Long: `audit runs phases on made-up data through a real run's code (ledger on disk, bus,
ring, workers, coins, noise) and judges what they release:

  A  the noise on a known sum: the variance of one draw for 1, 2, 4 and 8 workers
     and with one of 4 worker processes killed in a step; nothing in common
     between two releases or within one; one charge a step
  B  a canary of norm exactly Δ, there or not: the best test's lower bound on ε
     must lie between 0.9 of the claim and the claim
  C  one training of canary images, each there or not (Steinke, Nasr, Jagielski
     2023): the lower bound on ε must not exceed the claim, and must exceed it in
     a control without noise

It takes about two minutes on two cores, --quick some ten seconds, and needs no
images and no state folder. The exit code is 1 if a row fails. What the parts
show and what they cannot show: docs/audit.md.

--json prints one document: format, quick, rows of (part, name, found, accept,
pass), false_alarms of (part, rate, seconds), pass.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parts := strings.ToUpper(part)
			if parts == "" || strings.Trim(parts, audit.Parts) != "" {
				return usageError{fmt.Errorf("--part is %q; it takes some of the letters %s", part, audit.Parts)}
			}
			report, err := audit.Run(cmd.Context(), audit.Options{
				Quick: quick, Parts: parts, Training: pipeline.AuditTraining, Process: auditProcess,
				Observe: func(p string) { fmt.Fprintln(cmd.ErrOrStderr(), "part "+p) },
			})
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(report)
			} else {
				_, err = fmt.Fprint(cmd.OutOrStdout(), report.Text())
			}
			if err == nil && !report.Pass {
				err = errAudit
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "fewer trials, smaller phases, larger δ")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().StringVar(&part, "part", audit.Parts, "parts to run")
	cmd.AddCommand(newAuditWorker())
	return cmd
}

// newAuditWorker is a worker process of part A.
func newAuditWorker() *cobra.Command {
	var stay bool
	cmd := &cobra.Command{
		Use:    "worker",
		Short:  "Compute for an audit; started by it",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return audit.ServeWorker(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), stay)
		},
	}
	cmd.Flags().BoolVar(&stay, "stay", false, "stay in the middle of a step")
	return cmd
}

func auditProcess(ctx context.Context, args ...string) *exec.Cmd {
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	return exec.CommandContext(ctx, program, append([]string{"audit", "worker"}, args...)...)
}
