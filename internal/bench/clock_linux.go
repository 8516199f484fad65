package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// processorTime says that the clocks below tell processors' time.
const processorTime = true

// threadTime is the processor time of this thread, whose goroutine must be
// locked to it.
func threadTime() time.Duration { return clock(unix.CLOCK_THREAD_CPUTIME_ID) }

// processTime is the processor time of all threads.
func processTime() time.Duration { return clock(unix.CLOCK_PROCESS_CPUTIME_ID) }

func clock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic(err) // these clocks always exist
	}
	return time.Duration(t.Nano())
}
