package pipeline

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/google/renameio/v2"
)

// writeFile stores content at path: whole and durable, or not at all.
func writeFile(path string, content []byte) error {
	if err := renameio.WriteFile(path, content, 0o644); err != nil {
		return explainFull(fmt.Errorf("write %s: %w", path, err))
	}
	return os.Chmod(path, 0o644)
}

// explainFull says of a full disk what a person can do about it.
func explainFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk is full; free some space and give the same command again: %w", err)
	}
	return err
}
