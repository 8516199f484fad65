//go:build !linux

package bench

import "time"

// processorTime says that the clocks below tell no processors' time.
const processorTime = false

var epoch = time.Now()

// threadTime is the wall clock where a thread's own is not to be had: measure
// on a machine that does nothing else.
func threadTime() time.Duration { return time.Since(epoch) }

// processTime is the wall clock, too.
func processTime() time.Duration { return time.Since(epoch) }
