package coordinator

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lock holds a state directory for one process. The kernel drops it when the
// process ends, however it ends.
type lock struct{ f *os.File }

func lockDirectory(dir string) (*lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the state directory %s cannot be locked: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		return nil, fmt.Errorf("the state directory %s is in use by another dploda process (pid %s); wait until it ends or choose another with --state", dir, strings.TrimSpace(string(holder)))
	}
	f.Truncate(0)
	fmt.Fprintln(f, os.Getpid()) // for people only; the lock is the kernel's
	return &lock{f}, nil
}

func (l *lock) release() error { return l.f.Close() }
