package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/ringallreduce"
)

// prepare loads the tasks of the job.
func (s *session) prepare() *item {
	var tasks map[string]Task
	return &item{
		do: func(context.Context) (err error) {
			tasks, err = s.o.NewTasks(s.job.Body)
			return err
		},
		then: func(err error) error {
			if err != nil {
				return taskError{fmt.Errorf("the tasks could not be prepared: %w", err)}
			}
			s.tasks = tasks
			s.ready = true
			return s.send(&wire.Ready{Speed: s.o.Speed})
		},
	}
}

// receiver assembles releases and holds what the newest one left.
type receiver struct {
	tasks map[string]Task
	ready bool // tasks are loaded

	part     wire.Part // of the release under way: everything but the data
	received []byte    // the data so far
	have     uint64    // bytes so far; received is given away when they are all

	state [32]byte // of the parameters in use
	phase string   // they belong to
	sum   []int32  // kept between steps, zero between them
}

// receive takes one part of a release. Every part is answered with the credit
// for all that came without a gap.
func (s *session) receive(p *wire.Part) error {
	if !s.ready || p.Term < s.executor.term || p.Term == s.part.Term && p.Sequence < s.part.Sequence || p.Term < s.part.Term {
		return nil
	}
	if newer := p.Term > s.part.Term || p.Sequence > s.part.Sequence; newer {
		s.part = *p
		s.part.Data = nil
		s.received, s.have = nil, 0
	}
	if p.Offset != s.have || p.Total != s.part.Total {
		return s.acknowledge()
	}
	s.received = append(s.received, p.Data...)
	s.have += uint64(len(p.Data))
	if s.have == s.part.Total {
		s.enqueue(s.load(s.part, s.received))
		s.received = nil
		s.part.Total = complete
	}
	return s.acknowledge()
}

// complete is no release's length: further parts of this one change nothing.
const complete = math.MaxUint64

func (s *session) acknowledge() error {
	return s.send(&wire.Ack{Sequence: s.part.Sequence, Bytes: s.have})
}

// load puts parameters to use.
func (s *session) load(p wire.Part, parameters []byte) *item {
	return &item{
		do: func(context.Context) error {
			if sha256.Sum256(parameters) != p.Digest {
				return errors.New("the parameters were damaged on their way")
			}
			task := s.tasks[p.Phase]
			if task == nil {
				return fmt.Errorf("the job has no task for phase %s", p.Phase)
			}
			return task.SetParameters(parameters)
		},
		then: func(err error) error {
			if err != nil {
				return taskError{fmt.Errorf("the parameters of step %d of %s could not be loaded: %w", p.Step, p.Phase, err)}
			}
			s.state, s.phase = p.State, p.Phase
			return s.send(&wire.Ack{Sequence: p.Sequence, Bytes: p.Total, Loaded: true})
		},
	}
}

// assign queues a share unless its generation is of the past.
func (s *session) assign(a *wire.Assign) {
	if !s.executor.admit(a.Term, a.Generation) {
		return
	}
	var ctx context.Context
	s.enqueue(&item{
		share: true, term: a.Term, generation: a.Generation,
		do: func(c context.Context) error {
			ctx = c
			defer clear(a.IDs)
			return s.compute(c, a)
		},
		then: func(err error) error {
			if err == nil || ctx.Err() != nil { // aborted: nobody waits for it
				return nil
			}
			return s.send(&wire.Failed{Generation: a.Generation, Reason: err.Error()})
		},
	})
}

// compute sums the contributions of a share and reduces the sum with the other
// ranks; finished chunks go to the coordinator while the rest is under way.
func (s *session) compute(ctx context.Context, a *wire.Assign) error {
	task := s.tasks[a.Phase]
	switch {
	case a.Run != s.job.Run:
		return errors.New("the assignment is of another run")
	case a.Ring[a.Rank] != s.name:
		return fmt.Errorf("the assignment is for worker %s", a.Ring[a.Rank])
	case task == nil:
		return fmt.Errorf("the job has no task for phase %s", a.Phase)
	case a.State != s.state || a.Phase != s.phase:
		return errors.New("the assignment starts from parameters that this worker has not loaded")
	}
	sum := s.zeroes(int(a.Dim) + 1)
	defer clear(sum)
	if err := task.Accumulate(ctx, a.Step, a.DrawKey, a.IDs, sum); err != nil {
		return err
	}
	return s.reduce(ctx, a, sum)
}

func (s *session) reduce(ctx context.Context, a *wire.Assign, sum []int32) error {
	ranks, rank := len(a.Ring), int(a.Rank)
	link := s.mailbox.Link(a.Ring[(rank+ranks-1)%ranks], a.Ring[(rank+1)%ranks], a.Generation, a.Attempt)
	c := ringallreduce.Config{
		Operation: ringallreduce.ReduceScatter, Rank: rank, Ranks: ranks,
		Generation: a.Generation, Step: a.Step, Attempt: a.Attempt,
	}
	shard := s.subjects.Shard(s.name, a.Generation, a.Attempt)
	buffer := make([]byte, wire.HeaderSize+wire.ChunkSize)
	defer clear(buffer)
	return ringallreduce.Run(ctx, link, c, sum, func(h wire.Chunk, numbers []int32) error {
		return s.data.Publish(shard, ringallreduce.EncodeChunk(buffer, h, numbers))
	})
}

// zeroes returns the session's vector at this length, all zero.
func (s *session) zeroes(n int) []int32 {
	if cap(s.sum) < n {
		s.sum = make([]int32, n)
	}
	s.sum = s.sum[:n]
	return s.sum
}
