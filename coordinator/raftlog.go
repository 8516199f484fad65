package coordinator

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/dploda/dploda/dp/ledger"
)

// logStore is the part of bolt that raft writes its log to.
type logStore = raft.LogStore

const (
	ledgerFolder = "ledger"
	ledgerFile   = "raft.db"
	serverID     = "coordinator-1"

	// One voter needs nobody's answer: its timings only delay its start.
	electionTime = 20 * time.Millisecond
	// How long a proposal or a barrier may take: a slow disk, a busy machine.
	proposalTime = 30 * time.Second
)

// raftLedger is the ledger in raft on disk.
type raftLedger struct {
	dir       string
	fsm       *fsm
	raft      *raft.Raft
	store     *raftboltdb.BoltStore
	transport *raft.InmemTransport
}

// openLedger opens or makes the ledger in stateDir. Before raft sees them all
// entries are replayed: what is damaged or edited is an error here.
func openLedger(stateDir string, logger *slog.Logger, wrap func(logStore) logStore) (_ *raftLedger, err error) {
	l := &raftLedger{dir: filepath.Join(stateDir, ledgerFolder), fsm: &fsm{}}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("the ledger's folder cannot be made: %w", err)
	}
	if l.store, err = openBolt(filepath.Join(l.dir, ledgerFile), false); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	quiet := hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Error, Output: slogWriter{logger}, DisableTime: true})
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(l.dir, 2, quiet)
	if err != nil {
		return nil, fmt.Errorf("the ledger's snapshots in %s cannot be opened: %w", l.dir, err)
	}
	verified, err := replay(l.dir, l.store, snapshots)
	if err != nil {
		return nil, err
	}
	if err := l.start(snapshots, quiet, wrap); err != nil {
		return nil, err
	}
	if l.fsm.head() != verified.Head() {
		return nil, fmt.Errorf("the ledger in %s does not replay to the state that its entries give", l.dir)
	}
	return l, nil
}

func (l *raftLedger) start(snapshots raft.SnapshotStore, logger hclog.Logger, wrap func(logStore) logStore) error {
	conf := raft.DefaultConfig()
	conf.LocalID = serverID
	conf.Logger = logger
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = electionTime, electionTime, electionTime
	var logs logStore = l.store
	if wrap != nil {
		logs = wrap(logs)
	}
	var address raft.ServerAddress
	address, l.transport = raft.NewInmemTransport(serverID)
	known, err := raft.HasExistingState(logs, l.store, snapshots)
	if err == nil && !known {
		voters := raft.Configuration{Servers: []raft.Server{{ID: serverID, Address: address}}}
		err = raft.BootstrapCluster(conf, logs, l.store, snapshots, l.transport, voters)
	}
	if err == nil {
		l.raft, err = raft.NewRaft(conf, l.fsm, logs, l.store, snapshots, l.transport)
	}
	if err == nil {
		err = l.lead()
	}
	if err != nil {
		return fmt.Errorf("the ledger in %s cannot be started: %w", l.dir, err)
	}
	return nil
}

// lead waits until this voter leads and has applied all that was committed.
func (l *raftLedger) lead() error {
	deadline := time.Now().Add(proposalTime)
	for l.raft.State() != raft.Leader {
		if time.Now().After(deadline) {
			return errors.New("raft elects no leader")
		}
		time.Sleep(time.Millisecond)
	}
	return l.barrier()
}

func (l *raftLedger) barrier() error { return l.raft.Barrier(proposalTime).Error() }

// propose returns the state machine's own answer. An error means that it is not
// known whether the entry is in the ledger.
func (l *raftLedger) propose(e ledger.Entry) (ledger.Answer, error) {
	raw, err := ledger.Encode(e)
	if err != nil {
		return ledger.Answer{Err: err}, nil
	}
	future := l.raft.Apply(raw, proposalTime)
	if err := future.Error(); err != nil {
		return ledger.Answer{}, fmt.Errorf("the ledger in %s cannot be written: %w", l.dir, err)
	}
	answer, ok := future.Response().(ledger.Answer)
	if !ok {
		return ledger.Answer{}, fmt.Errorf("the ledger in %s gave no answer", l.dir)
	}
	return answer, nil
}

// term grows with every start of the ledger.
func (l *raftLedger) term() uint64 { return l.raft.CurrentTerm() }

func (l *raftLedger) close() error {
	var err error
	if l.raft != nil {
		err = l.raft.Shutdown().Error()
	}
	if l.transport != nil {
		err = errors.Join(err, l.transport.Close())
	}
	if l.store != nil {
		err = errors.Join(err, l.store.Close())
	}
	return err
}

// openBolt opens the log's file; bolt panics on some kinds of damage.
func openBolt(path string, readOnly bool) (store *raftboltdb.BoltStore, err error) {
	defer func() {
		if p := recover(); p != nil {
			store, err = nil, fmt.Errorf("the ledger's file %s is damaged: %v", path, p)
		}
	}()
	store, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: time.Second, ReadOnly: readOnly}})
	if err != nil {
		return nil, fmt.Errorf("the ledger's file %s cannot be opened: %w", path, err)
	}
	return store, nil
}

// slogWriter passes raft's own complaints on.
type slogWriter struct{ logger *slog.Logger }

func (w slogWriter) Write(b []byte) (int, error) {
	w.logger.Warn("ledger", "raft", strings.TrimSpace(string(b)))
	return len(b), nil
}

var _ io.Writer = slogWriter{}
