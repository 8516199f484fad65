package natsfleet_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

func TestANameIsTakenOnce(t *testing.T) {
	s := newSite(t, nil)
	creds := s.credentials("a")
	s.run(s.options(worker.InProcess(s.server, creds)))
	next[fleet.Joined](s)
	s.release("first", 77, 4, 10)
	second := s.options(worker.Dial(creds))
	second.JoinTimeout = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := worker.Run(ctx, second)
	if err == nil || err.Error() != "worker a: a worker named a is already part of the run" {
		t.Errorf("got %v", err)
	}
	s.start(1, assignment, deal(ids, "a"))
	s.sum(1, expected(4, assignment, ids))
}

func TestStrangersAreRefusedInOneSentence(t *testing.T) {
	s := newSite(t, nil)
	o := s.options(worker.Dial(s.credentials("a")))
	o.Kind = "cuda-90"
	if err := worker.Run(t.Context(), o); err == nil || err.Error() != "worker a: this run computes on toy, the worker on cuda-90" {
		t.Errorf("got %v", err)
	}
	o = s.options(worker.Dial(s.credentials("b")))
	o.NewTasks = func([]byte) (map[string]worker.Task, error) { return nil, errors.New("the data folder is gone") }
	if err := worker.Run(t.Context(), o); err == nil || err.Error() != "worker b: the tasks could not be prepared: the data folder is gone" {
		t.Errorf("got %v", err)
	}
	s.quiet(50 * time.Millisecond)
	if w := s.fleet.Workers(); len(w) != 0 {
		t.Errorf("workers %v", w)
	}
}

// TestGarbageIsHarmless sends garbage, and well-formed messages of sessions and
// generations that do not exist, on every subject a worker may use.
func TestGarbageIsHarmless(t *testing.T) {
	s := newSite(t, nil)
	s.join("a", "b")
	s.release("first", 77, 4, 10)
	creds := s.credentials("vandal")
	vandal, err := s.server.InProcess(creds)("data vandal")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { vandal.Close(); <-vandal.Closed() }()
	subjects := wire.Subjects{Run: "r"}
	var messages [][]byte
	for _, m := range []wire.Message{&wire.Ready{Speed: 1}, &wire.Ack{Loaded: true}, &wire.Failed{Generation: 1}, &wire.Leave{}, &wire.End{}, &wire.Heartbeat{}, &wire.Abort{Generation: 1 << 60}} {
		b, err := wire.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, b)
	}
	messages = append(messages, nil, []byte("garbage"), bytes.Repeat([]byte{0xff}, 1<<20), finished(1, 1, 0))
	small := assignment
	small.Dim = 1
	s.start(1, small, map[string][]uint32{"a": {slow}})
	s.awaitSlow()
	for _, subject := range []string{
		subjects.Up("vandal", "x"), subjects.Beat("vandal", "x"), subjects.Shard("vandal", 1, 0),
		subjects.Ring("vandal", "a", 1, 0), subjects.Ring("vandal", "b", 2, 0), subjects.Ring("vandal", "a", 1<<63, 0),
	} {
		for _, m := range messages {
			if err := vandal.Publish(subject, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := vandal.Flush(); err != nil {
		t.Fatal(err)
	}
	s.quiet(50 * time.Millisecond) // the forged sum of generation 1 above all
	s.start(2, assignment, deal(ids, "a", "b"))
	s.sum(2, expected(4, assignment, ids))
}

func TestImpossibleStartsAreRefused(t *testing.T) {
	s := newSite(t, nil)
	s.join("a")
	s.release("first", 77, 4, 10)
	s.start(5, assignment, deal(ids, "a"))
	s.sum(5, expected(4, assignment, ids))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		gen    uint64
		change func(*fleet.Assignment)
		shares map[string][]uint32
		want   string
	}{
		"old generation": {gen: 5, shares: deal(ids, "a"), want: "fleet: generation 5 is not above 5"},
		"unknown worker": {gen: 6, shares: deal(ids, "a", "z"), want: "fleet: worker z is not ready"},
		"nobody":         {gen: 6, want: "fleet: a ring of 0 workers; there can be 1 to 1024"},
		"dim":            {gen: 6, shares: deal(ids, "a"), change: func(a *fleet.Assignment) { a.Dim = 0 }, want: "fleet: a vector of 0 coordinates; there can be 1 to 1073741824"},
		"an id twice":    {gen: 6, shares: map[string][]uint32{"a": {4, 4}}, want: "fleet: the assignment of worker a: ids: not strictly ascending"},
		"cancelled":      {ctx: cancelled, gen: 6, shares: deal(ids, "a"), want: "context canceled"},
	} {
		a := assignment
		if c.change != nil {
			c.change(&a)
		}
		if c.ctx == nil {
			c.ctx = t.Context()
		}
		if err := s.fleet.Start(c.ctx, c.gen, a, c.shares); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	s.start(6, assignment, deal(ids, "a")) // nothing was spent by the refusals
	s.sum(6, expected(4, assignment, ids))
}

// TestMessagesOfThePastAreRefused speaks to a worker as a coordinator that was
// deposed, or whose messages were held up.
func TestMessagesOfThePastAreRefused(t *testing.T) {
	s := newSite(t, func(o *natsfleet.Options) { o.Term = 5 })
	old, err := s.server.Connect("deposed")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { old.Close(); <-old.Closed() }()
	subjects := wire.Subjects{Run: "r"}
	up, err := old.SubscribeSync(subjects.AllUp())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Flush(); err != nil {
		t.Fatal(err)
	}
	s.join("a")
	hello, err := up.NextMsg(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_, session, _ := subjects.Sender(hello.Subject)
	s.release("first", 77, 4, 10)
	s.start(8, assignment, deal(ids, "a"))
	s.sum(8, expected(4, assignment, ids))

	assign := func(term, gen uint64) *wire.Assign {
		return &wire.Assign{
			Run: assignment.Run, Term: term, Generation: gen, Step: 3, Phase: "first", State: assignment.State,
			Dim: 1, Ring: []string{"a"}, IDs: []uint32{slow},
		}
	}
	part := func(term, sequence uint64) *wire.Part {
		return &wire.Part{Term: term, Sequence: sequence, Phase: "first", State: [32]byte{1}, Total: 4, Data: make([]byte, 4)}
	}
	for _, m := range []wire.Message{assign(5, 8), assign(5, 7), assign(4, 100), part(5, 0), part(4, 9), &wire.Abort{Term: 4, Generation: 1 << 60}} {
		b, err := wire.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Publish(subjects.Down("a", session), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Flush(); err != nil {
		t.Fatal(err)
	}
	s.start(9, assignment, deal(ids, "a"))
	s.sum(9, expected(4, assignment, ids))
	if len(s.began) != 0 {
		t.Error("a share of the past was computed")
	}
}

func idle([]byte) (map[string]worker.Task, error) {
	let := make(chan struct{})
	close(let)
	return map[string]worker.Task{"first": lame{let}}, nil
}
