// Dploda fine-tunes a diffusion model on private images under differential
// privacy and hands back synthetic images that may be shared, with a proof of
// what was spent.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/internal/safeguard"
	"github.com/dploda/dploda/pipeline"
)

// Exit codes. An interrupted run that has checkpointed exits 0: the same
// command goes on with it.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a mistake in flags, arguments or a config file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once: no moment is a wrong one.
	context.AfterFunc(ctx, stop)
	if err := safeguard.Process(); err != nil {
		fmt.Fprintln(os.Stderr, "dploda: warning:", err)
	}
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := safeguard.Contain(func() error { return root.ExecuteContext(ctx) })
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "dploda:", pipeline.ForOwner(err))
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dploda",
		Short: "Fine-tune diffusion models on private images under differential privacy",
		Long: `dploda fine-tunes a diffusion model on private images across workers, under
differential privacy, and hands back synthetic images that may be shared, with
a statement of what was spent.

Start with:  dploda demo`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q (see 'dploda --help')", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		problem, _, _ := strings.Cut(err.Error(), ": strconv.") // Go's own words help nobody
		return usageError{fmt.Errorf("%s (see '%s --help')", problem, cmd.CommandPath())}
	})
	root.AddCommand(newDemo(), newInit(), newPlan(), newRun(), newPretrain(), newFeatures(), newSample(), newExport(), newDomain(), newLedger(), newInspect(), newBench(), newAudit(), newAccount(), newWorker(), newVersion())
	return root
}
