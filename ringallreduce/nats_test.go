package ringallreduce_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/ringallreduce"
)

// member is one worker of a ring over NATS.
type member struct {
	name    string
	conn    *bus.Conn
	mailbox *ringallreduce.Mailbox
}

func members(t testing.TB, n int, tcp bool) []member {
	t.Helper()
	server, err := bus.Start(bus.Options{Run: "ring", Listen: tcp})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	var ms []member
	for i := range n {
		name := fmt.Sprintf("w%d", i)
		creds, err := server.AddWorker(name)
		if err != nil {
			t.Fatal(err)
		}
		dial := server.InProcess(creds)
		if tcp {
			dial = creds.Dial
		}
		conn, err := dial("data")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		mailbox, err := ringallreduce.NewMailbox(conn.Conn, wire.Subjects{Run: "ring"}, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		ms = append(ms, member{name, conn, mailbox})
	}
	return ms
}

// run takes part in one generation as rank r of ms.
func run(ctx context.Context, ms []member, r int, c ringallreduce.Config, v []int32) error {
	n := len(ms)
	c.Rank, c.Ranks = r, n
	link := ms[r].mailbox.Link(ms[(r+n-1)%n].name, ms[(r+1)%n].name, c.Generation, c.Attempt)
	return ringallreduce.Run(ctx, link, c, v, nil)
}

func all(ctx context.Context, ms []member, c ringallreduce.Config, vectors [][]int32) error {
	eg, ctx := errgroup.WithContext(ctx)
	for r := range ms {
		eg.Go(func() error { return run(ctx, ms, r, c, vectors[r]) })
	}
	return eg.Wait()
}

func ones(ranks, n int) [][]int32 {
	v := make([][]int32, ranks)
	for r := range v {
		v[r] = slices.Repeat([]int32{1 << r}, n)
	}
	return v
}

func TestRingOverNATS(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		ms := members(t, 3, tcp)
		for generation := range uint64(3) { // mailboxes serve many generations
			v := ones(3, 1_000_003)
			if err := all(t.Context(), ms, ringallreduce.Config{Operation: ringallreduce.AllReduce, Generation: generation}, v); err != nil {
				t.Fatal(err)
			}
			for r := range v {
				if slices.ContainsFunc(v[r], func(x int32) bool { return x != 7 }) {
					t.Errorf("rank %d has a wrong sum", r)
				}
			}
		}
	}
}

// TestANeighbourMayBeginEarlier: chunks of a generation that this rank has not
// begun wait for it; those of one that was given up are dropped.
func TestANeighbourMayBeginEarlier(t *testing.T) {
	ms := members(t, 2, false)
	patient, giveUp := context.WithTimeout(t.Context(), 20*time.Second)
	defer giveUp()
	const n = 1_000_003
	abandoned, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c := ringallreduce.Config{Operation: ringallreduce.AllReduce, Generation: 1}
	if err := run(abandoned, ms, 0, c, ones(1, n)[0]); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a ring of one present rank ended with %v", err)
	}

	v := ones(2, n)
	early := make(chan error, 1)
	c.Generation = 3
	go func() { early <- run(patient, ms, 0, c, v[0]) }()
	time.Sleep(50 * time.Millisecond)

	// Rank 1 is still in generation 2, where it meets chunks of 1 and 3.
	c.Generation = 2
	lagging, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := run(lagging, ms, 1, c, ones(1, n)[0]); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("generation 2 ended with %v", err)
	}
	c.Generation = 3
	if err := run(patient, ms, 1, c, v[1]); err != nil {
		t.Fatal(err)
	}
	if err := <-early; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(v[0], v[1]) || v[0][0] != 3 || v[0][n-1] != 3 {
		t.Error("the sum is wrong")
	}
}

func TestALostConnectionEndsTheRing(t *testing.T) {
	ms := members(t, 2, true)
	done := make(chan error, 1)
	go func() {
		done <- run(t.Context(), ms, 0, ringallreduce.Config{Operation: ringallreduce.AllReduce}, ones(1, 1000)[0])
	}()
	time.Sleep(20 * time.Millisecond)
	ms[0].conn.Close()
	select {
	case err := <-done:
		if err == nil {
			t.Error("the ring ended well without its neighbour")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the ring outlived its connection")
	}
}

// BenchmarkReduceScatter reports a reduce-scatter among goroutines over NATS,
// beside one copy of the same bytes.
func BenchmarkReduceScatter(b *testing.B) {
	for _, tcp := range []bool{false, true} {
		for _, ranks := range []int{2, 3} {
			for _, mb := range []int{2, 20} {
				name := fmt.Sprintf("tcp=%v/ranks=%d/%dMB", tcp, ranks, mb)
				b.Run(name, func(b *testing.B) {
					ms, v := members(b, ranks, tcp), ones(ranks, mb<<18)
					b.SetBytes(int64(mb << 20))
					generation := uint64(0)
					for b.Loop() {
						generation++
						c := ringallreduce.Config{Operation: ringallreduce.ReduceScatter, Generation: generation}
						if err := all(b.Context(), ms, c, v); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
	for _, mb := range []int{2, 20} {
		b.Run(fmt.Sprintf("copy/%dMB", mb), func(b *testing.B) {
			src, dst := make([]int32, mb<<18), make([]int32, mb<<18)
			b.SetBytes(int64(mb << 20))
			for b.Loop() {
				copy(dst, src)
			}
		})
	}
}
