package natsfleet_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/ringallreduce"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

// childFlag makes the test binary a worker process that reads its credentials
// from standard input.
const childFlag = "DPLODA_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(childFlag) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

func child() int {
	creds, err := bus.ReadCredentials(os.Stdin)
	if err == nil {
		err = worker.Run(context.Background(), worker.Options{Connection: worker.Dial(creds), Kind: kind, NewTasks: newToys(nil)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const (
	kind = "toy"
	dim  = 200_003 // several chunks, not divisible by ranks
	slow = 1000    // an id that takes long
	sick = 2000    // an id that fails
	mad  = 3000    // an id that panics
)

// toy sums, for each id, a vector that depends on the id and the parameters.
type toy struct {
	offset uint32
	began  chan<- struct{} // told of each slow id
}

func newToys(began chan<- struct{}) func([]byte) (map[string]worker.Task, error) {
	return func(job []byte) (map[string]worker.Task, error) {
		if string(job) != "toy job" {
			return nil, errors.New("not the toys' job")
		}
		return map[string]worker.Task{"first": &toy{began: began}, "second": &toy{began: began}}, nil
	}
}

func (t *toy) SetParameters(state []byte) error {
	if len(state) < 4 {
		return errors.New("too short")
	}
	t.offset = binary.LittleEndian.Uint32(state)
	for _, b := range state[4:] {
		t.offset += uint32(b)
	}
	return nil
}

func (t *toy) Accumulate(ctx context.Context, step uint64, key [32]byte, ids []uint32, sum []int32) error {
	for _, id := range ids {
		switch id {
		case slow:
			if t.began != nil {
				t.began <- struct{}{}
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Hour):
			}
		case sick:
			return errors.New("this share cannot be computed")
		case mad:
			_ = sum[len(sum)+int(id)]
		}
		for i := range sum[:len(sum)-1] {
			sum[i] += int32((id + t.offset) * (uint32(i) + uint32(step) + uint32(key[0])))
		}
		sum[len(sum)-1]++
	}
	return nil
}

// expected is the sum that any number of workers must give.
func expected(offset uint32, a fleet.Assignment, ids []uint32) []int32 {
	sum := make([]int32, a.Dim+1)
	if err := (&toy{offset: offset}).Accumulate(context.Background(), a.Step, a.DrawKey, ids, sum); err != nil {
		panic(err)
	}
	return sum
}

// site is a server, a fleet and its workers.
type site struct {
	t      *testing.T
	server *bus.Server
	fleet  *natsfleet.Fleet
	began  chan struct{}
}

func newSite(t *testing.T, change func(*natsfleet.Options)) *site {
	t.Helper()
	server, err := bus.Start(bus.Options{Run: "r", Listen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	o := natsfleet.Options{Server: server, Run: [16]byte{1}, Kind: kind, Job: []byte("toy job"), BeatEvery: 20 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	f, err := natsfleet.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return &site{t: t, server: server, fleet: f, began: make(chan struct{}, 100)}
}

func (s *site) credentials(name string) bus.Credentials {
	s.t.Helper()
	c, err := s.server.AddWorker(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *site) options(c worker.Connection) worker.Options {
	return worker.Options{Connection: c, Kind: kind, Speed: 5, NewTasks: newToys(s.began)}
}

// running is a worker in a goroutine.
type running struct {
	cancel context.CancelFunc
	result chan error
}

func (s *site) run(o worker.Options) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, result: make(chan error, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { r.result <- worker.Run(ctx, o) })
	s.t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

// join adds workers in this process and waits for them.
func (s *site) join(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.run(s.options(worker.InProcess(s.server, s.credentials(name))))
	}
	for range names {
		if e := next[fleet.Joined](s); e.Speed != 5 {
			s.t.Errorf("joined with a speed of %v", e.Speed)
		}
	}
}

func (s *site) event() fleet.Event {
	s.t.Helper()
	select {
	case e := <-s.fleet.Events():
		return e
	case <-time.After(10 * time.Second):
		s.t.Fatal("no event")
		return nil
	}
}

// next demands that the next event is an E.
func next[E fleet.Event](s *site) E {
	s.t.Helper()
	e := s.event()
	v, ok := e.(E)
	if !ok {
		s.t.Fatalf("got %T %v, want %T", e, e, v)
	}
	return v
}

func (s *site) quiet(d time.Duration) {
	s.t.Helper()
	select {
	case e := <-s.fleet.Events():
		s.t.Fatalf("unexpected %T %v", e, e)
	case <-time.After(d):
	}
}

var assignment = fleet.Assignment{
	Run: [16]byte{1}, Phase: "first", Step: 3, DrawKey: [32]byte{9}, State: [32]byte{77}, Dim: dim,
}

// release publishes parameters that stand for offset.
func (s *site) release(phase string, state byte, offset uint32, size int) {
	s.t.Helper()
	p := make([]byte, 4+size)
	binary.LittleEndian.PutUint32(p, offset)
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	if err := s.fleet.Release(ctx, fleet.Release{Phase: phase, Step: 1, StateHash: [32]byte{state}, Parameters: p}); err != nil {
		s.t.Fatal(err)
	}
}

// awaitSlow waits until a worker computes a slow id.
func (s *site) awaitSlow() {
	s.t.Helper()
	select {
	case <-s.began:
	case <-time.After(10 * time.Second):
		s.t.Fatal("the slow share was never begun")
	}
}

func (s *site) start(gen uint64, a fleet.Assignment, shares map[string][]uint32) {
	s.t.Helper()
	if err := s.fleet.Start(s.t.Context(), gen, a, shares); err != nil {
		s.t.Fatal(err)
	}
}

// deal splits ids among names like cards.
func deal(ids []uint32, names ...string) map[string][]uint32 {
	shares := map[string][]uint32{}
	for _, n := range names {
		shares[n] = []uint32{}
	}
	for i, id := range ids {
		n := names[i%len(names)]
		shares[n] = append(shares[n], id)
	}
	return shares
}

func (s *site) sum(gen uint64, want []int32) {
	s.t.Helper()
	got := next[fleet.Sum](s)
	if got.Generation != gen || !slices.Equal(got.Values, want) {
		s.t.Errorf("the sum of generation %d, awaited %d, has %d values and is right: %v",
			got.Generation, gen, len(got.Values), slices.Equal(got.Values, want))
	}
}

var ids = []uint32{2, 3, 5, 7, 11, 13, 17}

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
	if e.Worker != "b" || !strings.HasPrefix(e.Reason, "the task panicked (runtime.boundsError) at natsfleet_test.go:") || strings.Contains(e.Reason, "3000") {
		t.Errorf("got %+v", e)
	}
	s.start(3, assignment, deal(ids, "a", "b")) // both are alive
	s.sum(3, expected(4, assignment, ids))
}

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

func idle([]byte) (map[string]worker.Task, error) {
	let := make(chan struct{})
	close(let)
	return map[string]worker.Task{"first": lame{let}}, nil
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

// process starts a worker of this name in a process of its own.
func (s *site) process(name string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFlag+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := s.credentials(name).Write(stdin); err != nil {
		s.t.Fatal(err)
	}
	if c, ok := stdin.(io.Closer); ok {
		_ = c.Close()
	}
	return cmd
}
