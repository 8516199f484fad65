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
	err := renameio.WriteFile(path, content, 0o644)
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("write %s: the disk is full; free some space and give the same command again: %w", path, err)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Chmod(path, 0o644)
}
