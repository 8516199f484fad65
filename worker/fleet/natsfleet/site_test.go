package natsfleet_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dploda/dploda/internal/bus"
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
