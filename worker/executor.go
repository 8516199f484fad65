package worker

import (
	"context"
	"slices"

	"github.com/dploda/dploda/internal/safeguard"
)

// item is one thing that a worker's tasks do: prepare, load parameters, or
// compute a share.
type item struct {
	share            bool // aborted when its generation is
	term, generation uint64
	do               func(context.Context) error
	then             func(error) error // in the session's goroutine; an error ends the session
}

// executor runs items one after another on a goroutine of their own, and keeps
// the highest generation that was seen, so that a message of the past cannot
// revive it. All its methods are called by the session's goroutine.
type executor struct {
	queue   []*item
	running *item
	cancel  context.CancelFunc
	done    chan error

	term, generation uint64 // highest seen
}

func (e *executor) enqueue(i *item) { e.queue = append(e.queue, i) }

// next starts the next item if none is running.
func (e *executor) next() {
	if e.running != nil || len(e.queue) == 0 {
		return
	}
	if e.done == nil {
		e.done = make(chan error, 1)
	}
	e.running, e.queue = e.queue[0], e.queue[1:]
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	do, done := e.running.do, e.done
	go func() { done <- safeguard.Contain(func() error { return do(ctx) }) }()
}

// finish settles the item that ended with err.
func (e *executor) finish(err error) error {
	i := e.running
	e.running = nil
	defer e.cancel()
	return i.then(err)
}

// admit reports whether a share of this generation is newer than all seen, and
// voids what was under way.
func (e *executor) admit(term, generation uint64) bool {
	if term < e.term || term == e.term && generation <= e.generation {
		return false
	}
	e.abort(term, generation)
	return true
}

// abort voids every share up to this generation.
func (e *executor) abort(term, generation uint64) {
	if term < e.term {
		return
	}
	if term > e.term {
		e.term, e.generation = term, 0
	}
	e.generation = max(e.generation, generation)
	void := func(i *item) bool {
		return i.share && (i.term < e.term || i.generation <= e.generation)
	}
	e.queue = slices.DeleteFunc(e.queue, void)
	if e.running != nil && void(e.running) {
		e.cancel()
	}
}

// stop cancels what runs and waits for it.
func (e *executor) stop() {
	e.queue = nil
	if e.running != nil {
		e.cancel()
		<-e.done
		e.running = nil
	}
}

// taskError is a fault of the tasks that the worker cannot work on with.
type taskError struct{ error }
