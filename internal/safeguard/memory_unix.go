//go:build unix && !linux

package safeguard

import "golang.org/x/sys/unix"

func closeMemory() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
