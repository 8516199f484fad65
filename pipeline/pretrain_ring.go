package pipeline

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/floatbits"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
)

// phasePretrain names the workers' task.
const phasePretrain = "pretrain"

// mostFailures is how often the workers may say that they cannot compute a step
// before the training stops.
const mostFailures = 3

// pretrainRing shares the steps of a pre-training out: each worker sums the
// gradients of some groups of the batch, the ring adds the sums, and the new
// weights go back to all. A step whose worker is lost is done again by those
// that are left, with the same outcome. It is the workers' side of a private
// run without what makes it private: no ledger, no sampling, no noise.
type pretrainRing struct {
	*pretrainer
	crew       *crew
	obs        Observer
	run        [16]byte
	generation uint64
}

// startRing starts the workers of a pre-training; broken is called if none is
// left. The caller closes the crew.
func startRing(ctx context.Context, p *pretrainer, spec *config.PretrainSpec, opts PretrainOptions, obs Observer, broken context.CancelCauseFunc) (*pretrainRing, error) {
	content, err := pretrainJob(p, spec, opts)
	if err != nil {
		return nil, err
	}
	r := &pretrainRing{pretrainer: p, obs: obs}
	rand.Read(r.run[:])
	log := slog.New(slog.DiscardHandler)
	r.crew, err = startCrew(ctx, crewOptions{
		run: r.run, kind: p.dev.Kind(), job: content, count: opts.Workers, need: 1, processes: opts.Processes, log: log,
		goroutine: func(ctx context.Context, c *crew, credentials bus.Credentials) error {
			return worker.Run(ctx, worker.Options{
				Connection: worker.InProcess(c.server, credentials), Kind: p.dev.Kind(), Logger: log,
				NewTasks: func([]byte) (map[string]worker.Task, error) { return pretrainTasks(spec, p.data, ringThreads(opts)) },
			})
		},
	}, broken)
	return r, err
}

// ringThreads divides the threads among the workers.
func ringThreads(opts PretrainOptions) int { return max(1, opts.Threads/max(1, opts.Workers)) }

// pretrainJob is what the workers' processes are told.
func pretrainJob(p *pretrainer, spec *config.PretrainSpec, opts PretrainOptions) ([]byte, error) {
	j := job{Config: string(spec.Resolved()), Pretrain: true, Threads: ringThreads(opts), DataKey: make([]byte, 32)}
	if !spec.Data.Drawn() {
		var err error
		if j.Data, err = dataFolder(spec.Data, opts.Data); err != nil {
			return nil, err
		}
	}
	print := dataset.Fingerprint(j.DataKey, p.data, dataset.EachImage(p.data.Len()))
	j.Fingerprint = print[:]
	return json.Marshal(j)
}

// newPretrainTasks makes a worker process's task from a job.
func newPretrainTasks(j job) (map[string]worker.Task, error) {
	spec, err := config.ParsePretrain("the job's config", []byte(j.Config), nil)
	if err != nil {
		return nil, err
	}
	data, err := openPublic(spec, j.Data)
	if err != nil {
		return nil, err
	}
	if got := dataset.Fingerprint(j.DataKey, data, dataset.EachImage(data.Len())); string(got[:]) != string(j.Fingerprint) {
		return nil, errors.New("this worker's images are not those that the training began with")
	}
	return pretrainTasks(spec, data, j.Threads)
}

func pretrainTasks(spec *config.PretrainSpec, data dataset.Dataset, threads int) (map[string]worker.Task, error) {
	p, err := newPretrainer(spec, data)
	if err != nil {
		return nil, err
	}
	return map[string]worker.Task{phasePretrain: &pretrainTask{p}}, p.compile(NewDevice(), threads)
}

// pretrainTask is a worker's part of the steps. Its ids are groups of the
// batch.
type pretrainTask struct{ *pretrainer }

// SetParameters implements worker.Task.
func (t *pretrainTask) SetParameters(state []byte) error {
	if len(state) < 8 {
		return fmt.Errorf("parameters of %d bytes", len(state))
	}
	if err := floatbits.Read(t.weights, state[8:]); err != nil {
		return err
	}
	t.exponent = int(int64(binary.LittleEndian.Uint64(state)))
	return t.executable.SetTrainable(t.weights)
}

// Accumulate implements worker.Task.
func (t *pretrainTask) Accumulate(ctx context.Context, step uint64, _ [32]byte, groups []uint32, sum []int32) error {
	dim := len(t.weights)
	if len(sum) != dim+1 {
		return fmt.Errorf("a sum of %d coordinates for %d weights", len(sum), dim)
	}
	if err := t.accumulate(ctx, int(step), groups, sum[:dim]); err != nil {
		return err
	}
	sum[dim] += int32(len(groups))
	return nil
}

// parameters are what a step starts from.
func (p *pretrainer) parameters() []byte {
	return floatbits.Append(binary.LittleEndian.AppendUint64(nil, uint64(p.exponent)), p.weights)
}

// differentiate takes the place of the pretrainer's own: it lets the workers
// compute the sum.
func (r *pretrainRing) differentiate(ctx context.Context, i int) error {
	parameters := r.parameters()
	release := fleet.Release{Phase: phasePretrain, Step: uint64(i), StateHash: sha256.Sum256(parameters), Parameters: parameters}
	if err := r.crew.fleet.Release(ctx, release); err != nil {
		return err
	}
	failures := 0
	for attempt := uint32(0); ; attempt++ {
		values, reason, err := r.attempt(ctx, release, attempt)
		switch {
		case err != nil:
			return err
		case values != nil:
			if got := values[len(values)-1]; int(got) != r.groups() {
				return fmt.Errorf("the workers' sum holds %d of %d parts of step %d", got, r.groups(), i)
			}
			copy(r.sum, values)
			return nil
		case reason != "":
			if failures++; failures == mostFailures {
				return fmt.Errorf("the workers cannot compute step %d: %s", i, reason)
			}
		}
	}
}

// attempt gives a step to the workers that are there. It returns the sum; or
// why a worker could not compute; or nothing of both where one was lost and the
// step is to be done again.
func (r *pretrainRing) attempt(ctx context.Context, release fleet.Release, attempt uint32) (sum []int32, reason string, err error) {
	workers, err := r.ready(ctx)
	if err != nil {
		return nil, "", err
	}
	shares := map[string][]uint32{}
	for k, name := range workers {
		shares[name] = nil
		for g := k * r.groups() / len(workers); g < (k+1)*r.groups()/len(workers); g++ {
			shares[name] = append(shares[name], uint32(g))
		}
	}
	r.generation++
	assignment := fleet.Assignment{
		Run: r.run, Phase: release.Phase, Step: release.Step, Attempt: attempt, State: release.StateHash, Dim: len(r.weights),
	}
	if err := r.crew.fleet.Start(ctx, r.generation, assignment, shares); err != nil {
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		return nil, err.Error(), nil // a worker left in the meantime
	}
	for {
		event, err := r.next(ctx)
		if err != nil {
			r.crew.fleet.Abort(r.generation)
			return nil, "", err
		}
		switch e := event.(type) {
		case fleet.Sum:
			if e.Generation == r.generation && len(e.Values) == len(r.weights)+1 {
				return e.Values, "", nil
			}
		case fleet.Failed:
			if e.Generation == r.generation {
				return nil, e.Reason, nil
			}
		case fleet.Lost:
			if _, mine := shares[e.Worker]; mine {
				return nil, "", nil
			}
		}
	}
}

// ready waits until there are workers.
func (r *pretrainRing) ready(ctx context.Context) ([]string, error) {
	for {
		if workers := r.crew.fleet.Workers(); len(workers) > 0 {
			return workers, nil
		}
		if _, err := r.next(ctx); err != nil {
			return nil, err
		}
	}
}

// next waits for what happens to the workers, and tells of losses.
func (r *pretrainRing) next(ctx context.Context) (fleet.Event, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case event, open := <-r.crew.fleet.Events():
		if !open {
			return nil, errors.New("the message bus closed")
		}
		if lost, ok := event.(fleet.Lost); ok {
			r.obs.Note(fmt.Sprintf("%s is lost (%s); its part of the step is done by the others", lost.Worker, lost.Cause))
		}
		return event, nil
	}
}
