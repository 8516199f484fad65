package natsfleet

import (
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/worker/fleet"
)

// hearShard takes a chunk of a finished segment.
func (f *Fleet) hearShard(msg *nats.Msg) {
	defer clear(msg.Data)
	name, _, ok := f.subjects.Sender(msg.Subject)
	if !ok {
		return
	}
	header, payload, err := wire.OpenChunk(msg.Data)
	if err != nil {
		return // as good as lost: the deadline finds it
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.step == nil {
		return
	}
	rank := slices.Index(f.step.ring, name)
	if rank < 0 || !f.step.sum.Step(rank, header, payload) {
		return
	}
	f.step.begun, f.step.progress = true, time.Now()
	if f.step.sum.Done() {
		f.events.put(fleet.Sum{Generation: f.step.generation, Values: f.step.sum.Take()})
		f.step = nil
	}
}

// watchStep ends a generation that does not come to an end by itself. Its first
// number needs the whole computation of every rank; from then on the ring is
// under way and only the network can take time.
func (f *Fleet) watchStep(now time.Time) {
	if f.step == nil {
		return
	}
	limit, what := f.o.StepTimeout, "nothing of its sum"
	if f.step.begun {
		limit, what = f.o.StallTimeout, "no more of its sum"
	}
	if now.Sub(f.step.progress) <= limit {
		return
	}
	s := f.step
	for rank, name := range s.ring {
		if s.sum.Missing(rank) {
			f.events.put(fleet.Failed{Worker: name, Generation: s.generation, Reason: fmt.Sprintf("%s arrived within %v", what, limit)})
		}
	}
	f.abandon()
}
