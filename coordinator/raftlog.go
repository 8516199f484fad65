package coordinator

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
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
	electionTime = 10 * time.Millisecond
	// How long a proposal or a barrier may take: a slow disk, a busy machine.
	proposalTime = 30 * time.Second
)

// raftLedger is the ledger in raft on disk.
type raftLedger struct {
	dir       string
	fsm       *fsm
	raft      *raft.Raft
	store     *raftboltdb.BoltStore
	logs      *watchedLog // store, as raft writes it
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
	l.logs = &watchedLog{logStore: l.store}
	if wrap != nil {
		l.logs.logStore = wrap(l.store)
	}
	_, l.transport = raft.NewInmemTransport(serverID)
	err := l.bootstrap(conf, snapshots)
	if err == nil {
		l.raft, err = raft.NewRaft(conf, l.fsm, l.logs, l.store, snapshots, l.transport)
	}
	if err == nil {
		err = l.lead()
	}
	if err != nil {
		return fmt.Errorf("the ledger in %s cannot be started; what it holds is intact: %w", l.dir, l.logs.cause(err))
	}
	return nil
}

// bootstrap makes this server the one voter of a ledger without entries. An
// interrupted bootstrap has left a term and no entry; raft would take it for a
// ledger whose voters it does not know.
func (l *raftLedger) bootstrap(conf *raft.Config, snapshots raft.SnapshotStore) error {
	last, err := l.logs.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	if list, err := snapshots.List(); err != nil || len(list) > 0 {
		return err
	}
	if err := l.store.SetUint64([]byte("CurrentTerm"), 0); err != nil {
		return err
	}
	voters := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: l.transport.LocalAddr()}}}
	return raft.BootstrapCluster(conf, l.logs, l.store, snapshots, l.transport, voters)
}

// watchedLog remembers why the log could not be written: raft itself only steps
// down, again and again.
type watchedLog struct {
	logStore
	failed atomic.Pointer[error]
}

func (w *watchedLog) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

func (w *watchedLog) StoreLogs(logs []*raft.Log) error {
	err := w.logStore.StoreLogs(logs)
	if err != nil {
		w.failed.Store(&err)
	}
	return err
}

// cause is why the log could not be written, or err.
func (w *watchedLog) cause(err error) error {
	if failed := w.failed.Load(); failed != nil {
		return *failed
	}
	return err
}

// lead waits until this voter leads and has applied all that was committed.
func (l *raftLedger) lead() error {
	deadline := time.Now().Add(proposalTime)
	for l.raft.State() != raft.Leader {
		if err := l.logs.cause(nil); err != nil {
			return err
		}
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
		return ledger.Answer{}, l.explain(err)
	}
	answer, ok := future.Response().(ledger.Answer)
	if !ok {
		return ledger.Answer{}, fmt.Errorf("the ledger in %s gave no answer", l.dir)
	}
	return answer, nil
}

// explain says what a person can do about a ledger that cannot be written.
func (l *raftLedger) explain(err error) error {
	err = l.logs.cause(err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the ledger in %s cannot be written, the disk is full: free some space and run the same command again; nothing is lost (%w)", l.dir, err)
	}
	return fmt.Errorf("the ledger in %s cannot be written; what it holds is intact, and the same command continues: %w", l.dir, err)
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
