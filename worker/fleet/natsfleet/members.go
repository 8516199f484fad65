package natsfleet

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/worker/fleet"
)

// member is one session of a worker, from its Hello on.
type member struct {
	name, session string
	speed         float64 // 0 until its tasks are loaded
	joined        bool    // Joined was sent
	heard         time.Time

	transfer *transfer // under way to it, or nil
	acked    uint64    // bytes of it
	progress time.Time // of it
}

// ready reports whether the member may be given work.
func (m *member) ready() bool { return m.joined && m.transfer == nil }

// hear takes a worker's control message.
func (f *Fleet) hear(msg *nats.Msg) {
	name, session, ok := f.subjects.Sender(msg.Subject)
	if !ok {
		return
	}
	m, err := wire.Decode(msg.Data)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if err != nil {
		f.o.Logger.Warn("a worker's message is ignored", "worker", name, "cause", err)
		if errors.Is(err, wire.ErrVersion) {
			f.refuse(name, session, false, err.Error())
		}
		return
	}
	if hello, ok := m.(*wire.Hello); ok {
		f.hello(name, session, hello)
		return
	}
	member := f.members[name]
	if member == nil || member.session != session {
		return // of a session that is over
	}
	member.heard = time.Now()
	switch m := m.(type) {
	case *wire.Ready:
		f.loadedTasks(member, m)
	case *wire.Ack:
		f.acknowledged(member, m)
	case *wire.Failed:
		f.failed(member, m)
	case *wire.Leave:
		f.drop(member, "it left: "+m.Reason)
	}
}

func (f *Fleet) hello(name, session string, h *wire.Hello) {
	present := f.members[name]
	switch {
	case h.Kind != f.o.Kind:
		f.refuse(name, session, false, fmt.Sprintf("this run computes on %s, the worker on %s", f.o.Kind, h.Kind))
		return
	case present != nil && present.session != session:
		// It may be the successor of one whose death is noticed in a moment.
		f.refuse(name, session, true, fmt.Sprintf("a worker named %s is already part of the run", name))
		return
	case present == nil:
		f.members[name] = &member{name: name, session: session, heard: time.Now()}
	}
	// A repeated Hello means that the answer has not arrived.
	f.publish(f.subjects.Down(name, session), &wire.Job{
		Run: f.o.Run, BeatEvery: uint32(f.o.BeatEvery.Milliseconds()), Body: f.o.Job,
	})
}

func (f *Fleet) refuse(name, session string, rejoin bool, reason string) {
	f.publish(f.subjects.Down(name, session), &wire.Refuse{Rejoin: rejoin, Reason: reason})
}

func (f *Fleet) loadedTasks(m *member, r *wire.Ready) {
	if m.speed != 0 {
		return
	}
	m.speed = r.Speed
	if f.newest != nil {
		f.transferTo(f.subjects.Down(m.name, m.session), m)
		return
	}
	f.join(m)
}

// join announces a member that has all it needs.
func (f *Fleet) join(m *member) {
	m.joined = true
	f.o.Logger.Info("worker joined", "worker", m.name)
	f.events.put(fleet.Joined{Worker: m.name, Speed: m.speed})
}

// drop removes a member, and tells it so in case it is still there.
func (f *Fleet) drop(m *member, cause string) {
	if f.members[m.name] != m {
		return
	}
	delete(f.members, m.name)
	f.leaveTransfer(m)
	f.refuse(m.name, m.session, true, "the coordinator had given this worker up: "+cause)
	f.o.Logger.Warn("worker lost", "worker", m.name, "cause", cause)
	if f.step != nil && slices.Contains(f.step.ring, m.name) {
		f.abandon()
	}
	if m.joined {
		f.events.put(fleet.Lost{Worker: m.name, Cause: cause})
	}
}

func (f *Fleet) failed(m *member, r *wire.Failed) {
	f.o.Logger.Warn("worker failed", "worker", m.name, "generation", r.Generation, "reason", r.Reason)
	if f.step != nil && f.step.generation == r.Generation && slices.Contains(f.step.ring, m.name) {
		f.abandon()
		f.events.put(fleet.Failed{Worker: m.name, Generation: r.Generation, Reason: r.Reason})
	}
}

func (f *Fleet) hearBeat(msg *nats.Msg) {
	name, session, ok := f.subjects.Sender(msg.Subject)
	if !ok {
		return
	}
	if _, err := wire.Decode(msg.Data); err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch m := f.members[name]; {
	case f.closed:
	case m != nil && m.session == session:
		m.heard = time.Now()
	default: // a revived worker: it must learn that its session is over
		f.refuse(name, session, true, "the coordinator had given this worker up")
	}
}

func (f *Fleet) hearDisconnect(d bus.Disconnect) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[d.Worker]; !f.closed && m != nil && d.Name == "data "+m.session {
		f.drop(m, "its connection closed")
	}
}

// tick watches every deadline.
func (f *Fleet) tick() {
	every := time.NewTicker(f.o.BeatEvery)
	defer every.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-every.C:
			f.mu.Lock()
			f.watchMembers(time.Now())
			f.watchStep(time.Now())
			f.mu.Unlock()
		}
	}
}

func (f *Fleet) watchMembers(now time.Time) {
	// A coordinator that was itself stopped or starved has read no heartbeats
	// and must not blame the workers.
	asleep := now.Sub(f.beat) > f.o.BeatLimit/2
	f.beat = now
	for _, m := range f.members {
		switch {
		case asleep:
			m.heard, m.progress = now, now
		case now.Sub(m.heard) > f.o.BeatLimit:
			f.drop(m, fmt.Sprintf("no heartbeat for %v", f.o.BeatLimit))
		case m.transfer != nil && now.Sub(m.progress) > f.o.StallTimeout:
			f.drop(m, fmt.Sprintf("it did not load the parameters within %v", f.o.StallTimeout))
		}
	}
}
