//go:build unix

package dataset

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPipesAreNoImages: what would never end, or wait for a writer, is not
// opened.
func TestPipesAreNoImages(t *testing.T) {
	dir := tree(t, map[string][]byte{"a/1.png": greyPNG(t, 4, 3, 1)})
	if err := syscall.Mkfifo(filepath.Join(dir, "a", "2.png"), 0o600); err != nil {
		t.Skip(err)
	}
	_, err := Source{Kind: KindFolder, Folder: dir, Classes: []string{"a"}}.Open(Train)
	if err == nil || !strings.HasPrefix(err.Error(), "a/2.png in "+dir+" is not a regular file") {
		t.Error(err)
	}
}
