package safeguard

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// state is what the kernel says of this process: the limit on core dumps, and
// whether it can be dumped or traced.
func state() string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return err.Error()
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("core limit %d, dumpable %d", limit.Max, dumpable)
}

// Either protection taken out of closeMemory fails here.
func TestNoCoreDumps(t *testing.T) {
	if said, _ := runChild(t, "open"); said == "core limit 0, dumpable 0" {
		t.Fatalf("the control is protected already: %s", said)
	}
	if said, _ := runChild(t, "guarded"); said != "core limit 0, dumpable 0" {
		t.Errorf("the guarded process has %s", said)
	}
}
