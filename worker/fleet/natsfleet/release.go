package natsfleet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/dploda/dploda/internal/wire"
	"github.com/dploda/dploda/worker/fleet"
)

// window is how many parts may be under way before the slowest receiver has
// acknowledged the first: 16 of 128 KiB lose nothing and cost no time, where
// without a window a third was lost.
const window = 16

// release is the newest parameters, kept for those that join later.
type release struct {
	fleet.Release
	digest [32]byte
}

// transfer sends the newest release to some members on one subject.
type transfer struct {
	subject   string
	sequence  uint64
	release   *release
	next      uint64 // offset of the next part
	whole     bool   // all parts are sent
	receivers map[*member]bool
	done      chan struct{} // closed when no receiver is left
}

// Release implements fleet.Fleet.
func (f *Fleet) Release(ctx context.Context, r fleet.Release) error {
	if !wire.ValidName(r.Phase) {
		return fmt.Errorf("fleet: %q cannot name a phase", r.Phase)
	}
	if uint64(len(r.Parameters)) > wire.MaxParameters {
		return fmt.Errorf("fleet: %d bytes of parameters, more than %d", len(r.Parameters), uint64(wire.MaxParameters))
	}
	t, err := f.broadcast(&release{Release: r, digest: sha256.Sum256(r.Parameters)})
	if err != nil {
		return err
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// broadcast starts the transfer to all that have loaded their tasks.
func (f *Fleet) broadcast(r *release) (*transfer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(); err != nil {
		return nil, err
	}
	f.newest = r
	f.sequence++
	var all []*member
	for _, m := range f.members {
		if m.speed != 0 {
			all = append(all, m)
		}
	}
	return f.transferTo(f.subjects.All(), all...), nil
}

// transferTo replaces whatever was under way to these members.
func (f *Fleet) transferTo(subject string, members ...*member) *transfer {
	t := &transfer{
		subject: subject, sequence: f.sequence, release: f.newest,
		receivers: map[*member]bool{}, done: make(chan struct{}),
	}
	for _, m := range members {
		f.leaveTransfer(m)
		t.receivers[m] = true
		m.transfer, m.acked, m.progress = t, 0, time.Now()
	}
	if len(members) == 0 {
		close(t.done)
		return t
	}
	f.pump(t)
	return t
}

// pump sends the parts for which there is credit.
func (f *Fleet) pump(t *transfer) {
	total := uint64(len(t.release.Parameters))
	credit := total
	for m := range t.receivers {
		credit = min(credit, m.acked)
	}
	for !t.whole && t.next < credit+window*wire.PartSize {
		end := min(t.next+wire.PartSize, total)
		f.publish(t.subject, &wire.Part{
			Term: f.o.Term, Sequence: t.sequence, Phase: t.release.Phase, Step: t.release.Step, State: t.release.StateHash,
			Digest: t.release.digest, Total: total, Offset: t.next, Data: t.release.Parameters[t.next:end],
		})
		t.next, t.whole = end, end == total
	}
}

// acknowledged takes credit back, or welcomes a member that has loaded all.
func (f *Fleet) acknowledged(m *member, a *wire.Ack) {
	t := m.transfer
	if t == nil || t.sequence != a.Sequence {
		return
	}
	if a.Bytes > m.acked {
		m.acked, m.progress = a.Bytes, time.Now()
	}
	if !a.Loaded {
		f.pump(t)
		return
	}
	f.leaveTransfer(m)
	if !m.joined {
		f.join(m)
	}
}

// leaveTransfer takes a member out of what is under way to it, which must not
// wait for it any longer.
func (f *Fleet) leaveTransfer(m *member) {
	t := m.transfer
	if t == nil {
		return
	}
	m.transfer = nil
	delete(t.receivers, m)
	if len(t.receivers) == 0 {
		close(t.done)
		return
	}
	f.pump(t)
}
