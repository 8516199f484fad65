package natsfleet_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

func TestFailuresPrintNoValues(t *testing.T) {
	s := newSite(t, nil)
	s.join("a", "b")
	s.release("first", 77, 4, 10)
	s.start(1, assignment, map[string][]uint32{"a": {sick}, "b": {2}})
	if e := next[fleet.Failed](s); e != (fleet.Failed{Worker: "a", Generation: 1, Reason: "this share cannot be computed"}) {
		t.Errorf("got %+v", e)
	}
	s.start(2, assignment, map[string][]uint32{"a": {}, "b": {mad}})
	e := next[fleet.Failed](s)
	if e.Worker != "b" || !strings.HasPrefix(e.Reason, "a bug in dploda: panic (runtime.boundsError) at site_test.go:") || strings.Contains(e.Reason, "3000") {
		t.Errorf("got %+v", e)
	}
	s.start(3, assignment, deal(ids, "a", "b")) // both are alive
	s.sum(3, expected(4, assignment, ids))
}

// witness keeps what a task was given, to see later that it was wiped.
type witness struct {
	toy
	sum []int32
	ids []uint32
	bad chan string
}

func (w *witness) Accumulate(ctx context.Context, step uint64, key [32]byte, ids []uint32, sum []int32) error {
	for name, rests := range map[string]bool{
		"the sum of the step before": slices.ContainsFunc(w.sum, func(x int32) bool { return x != 0 }),
		"its ids":                    slices.ContainsFunc(w.ids, func(x uint32) bool { return x != 0 }),
		"the new sum":                slices.ContainsFunc(sum, func(x int32) bool { return x != 0 }),
	} {
		if rests {
			w.bad <- name
		}
	}
	w.sum, w.ids = sum, ids
	return w.toy.Accumulate(ctx, step, key, ids, sum)
}

// TestNothingUnNoisedRests: invariant 5. After a step that succeeded, failed,
// panicked or was aborted, the worker's sum and ids are zero.
func TestNothingUnNoisedRests(t *testing.T) {
	s := newSite(t, nil)
	w := &witness{toy: toy{began: s.began}, bad: make(chan string, 100)}
	o := s.options(worker.InProcess(s.server, s.credentials("a")))
	o.NewTasks = func([]byte) (map[string]worker.Task, error) { return map[string]worker.Task{"first": w}, nil }
	s.run(o)
	next[fleet.Joined](s)
	s.release("first", 77, 4, 10)
	gen := uint64(0)
	for _, end := range []uint32{17, sick, mad, slow} {
		gen++
		s.start(gen, assignment, map[string][]uint32{"a": {2, 3, end}})
		switch end {
		case slow:
			s.awaitSlow()
			s.fleet.Abort(gen)
		default:
			s.event()
		}
		gen++
		s.start(gen, assignment, map[string][]uint32{"a": {2}}) // its Accumulate looks at what the last one left
		s.sum(gen, expected(4, assignment, []uint32{2}))
	}
	close(w.bad)
	for what := range w.bad {
		t.Errorf("%s is not zero", what)
	}
}

// TestNothingPrivateIsLogged runs a step with failures and searches the logs of
// all sides for an id, the draw key and a value.
func TestNothingPrivateIsLogged(t *testing.T) {
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := newSite(t, func(o *natsfleet.Options) { o.Logger = logger })
	o := s.options(worker.InProcess(s.server, s.credentials("a")))
	o.Logger = logger
	s.run(o)
	next[fleet.Joined](s)
	s.release("first", 77, 4, 10)
	a := assignment
	a.DrawKey = [32]byte{201, 202, 203}
	const id = 987654
	s.start(1, a, map[string][]uint32{"a": {id}})
	sum := next[fleet.Sum](s)
	logger.Info("events", "sum", sum, "assignment", a)
	fmt.Fprintf(&log, "%v %+v %#v %v %+v %#v", sum, sum, sum, a, a, a)
	s.start(2, a, map[string][]uint32{"a": {mad, id}})
	next[fleet.Failed](s)
	for _, secret := range []string{"987654", "201 202", "201, 202", "c9ca", "0xc9, 0xca", fmt.Sprint(sum.Values[1])} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%s stands in the log:\n%s", secret, log.String())
		}
	}
	if !strings.Contains(log.String(), "worker joined") {
		t.Error("the log is not the one that was searched")
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
