package natsfleet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

func TestTheSumIsTheSameForAnyNumberOfWorkers(t *testing.T) {
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newSite(t, nil)
			names := []string{"a", "b", "c"}[:n]
			s.join(names...)
			s.release("first", 77, 4, 1_000_000)
			if got := s.fleet.Workers(); !slices.Equal(got, names) {
				t.Fatalf("workers %v", got)
			}
			gen := uint64(1)
			for _, a := range []fleet.Assignment{assignment, {Run: assignment.Run, Phase: "first", Step: 4, State: assignment.State, Dim: 1}} {
				for _, sample := range [][]uint32{ids, ids[:1], nil} { // fewer examples than workers, and none
					s.start(gen, a, deal(sample, names...))
					s.sum(gen, expected(4, a, sample))
					gen++
				}
			}
		})
	}
}

func TestReleasesCarryPhasesAndStates(t *testing.T) {
	s := newSite(t, nil)
	s.join("a", "b")
	a := assignment
	for i, size := range []int{0, wire.PartSize - 4, wire.PartSize, 20 * wire.PartSize} { // one part, whole parts, more than the window
		a.Phase = []string{"first", "second"}[i%2]
		a.State = [32]byte{byte(i + 1)}
		s.release(a.Phase, byte(i+1), uint32(100*i), size)
		s.start(uint64(i+1), a, deal(ids, "a", "b"))
		s.sum(uint64(i+1), expected(uint32(100*i), a, ids))
	}
	// An assignment that starts from another state, or names another phase or
	// run, is not computed.
	gen := uint64(10)
	for want, change := range map[string]func(*fleet.Assignment){
		"parameters that this worker has not loaded": func(a *fleet.Assignment) { a.State[0]++ },
		"no task for phase third":                    func(a *fleet.Assignment) { a.Phase = "third" },
		"of another run":                             func(a *fleet.Assignment) { a.Run[0]++ },
	} {
		wrong := a
		change(&wrong)
		gen++
		s.start(gen, wrong, deal(ids, "a", "b"))
		if e := next[fleet.Failed](s); e.Generation != gen || !strings.Contains(e.Reason, want) {
			t.Errorf("got %+v, want %q", e, want)
		}
	}
}

// TestAbortIsPushed: a computation ends because it is told to, and what is
// under way in the ring is dropped.
func TestAbortIsPushed(t *testing.T) {
	s := newSite(t, nil)
	s.join("a", "b", "c")
	s.release("first", 77, 4, 10)
	for gen := uint64(1); gen <= 5; gen++ {
		s.start(gen, assignment, map[string][]uint32{"a": {2, 3}, "b": {slow}, "c": {}}) // a and c wait in the ring
		s.awaitSlow()
		if gen%2 == 1 { // else the next Start must do
			s.fleet.Abort(gen)
		}
	}
	s.start(6, assignment, deal(ids, "a", "b", "c"))
	s.sum(6, expected(4, assignment, ids))
	s.start(7, assignment, deal(ids, "a", "b", "c"))
	s.fleet.Abort(7)
	s.start(8, assignment, deal(ids, "a", "b"))
	e := next[fleet.Sum](s)
	if e.Generation == 7 { // it was in the channel already
		e = next[fleet.Sum](s)
	}
	if e.Generation != 8 || !slices.Equal(e.Values, expected(4, assignment, ids)) {
		t.Error("the sum after an abort is wrong")
	}
	s.quiet(50 * time.Millisecond)
}

func TestNoCoordinator(t *testing.T) {
	server, err := bus.Start(bus.Options{Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	creds, err := server.AddWorker("a")
	if err != nil {
		t.Fatal(err)
	}
	o := worker.Options{Connection: worker.InProcess(server, creds), Kind: kind, NewTasks: newToys(nil), JoinTimeout: 50 * time.Millisecond}
	if err := worker.Run(t.Context(), o); err == nil || err.Error() != "worker a: no coordinator answered; is it running?" {
		t.Errorf("got %v", err)
	}
}

func TestTheEndOfTheRun(t *testing.T) {
	s := newSite(t, nil)
	r := s.run(s.options(worker.InProcess(s.server, s.credentials("a"))))
	next[fleet.Joined](s)
	if err := s.fleet.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-r.result; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	if _, open := <-s.fleet.Events(); open {
		t.Error("the events are still open")
	}
	if err := s.fleet.Start(t.Context(), 1, assignment, deal(ids, "a")); err == nil {
		t.Error("a closed fleet starts a step")
	}
}

// BenchmarkStep is what a step costs beyond its computation: assignment, ring,
// sum, release of new parameters.
func BenchmarkStep(b *testing.B) {
	const coordinates = 500_000
	for _, workers := range []int{1, 2, 3} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			server, err := bus.Start(bus.Options{Run: "r"})
			if err != nil {
				b.Fatal(err)
			}
			defer server.Shutdown()
			f, err := natsfleet.Open(natsfleet.Options{Server: server, Kind: kind})
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			shares := map[string][]uint32{}
			for i := range workers {
				creds, err := server.AddWorker(fmt.Sprintf("w%d", i))
				if err != nil {
					b.Fatal(err)
				}
				shares[creds.Worker] = nil
				go func() {
					_ = worker.Run(context.Background(), worker.Options{Connection: worker.InProcess(server, creds), Kind: kind, NewTasks: idle})
				}()
				<-f.Events()
			}
			r := fleet.Release{Phase: "first", Parameters: make([]byte, 4*coordinates)}
			gen := uint64(0)
			for b.Loop() {
				if err := f.Release(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				gen++
				if err := f.Start(b.Context(), gen, fleet.Assignment{Phase: "first", Dim: coordinates}, shares); err != nil {
					b.Fatal(err)
				}
				if _, ok := (<-f.Events()).(fleet.Sum); !ok {
					b.Fatal("no sum")
				}
			}
		})
	}
}
