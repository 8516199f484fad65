package natsfleet_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/ringallreduce"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

// TestAKilledWorker: invariant 6. The survivors give the same sum.
func TestAKilledWorker(t *testing.T) {
	s := newSite(t, nil)
	s.join("a", "b")
	victim := s.process("c")
	next[fleet.Joined](s)
	s.release("first", 77, 4, 100)
	want := expected(4, assignment, ids)
	shares := deal(ids, "a", "b", "c")
	shares["c"] = append(shares["c"], slow) // it dies while it computes and the others wait in the ring
	s.start(1, assignment, shares)
	time.Sleep(50 * time.Millisecond)
	at := time.Now()
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := next[fleet.Lost](s); e.Worker != "c" || e.Cause != "its connection closed" {
		t.Errorf("got %+v", e)
	}
	noticed := time.Since(at)
	s.fleet.Abort(1)
	s.start(2, assignment, deal(ids, s.fleet.Workers()...))
	s.sum(2, want)
	t.Logf("noticed after %v, summed by the survivors after %v", noticed, time.Since(at))
	if noticed > time.Second {
		t.Errorf("the death was noticed after %v", noticed)
	}
}

// TestAStoppedWorker is stopped mid-step, found by its missing heartbeats, and
// harms nothing when it is revived: it joins again.
func TestAStoppedWorker(t *testing.T) {
	s := newSite(t, func(o *natsfleet.Options) { o.BeatLimit = 400 * time.Millisecond })
	s.join("a", "b")
	zombie := s.process("c")
	next[fleet.Joined](s)
	s.release("first", 77, 4, 100)
	pause(t, zombie)
	at := time.Now()
	s.start(1, assignment, deal(ids, "a", "b", "c"))
	if e := next[fleet.Lost](s); e.Worker != "c" || e.Cause != "no heartbeat for 400ms" {
		t.Errorf("got %+v", e)
	}
	if d := time.Since(at); d > 2*time.Second {
		t.Errorf("noticed after %v", d)
	}
	s.start(2, assignment, deal(ids, "a", "b"))
	s.sum(2, expected(4, assignment, ids))

	resume(t, zombie) // it computes generation 1 and sends what nobody wants
	if e := next[fleet.Joined](s); e.Worker != "c" {
		t.Errorf("got %+v", e)
	}
	s.start(3, assignment, deal(ids, "a", "b", "c"))
	s.sum(3, expected(4, assignment, ids))
}

func TestALateJoinerTakesPart(t *testing.T) {
	s := newSite(t, nil)
	s.release("first", 76, 1, 10) // with nobody there
	s.release("first", 77, 4, 300_000)
	s.join("a")
	s.start(1, assignment, deal(ids, "a"))
	s.sum(1, expected(4, assignment, ids))
	s.join("b")
	s.start(2, assignment, deal(ids, "a", "b"))
	s.sum(2, expected(4, assignment, ids))
}

func TestAWorkerThatLeaves(t *testing.T) {
	s := newSite(t, nil)
	s.join("a")
	leaver := s.run(s.options(worker.Dial(s.credentials("b"))))
	next[fleet.Joined](s)
	s.release("first", 77, 4, 10)
	s.start(1, assignment, map[string][]uint32{"a": {2}, "b": {slow}})
	s.awaitSlow()
	at := time.Now()
	leaver.cancel()
	if e := next[fleet.Lost](s); e.Worker != "b" || e.Cause != "it left: stopped" {
		t.Errorf("got %+v", e)
	}
	if err := <-leaver.result; err != nil || time.Since(at) > time.Second {
		t.Errorf("it left with %v after %v", err, time.Since(at))
	}
	s.start(2, assignment, deal(ids, "a"))
	s.sum(2, expected(4, assignment, ids))
}

func TestTheServerDies(t *testing.T) {
	s := newSite(t, nil)
	r := s.run(s.options(worker.Dial(s.credentials("a"))))
	next[fleet.Joined](s)
	s.server.Shutdown()
	select {
	case err := <-r.result:
		if err == nil || !strings.HasPrefix(err.Error(), "worker a: ") {
			t.Errorf("the worker ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the worker outlived the server")
	}
}

// finished is the whole segment of a sum of two numbers in a ring.
func finished(gen uint64, ranks, segment int) []byte {
	lo, hi := ringallreduce.SegmentBounds(2, ranks, segment)
	numbers := make([]int32, hi-lo)
	return ringallreduce.EncodeChunk(make([]byte, wire.HeaderSize+8), wire.Chunk{
		Phase: wire.Segment, Type: wire.Int32, Generation: gen, Step: assignment.Step, Ranks: uint16(ranks), Segment: uint32(segment),
		Offset: uint64(lo), Count: uint32(len(numbers)), Length: 2,
	}, numbers)
}

// TestNoSumFollowsALoss: once a rank is lost its generation is void, even if
// all segments were on their way.
func TestNoSumFollowsALoss(t *testing.T) {
	s := newSite(t, nil)
	s.join("a")
	leaver := s.run(s.options(worker.InProcess(s.server, s.credentials("b"))))
	next[fleet.Joined](s)
	s.release("first", 77, 4, 10)
	boss, err := s.server.Connect("forger")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { boss.Close(); <-boss.Closed() }()
	small := assignment
	small.Dim = 1
	send := func(gen uint64) {
		for rank, name := range []string{"a", "b"} {
			shard := finished(gen, 2, ringallreduce.OwnedBy(rank, 2))
			if err := boss.Publish((wire.Subjects{Run: "r"}).Shard(name, gen, 0), shard); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.start(1, small, map[string][]uint32{"a": {slow}, "b": {slow}})
	send(1)
	s.sum(1, []int32{0, 0}) // the forgery is good enough while both are there
	s.start(2, small, map[string][]uint32{"a": {slow}, "b": {slow}})
	s.awaitSlow()
	leaver.cancel()
	next[fleet.Lost](s)
	send(2)
	s.quiet(100 * time.Millisecond)
}

// TestALameReceiverHoldsNobodyUp: a worker whose task takes too long over a
// release is lost; the release goes on.
func TestALameReceiverHoldsNobodyUp(t *testing.T) {
	s := newSite(t, func(o *natsfleet.Options) { o.StallTimeout = 200 * time.Millisecond })
	s.join("a")
	o := s.options(worker.InProcess(s.server, s.credentials("b")))
	let := make(chan struct{})
	o.NewTasks = func([]byte) (map[string]worker.Task, error) {
		return map[string]worker.Task{"first": lame{let}}, nil
	}
	s.run(o)
	next[fleet.Joined](s)
	s.release("first", 77, 4, 10)
	if e := next[fleet.Lost](s); e.Worker != "b" || e.Cause != "it did not load the parameters within 200ms" {
		t.Errorf("got %+v", e)
	}
	close(let)
	s.start(1, assignment, deal(ids, "a"))
	for {
		switch e := s.event().(type) {
		case fleet.Joined: // b, once it could
			continue
		case fleet.Sum:
			if !slices.Equal(e.Values, expected(4, assignment, ids)) {
				t.Error("the sum is wrong")
			}
		default:
			t.Errorf("got %T %v", e, e)
		}
		return
	}
}

type lame struct{ let <-chan struct{} }

func (l lame) SetParameters([]byte) error { <-l.let; return nil }

func (l lame) Accumulate(context.Context, uint64, [32]byte, []uint32, []int32) error {
	return nil
}

// TestAStepHasADeadline: a share that never ends, of a worker that is alive.
func TestAStepHasADeadline(t *testing.T) {
	s := newSite(t, func(o *natsfleet.Options) { o.StepTimeout = 100 * time.Millisecond })
	s.join("a")
	s.release("first", 77, 4, 10)
	s.start(1, assignment, map[string][]uint32{"a": {slow}})
	if e := next[fleet.Failed](s); e != (fleet.Failed{Worker: "a", Generation: 1, Reason: "nothing of its sum arrived within 100ms"}) {
		t.Errorf("got %+v", e)
	}
}
