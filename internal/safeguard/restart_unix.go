//go:build unix

package safeguard

import (
	"os"

	"golang.org/x/sys/unix"
)

// restart begins this program again with one more environment variable.
func restart(variable, value string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(variable, value); err != nil {
		return err
	}
	return unix.Exec(program, os.Args, os.Environ())
}
