package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

func newInit() *cobra.Command {
	var o pipeline.DraftOptions
	var out string
	var force bool
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a commented config for a folder of images",
		Long: `init reads sizes, channels and class names of the images in a folder and writes a
config with comments: how the images come to the base's shape, classes, a declared
number of images, ε and δ, and settings that fit. It prints what it found for the
owner of the images alone; the config holds no count but the declared one.`,
		Args: oneArg("the folder of the images"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) && !force {
				return usageError{fmt.Errorf("%s exists already; choose another with --out, or write over it with --force", out)}
			}
			flags := cmd.Flags()
			if flags.Changed("delta") && !(o.Delta > 0 && o.Delta < 1) {
				return usageError{fmt.Errorf("--delta must lie between 0 and 1, not %v", o.Delta)}
			}
			draft, err := pipeline.NewDraft(cmd.Context(), args[0], o)
			if err != nil {
				return asUsage(err)
			}
			if err := writeNew(out, draft.Content, force); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s", draft.Owner(), draft.Next(out))
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&out, "out", "run.yaml", "the config file to write")
	flags.StringVar(&o.Name, "name", "", "name of the run and of the data domain (default: the folder's)")
	flags.Float64Var(&o.Epsilon, "epsilon", 8, "ε of the run")
	flags.Float64Var(&o.Delta, "delta", 0, "δ of the run (default: a power of ten well below one over the number of images)")
	flags.BoolVar(&o.Public, "public", false, "declare the images public: anybody may see them")
	flags.StringVar(&o.Base, "base", "", "a base to fine-tune (default: the shipped one that fits best)")
	flags.BoolVar(&force, "force", false, "write over an existing config")
	return cmd
}

// writeNew writes a file that must not be there yet, unless forced.
func writeNew(path string, content []byte, force bool) error {
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, mode, 0o644)
	if err != nil {
		return fmt.Errorf("write the config: %w", err)
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
