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
	"syscall"

	"github.com/spf13/cobra"
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
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "dploda:", err)
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
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see 'dploda %s --help')", err, cmd.Name())}
	})
	root.AddCommand(newDemo(), newRun(), newPretrain(), newInspect(), newWorker(), newVersion())
	return root
}
