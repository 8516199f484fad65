// Package batch runs an executable over any number of examples on several
// goroutines, in groups of a device's lanes, so that the result has the same
// bits for any number of goroutines.
package batch

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/dploda/dploda/internal/device"
)

// maxShards is the number of partial sums that a gradient is split into, and
// so the number of goroutines that can share a batch. It is fixed, because the
// order of float additions depends on it.
const maxShards = 8

// Load sets all inputs of a lane for example i of the batch. It is called from
// several goroutines at once.
type Load func(s device.Stream, lane, i int) error

// Idle makes a lane without an example contribute nothing, by a weight of 0.
type Idle func(s device.Stream, lane int) error

// Read takes what it needs of example i's outputs after its run. It is called
// from several goroutines at once.
type Read func(s device.Stream, lane, i int) error

// Runner holds the streams of an executable. One call at a time.
type Runner struct {
	lanes   int
	streams []device.Stream
	partial [maxShards][]float32
	sums    map[device.Stream]*integers // of AccumulateIntegers, kept between calls
}

// New returns a runner of up to threads goroutines on a device of so many lanes.
func New(exe device.Executable, lanes, threads int) (*Runner, error) {
	if lanes < 1 || threads < 1 {
		return nil, fmt.Errorf("a batch needs at least one lane and one thread, not %d and %d", lanes, threads)
	}
	r := &Runner{lanes: lanes}
	for range threads {
		s, err := exe.NewStream()
		if err != nil {
			return nil, err
		}
		r.streams = append(r.streams, s)
	}
	return r, nil
}

// Forward runs n examples and reads the outputs of each.
func (r *Runner) Forward(ctx context.Context, n int, load Load, read Read) error {
	return r.each(ctx, r.groups(n), func(s device.Stream, group int) error {
		first, last := r.span(group, n)
		for i := first; i < last; i++ {
			if err := load(s, i-first, i); err != nil {
				return err
			}
		}
		if err := s.Run(); err != nil {
			return err
		}
		return readAll(s, first, last, read)
	})
}

// Gradient runs n examples of a list in mode device.Summed and sets dst to the
// sum of their gradients. read may be nil.
func (r *Runner) Gradient(ctx context.Context, dst []float32, n int, load Load, idle Idle, read Read) error {
	groups := r.groups(n)
	shards := min(groups, maxShards)
	err := r.each(ctx, shards, func(s device.Stream, shard int) error {
		s.ZeroGradient()
		for group := shard; group < groups; group += shards {
			if err := r.accumulate(ctx, s, group, n, load, idle, read); err != nil {
				return err
			}
		}
		if len(r.partial[shard]) != len(dst) {
			r.partial[shard] = make([]float32, len(dst))
		}
		clear(r.partial[shard])
		return s.AddGradient(r.partial[shard])
	})
	clear(dst)
	if err != nil {
		return err
	}
	for _, p := range r.partial[:shards] {
		for i, v := range p {
			dst[i] += v
		}
	}
	return nil
}

// accumulate adds one group's gradient to its stream's.
func (r *Runner) accumulate(ctx context.Context, s device.Stream, group, n int, load Load, idle Idle, read Read) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	first, last := r.span(group, n)
	for lane := range r.lanes {
		var err error
		if i := first + lane; i < last {
			err = load(s, lane, i)
		} else {
			err = idle(s, lane)
		}
		if err != nil {
			return err
		}
	}
	if err := s.Run(); err != nil {
		return err
	}
	if read == nil {
		return nil
	}
	return readAll(s, first, last, read)
}

func readAll(s device.Stream, first, last int, read Read) error {
	for i := first; i < last; i++ {
		if err := read(s, i-first, i); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) groups(n int) int { return (n + r.lanes - 1) / r.lanes }

// span is the examples [first, last) of a group.
func (r *Runner) span(group, n int) (first, last int) {
	return group * r.lanes, min((group+1)*r.lanes, n)
}

// each calls work for the items 0..n-1, each goroutine with its own stream.
func (r *Runner) each(ctx context.Context, n int, work func(s device.Stream, item int) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range r.streams[:min(len(r.streams), n)] {
		g.Go(func() error {
			for {
				item := int(next.Add(1)) - 1
				if item >= n {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := work(s, item); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}
