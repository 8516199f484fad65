package bench

import (
	"context"
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

// A barrier lets goroutines through when all have come.
type barrier struct{ wg sync.WaitGroup }

func newBarrier(n int) *barrier {
	b := &barrier{}
	b.wg.Add(n)
	return b
}

func (b *barrier) wait() {
	b.wg.Done()
	b.wg.Wait()
}

// window is the least processor time of one measurement: far above the clock's
// resolution and its own cost.
const window = 10 * time.Millisecond

// calibrate returns how many calls of run take a window, after a first one
// that touches all memory.
func calibrate(run func()) int {
	run()
	for n := 1; ; n *= 2 {
		if elapsed(n, run) >= window {
			return n
		}
	}
}

// elapsed is the processor time of n calls on this thread.
func elapsed(n int, run func()) time.Duration {
	start := threadTime()
	for range n {
		run()
	}
	return threadTime() - start
}

// fastest measures windows of n calls for a time and returns the calls per
// second of the fastest: what disturbs a window only slows it.
func fastest(ctx context.Context, n int, atLeast time.Duration, run func()) float64 {
	best := 0.0
	for spent := time.Duration(0); best == 0 || spent < atLeast && ctx.Err() == nil; {
		t := elapsed(n, run)
		best = max(best, float64(n)/t.Seconds())
		spent += t
	}
	return best
}
