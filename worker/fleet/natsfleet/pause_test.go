package natsfleet_test

import (
	"os/exec"
	"syscall"
	"testing"
)

func pause(t *testing.T, cmd *exec.Cmd)  { signal(t, cmd, syscall.SIGSTOP) }
func resume(t *testing.T, cmd *exec.Cmd) { signal(t, cmd, syscall.SIGCONT) }

func signal(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
