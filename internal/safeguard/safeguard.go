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
	"strings"
)

// Process makes this process leave no core dump, closes its memory to other
// processes of the same user where the system can do that, and cuts the
// goroutine traces from Go's own crash message: their arguments are values.
// The runtime takes that last setting from its first environment only, so
// Process begins the program again, as the same process with the same arguments:
// call it before anything else. Whoever sets GOTRACEBACK gets the traces that it
// asks for.
func Process() error {
	var traces error
	if os.Getenv(traceVariable) == "" {
		traces = fmt.Errorf("crash traces cannot be switched off: %w", restart(traceVariable, "none")) // it returned: it failed
	}
	memory := closeMemory()
	if memory != nil {
		memory = fmt.Errorf("core dumps cannot be switched off: %w", memory)
	}
	return errors.Join(traces, memory)
}

// traceVariable says how much Go prints of a crash.
const traceVariable = "GOTRACEBACK"

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
