package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dploda/dploda/internal/bus"
	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/ringallreduce"
)

// inboxSize is far above the credit window and what a coordinator sends at
// once; an overflow closes the connection.
const inboxSize = 1024

// session is one membership of a worker, from Hello to its end.
type session struct {
	o        Options
	subjects wire.Subjects
	name, id string

	data, beat *bus.Conn // heartbeats have their own: they must not queue behind chunks
	inbox      chan *nats.Msg
	mailbox    *ringallreduce.Mailbox
	beats      sync.WaitGroup

	job wire.Job
	executor
	receiver
}

func (s *session) connect() (err error) {
	if s.data, err = s.o.Connection.dial("data " + s.id); err != nil {
		return err
	}
	if s.beat, err = s.o.Connection.dial("beat " + s.id); err != nil {
		return err
	}
	s.inbox = make(chan *nats.Msg, inboxSize)
	for _, subject := range []string{s.subjects.Down(s.name, s.id), s.subjects.All()} {
		if _, err := s.data.ChanSubscribe(subject, s.inbox); err != nil {
			return fmt.Errorf("message bus: %w", err)
		}
	}
	if s.mailbox, err = ringallreduce.NewMailbox(s.data.Conn, s.subjects, s.name); err != nil {
		return err
	}
	return s.data.FlushTimeout(s.o.JoinTimeout)
}

// close ends the session: nothing of it runs afterwards.
func (s *session) close() {
	s.executor.stop()
	for _, c := range []*bus.Conn{s.data, s.beat} {
		if c != nil {
			c.Close()
			<-c.Closed()
		}
	}
	s.beats.Wait()
}

func (s *session) send(m wire.Message) error {
	b, err := wire.Encode(m)
	if err != nil {
		return err
	}
	if err := s.data.Publish(s.subjects.Up(s.name, s.id), b); err != nil {
		return s.data.Cause()
	}
	return nil
}

// leave tells the coordinator, as far as that is still possible.
func (s *session) leave(reason string) {
	if s.send(&wire.Leave{Reason: reason}) == nil {
		_ = s.data.FlushTimeout(leaveWithin)
	}
}

// join says Hello until the coordinator answers with the job.
func (s *session) join(ctx context.Context) error {
	again := time.NewTicker(helloEvery)
	defer again.Stop()
	late := time.NewTimer(s.o.JoinTimeout)
	defer late.Stop()
	why := errors.New("no coordinator answered; is it running?")
	for {
		if err := s.send(&wire.Hello{Kind: s.o.Kind}); err != nil {
			return err
		}
		for hear := true; hear; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.data.Closed():
				return s.data.Cause()
			case <-late.C:
				return why
			case <-again.C:
				hear = false
			case m := <-s.inbox:
				msg, err := wire.Decode(m.Data)
				if errors.Is(err, wire.ErrVersion) {
					return err
				}
				switch msg := msg.(type) {
				case *wire.Job:
					s.job = *msg
					s.startBeating()
					s.enqueue(s.prepare())
					return nil
				case *wire.Refuse:
					if why = errors.New(msg.Reason); !msg.Rejoin {
						return why
					}
				case *wire.End:
					return errEnd
				}
			}
		}
	}
}

func (s *session) startBeating() {
	s.beats.Go(func() {
		tick := time.NewTicker(time.Duration(s.job.BeatEvery) * time.Millisecond)
		defer tick.Stop()
		for n := uint64(1); ; n++ {
			b, err := wire.Encode(&wire.Heartbeat{Count: n})
			if err != nil || s.beat.Publish(s.subjects.Beat(s.name, s.id), b) != nil {
				return // serve sees the connection close
			}
			select {
			case <-tick.C:
			case <-s.beat.Closed():
				return
			}
		}
	})
}

// serve is the one goroutine that owns the session's state.
func (s *session) serve(ctx context.Context) error {
	for {
		s.executor.next()
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.data.Closed():
			return s.data.Cause()
		case <-s.beat.Closed():
			return s.beat.Cause()
		case done := <-s.executor.done:
			err = s.executor.finish(done)
		case m := <-s.inbox:
			err = s.handle(m)
		}
		if err != nil {
			return err
		}
	}
}

// handle takes one message of the coordinator. Garbage is ignored: only the
// coordinator can publish here, so it is damage, and what was lost is missed by
// a deadline.
func (s *session) handle(m *nats.Msg) error {
	msg, err := wire.Decode(m.Data)
	if err != nil {
		s.o.Logger.Warn("worker ignores a message", "worker", s.name, "cause", err)
		return nil
	}
	switch msg := msg.(type) {
	case *wire.Part:
		return s.receive(msg)
	case *wire.Assign:
		s.assign(msg)
		clear(m.Data) // ids and draw key
	case *wire.Abort:
		s.executor.abort(msg.Term, msg.Generation)
	case *wire.Refuse:
		if msg.Rejoin {
			return errRejoin
		}
		return errors.New(msg.Reason)
	case *wire.End:
		return errEnd
	}
	return nil
}
