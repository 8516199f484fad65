//go:build !linux

package cpu

import "time"

var epoch = time.Now()

// threadTime is the wall clock where a thread's own is not to be had.
func threadTime() time.Duration { return time.Since(epoch) }
