package coordinator

import (
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/dploda/dploda/dp/ledger"
)

// fsm is the ledger's machine under raft. Apply's result reaches only the
// proposer's own future: a replayed charge's receipt goes nowhere, and is not
// live, for nobody has claimed it in this process.
type fsm struct {
	mu      sync.Mutex
	machine ledger.Machine
}

func (f *fsm) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machine.Apply(l.Data)
}

func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return snapshot(f.machine.Events()), nil
}

func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machine.Restore(b)
}

func (f *fsm) claim(id ledger.ChargeID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machine.Claim(id)
}

func (f *fsm) head() ledger.Hash {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machine.Head()
}

func (f *fsm) view() ledger.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machine.View()
}

func (f *fsm) run(id ledger.RunID) (ledger.RunView, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machine.Run(id)
}

func (f *fsm) events() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machine.Events()
}

// snapshot is an immutable list of entries; Persist does the I/O.
type snapshot [][]byte

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(ledger.Export(s)); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (s snapshot) Release() {}
