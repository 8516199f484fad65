package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommitted fails if the generator was changed and not run.
func TestCommitted(t *testing.T) {
	files, err := outputs()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s is not what the generator writes: run go generate in the kernel package", name)
		}
		if bytes.Contains(want, []byte("%!")) {
			t.Errorf("%s: an instruction has other operands than its form", name)
		}
		if !strings.HasSuffix(name, "_amd64.s") {
			continue
		}
		// Later Go code runs several times slower after a kernel that leaves
		// the upper halves of vector registers dirty.
		text := string(want)
		if returns, cleared := strings.Count(text, "\tRET\n"), strings.Count(text, "\tVZEROUPPER\n\tRET\n"); returns != cleared {
			t.Errorf("%s: %d of %d returns come after VZEROUPPER", name, cleared, returns)
		}
	}
}
