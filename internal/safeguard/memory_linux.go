package safeguard

import (
	"errors"

	"golang.org/x/sys/unix"
)

// closeMemory: the limit alone would not do, for the kernel ignores it where
// core_pattern pipes dumps to a program; a process that is not dumpable is
// neither dumped nor traced. Both end at exec: each process calls it itself.
func closeMemory() error {
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
	)
}
