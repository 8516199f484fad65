package ringallreduce

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/dploda/dploda/internal/wire"
)

// maxEarly bounds what is kept of generations that this rank has not begun.
const maxEarly = 512 << 20

// Mailbox receives a worker's chunks over NATS from before its first ring, so
// that a neighbour that begins a generation earlier loses nothing. It serves one
// ring at a time.
type Mailbox struct {
	conn     *nats.Conn
	sub      *nats.Subscription
	subjects wire.Subjects
	worker   string
	early    []*nats.Msg // of generations above the current one
	bytes    int         // of early
}

// NewMailbox subscribes to the worker's chunks.
func NewMailbox(conn *nats.Conn, subjects wire.Subjects, worker string) (*Mailbox, error) {
	sub, err := conn.SubscribeSync(subjects.RingTo(worker))
	if err == nil {
		// The ring bounds what is in flight; a limit here could only lose chunks.
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	return &Mailbox{conn: conn, sub: sub, subjects: subjects, worker: worker}, nil
}

// Link opens one generation between the worker's neighbours previous and next.
// Chunks of lower generations are dropped from now on.
func (m *Mailbox) Link(previous, next string, generation uint64, attempt uint32) Link {
	return &natsLink{
		mailbox: m, generation: generation, attempt: attempt,
		from: m.subjects.Ring(previous, m.worker, generation, attempt),
		to:   m.subjects.Ring(m.worker, next, generation, attempt),
	}
}

type natsLink struct {
	mailbox    *Mailbox
	generation uint64
	attempt    uint32
	from, to   string // subjects
}

func (l *natsLink) Send(b []byte) error {
	if err := l.mailbox.conn.Publish(l.to, b); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	return nil
}

func (l *natsLink) Receive(ctx context.Context) ([]byte, error) {
	if b := l.mailbox.takeEarly(l); b != nil {
		return b, nil
	}
	for {
		msg, err := l.mailbox.sub.NextMsgWithContext(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("ring: %w", err)
		}
		if msg.Subject == l.from {
			return msg.Data, nil
		}
		if l.before(msg.Subject) && l.mailbox.bytes+len(msg.Data) <= maxEarly {
			l.mailbox.early = append(l.mailbox.early, msg)
			l.mailbox.bytes += len(msg.Data)
			continue
		}
		clear(msg.Data)
	}
}

// takeEarly returns a chunk of l's generation that came before it began, and
// drops those of older ones.
func (m *Mailbox) takeEarly(l *natsLink) []byte {
	for i := 0; i < len(m.early); {
		msg := m.early[i]
		mine, later := msg.Subject == l.from, l.before(msg.Subject)
		if later {
			i++
			continue
		}
		m.early = append(m.early[:i], m.early[i+1:]...)
		m.bytes -= len(msg.Data)
		if mine {
			return msg.Data
		}
		clear(msg.Data)
	}
	return nil
}

// before reports whether l's generation and attempt come before a subject's.
func (l *natsLink) before(subject string) bool {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 2 {
		return false
	}
	generation, err1 := strconv.ParseUint(tokens[len(tokens)-2], 10, 64)
	attempt, err2 := strconv.ParseUint(tokens[len(tokens)-1], 10, 32)
	if err1 != nil || err2 != nil {
		return false
	}
	return generation > l.generation || generation == l.generation && uint32(attempt) > l.attempt
}
