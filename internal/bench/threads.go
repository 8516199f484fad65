package bench

import (
	"errors"
	"runtime"
	"sync"
	"time"
)

// onThreads runs f on n goroutines at once, each locked to a thread of its own.
func onThreads(n int, f func(thread int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs[i] = f(i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// elapsed is the processor time of n calls on this thread.
func elapsed(n int, run func()) time.Duration {
	start := threadTime()
	for range n {
		run()
	}
	return threadTime() - start
}
