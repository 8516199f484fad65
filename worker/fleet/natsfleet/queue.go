package natsfleet

import (
	"sync"

	"github.com/dploda/dploda/worker/fleet"
)

// queue delivers events in order without ever blocking who puts them.
type queue struct {
	out chan fleet.Event

	mu     sync.Mutex
	events []fleet.Event
	wake   chan struct{} // holds one token when events may be non-empty
	stop   chan struct{}
	ended  sync.WaitGroup
}

func newQueue() *queue {
	q := &queue{out: make(chan fleet.Event), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	q.ended.Go(q.deliver)
	return q
}

func (q *queue) put(e fleet.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() (fleet.Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) == 0 {
		return nil, false
	}
	e := q.events[0]
	q.events = q.events[1:]
	return e, true
}

// void removes the outcomes of generations up to gen.
func (q *queue) void(gen uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.events[:0]
	for _, e := range q.events {
		switch e := e.(type) {
		case fleet.Sum:
			if e.Generation <= gen {
				clear(e.Values)
				continue
			}
		case fleet.Failed:
			if e.Generation <= gen {
				continue
			}
		}
		kept = append(kept, e)
	}
	clear(q.events[len(kept):])
	q.events = kept
}

func (q *queue) deliver() {
	defer close(q.out)
	for {
		for e, ok := q.take(); ok; e, ok = q.take() {
			select {
			case q.out <- e:
			case <-q.stop:
				return
			}
		}
		select {
		case <-q.wake:
		case <-q.stop:
			return
		}
	}
}

// close drops what nobody took and closes the channel.
func (q *queue) close() {
	close(q.stop)
	q.ended.Wait()
	q.void(^uint64(0))
}
