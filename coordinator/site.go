package coordinator

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/internal/tags"
)

// Site is the ledger in a state folder, open for what belongs to no running
// run: data domains, and runs that are given up. One process at a time has it.
type Site struct {
	stateDir string
	lock     *lock
	ledger   *raftLedger
}

// OpenSite locks the state folder and recovers its ledger; it makes both if they
// are not there.
func OpenSite(stateDir string, logger *slog.Logger) (*Site, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return openSite(stateDir, logger, nil)
}

func openSite(stateDir string, logger *slog.Logger, wrap func(logStore) logStore) (*Site, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("the state directory %s cannot be made: %w", stateDir, err)
	}
	held, err := lockDirectory(stateDir)
	if err != nil {
		return nil, err
	}
	l, err := openLedger(stateDir, logger, wrap)
	if err != nil {
		return nil, errors.Join(err, held.release())
	}
	s := &Site{stateDir, held, l}
	if err := s.checkVersions(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// checkVersions refuses a ledger that does not know a version of data whose tags
// lie on this disk: it under-counts.
func (s *Site) checkVersions() error {
	var known [][16]byte
	for _, d := range s.View().Domains {
		for _, v := range d.Versions {
			known = append(known, v)
		}
	}
	path, err := tags.Unknown(s.stateDir, known)
	if err == nil && path != "" {
		err = fmt.Errorf("the ledger in %s does not know a version of data whose tags are on disk (%s): it was lost, edited or rolled back, and what was spent is not known; restore it", s.stateDir, path)
	}
	return err
}

// View returns what the ledger knows.
func (s *Site) View() ledger.View { return s.ledger.fsm.view() }

// Propose proposes what make builds on the ledger's head. The error is the state
// machine's own refusal, or says that the entry may or may not be in the ledger.
func (s *Site) Propose(make func(prev ledger.Hash) ledger.Entry) error {
	answer, err := s.ledger.propose(make(s.ledger.fsm.head()))
	if err != nil {
		return err
	}
	return answer.Err
}

// CloseRun ends a run for ever and destroys its secret.
func (s *Site) CloseRun(id ledger.RunID) error {
	if r, ok := s.ledger.fsm.run(id); !ok || !r.Closed {
		if err := s.Propose(func(prev ledger.Hash) ledger.Entry { return ledger.Close{Run: id, Prev: prev} }); err != nil {
			return err
		}
	}
	return destroyKey(s.stateDir, id)
}

// Close stops the ledger and frees the state folder.
func (s *Site) Close() error { return errors.Join(s.ledger.close(), s.lock.release()) }
