// Package safeguard keeps a crash from telling what the memory held: images,
// gradients, sums and keys. Process is for main, Contain for whatever touches
// private values.
package safeguard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// Process makes this process leave no core dump, closes its memory to other
// processes of the same user where the system can do that, and cuts the
// goroutine traces from Go's own crash message: their arguments are values.
// Whoever sets GOTRACEBACK gets the traces that it asks for.
func Process() error {
	if os.Getenv("GOTRACEBACK") == "" {
		debug.SetTraceback("none")
	}
	if err := closeMemory(); err != nil {
		return fmt.Errorf("core dumps cannot be switched off: %w", err)
	}
	return nil
}

// ErrPanic is in the chain of Contain's error after a panic.
var ErrPanic = errors.New("a bug in dploda")

// Contain calls do and turns a panic of this goroutine into an error that says
// where it happened and tells none of its values: they might be private.
func Contain(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: panic (%T) at %s", ErrPanic, v, site())
		}
	}()
	return do()
}

// site is the line that panicked: the first of this stack, above Contain's own
// function, that is not the runtime's.
func site() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
