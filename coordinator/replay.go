package coordinator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/dploda/dploda/dp/ledger"
)

// ReadLedger returns the entries of the ledger in stateDir, verified, without
// starting it. No other process may use the directory.
func ReadLedger(stateDir string) ([][]byte, error) {
	dir := filepath.Join(stateDir, ledgerFolder)
	if _, err := os.Stat(filepath.Join(dir, ledgerFile)); err != nil {
		return nil, fmt.Errorf("there is no ledger in %s: %w", stateDir, err)
	}
	held, err := lockDirectory(stateDir)
	if err != nil {
		return nil, err
	}
	defer held.release()
	store, err := openBolt(filepath.Join(dir, ledgerFile), true)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	machine, err := replay(dir, store, snapshots)
	if err != nil {
		return nil, err
	}
	return machine.Events(), nil
}

// replay builds the machine from the newest snapshot and the log after it, as
// raft will. A flipped bit, a missing or an exchanged entry is an error: an
// honest proposer writes neither an entry that cannot be decoded nor one that
// does not follow the head. (Other refusals are honest: the machine said no.)
func replay(dir string, logs raft.LogStore, snapshots raft.SnapshotStore) (machine *ledger.Machine, err error) {
	defer func() {
		if p := recover(); p != nil { // bolt, on damaged pages
			err = fmt.Errorf("the ledger in %s is damaged: %v", dir, p)
		}
		if err != nil {
			machine = nil
		}
	}()
	machine = &ledger.Machine{}
	index, err := restoreSnapshot(machine, snapshots)
	if err != nil {
		return nil, fmt.Errorf("the ledger's snapshot in %s is damaged or was edited: %w", dir, err)
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return nil, err
	}
	if first > index+1 {
		return nil, fmt.Errorf("the ledger in %s lacks entries before its log: it was edited", dir)
	}
	for i := max(first, index+1); i <= last && last > 0; i++ {
		if err := replayOne(machine, logs, i); err != nil {
			return nil, fmt.Errorf("entry %d of the ledger's log in %s is damaged or was edited: %w", i, dir, err)
		}
	}
	return machine, nil
}

func replayOne(machine *ledger.Machine, logs raft.LogStore, index uint64) error {
	var l raft.Log
	if err := logs.GetLog(index, &l); err != nil {
		return err
	}
	switch {
	case l.Index != index:
		return errors.New("it has another index")
	case l.Type == raft.LogNoop || l.Type == raft.LogConfiguration || l.Type == raft.LogBarrier:
		return nil
	case l.Type != raft.LogCommand:
		return fmt.Errorf("it has the unknown type %d", l.Type)
	}
	if _, err := ledger.Decode(l.Data); err != nil {
		return err
	}
	if a := machine.Apply(l.Data); errors.Is(a.Err, ledger.ErrStale) {
		return a.Err
	}
	return nil
}

// restoreSnapshot returns the raft index that the newest snapshot covers, 0
// without one.
func restoreSnapshot(machine *ledger.Machine, snapshots raft.SnapshotStore) (uint64, error) {
	list, err := snapshots.List()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	meta, r, err := snapshots.Open(list[0].ID)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	return meta.Index, machine.Restore(b)
}
