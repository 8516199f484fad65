package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/worker"
)

// sums is the task of the noise test: contributions that anybody can compute,
// of both signs.
type sums struct {
	Dim  int    `json:"dim"`
	stay func() // called in the middle of a step, if set
}

// largest bounds the values of a contribution, so that its norm is at most
// largest·√dim.
const largest = 3

// value is coordinate j of example id's contribution.
func (s sums) value(id uint32, j int) int32 { return int32((id*5+uint32(j))%(2*largest+1)) - largest }

// SetParameters implements worker.Task.
func (s sums) SetParameters([]byte) error { return nil }

// Accumulate implements worker.Task.
func (s sums) Accumulate(ctx context.Context, _ uint64, _ [32]byte, ids []uint32, sum []int32) error {
	if len(sum) != s.Dim+1 {
		return fmt.Errorf("a sum of %d coordinates instead of %d", len(sum)-1, s.Dim)
	}
	for i, id := range ids {
		for j := range s.Dim {
			sum[j] += s.value(id, j)
		}
		sum[s.Dim]++
		if s.stay != nil && i == len(ids)/2 {
			s.stay()
			<-ctx.Done()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// exact is the sum of all examples below n.
func (s sums) exact(n int) []int32 {
	sum := make([]int32, s.Dim)
	for id := range n {
		for j := range sum {
			sum[j] += s.value(uint32(id), j)
		}
	}
	return sum
}

// ServeWorker is a worker process of the noise test: it reads its credentials
// and works until the run is over. With stay it says on said when it is in the
// middle of its first step, and waits there to be killed.
func ServeWorker(ctx context.Context, credentials io.Reader, said io.Writer, stay bool) error {
	c, err := bus.ReadCredentials(credentials)
	if err != nil {
		return err
	}
	return worker.Run(ctx, worker.Options{
		Connection: worker.Dial(c), Kind: kind,
		NewTasks: func(job []byte) (map[string]worker.Task, error) {
			var task sums
			if err := json.Unmarshal(job, &task); err != nil {
				return nil, fmt.Errorf("the job is damaged: %w", err)
			}
			if stay {
				task.stay = func() { fmt.Fprintln(said, midStep) }
			}
			return map[string]worker.Task{phaseName: task}, nil
		},
	})
}
