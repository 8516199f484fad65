package coordinator

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/noise"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/dp/sampler"
)

// secrets deals everything of a run that must not be foreseen: the key of its
// coins and draws, nonces, charge ids and noise. In test mode they are
// functions of the seed, the phase and the step, whatever the run is called.
type secrets struct {
	key  [32]byte
	run  ledger.RunID // as the draws know it
	seed *uint64
}

func testSecrets(seed uint64) *secrets {
	s := &secrets{seed: &seed}
	s.key = s.predictable("run secret", "", 0)
	run := s.predictable("run id", "", 0)
	copy(s.run[:], run[:])
	return s
}

func (s *secrets) predictable(purpose, phase string, step uint64) [32]byte {
	b := []byte("dploda test mode 1\n" + purpose + "\n" + phase + "\n")
	b = binary.BigEndian.AppendUint64(b, *s.seed)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, step))
}

func (s *secrets) nonce(phase string, step uint64) (n ledger.Nonce) {
	if s.seed != nil {
		h := s.predictable("nonce", phase, step)
		copy(n[:], h[:])
		return n
	}
	rand.Read(n[:]) // never fails: it ends the program rather
	return n
}

func (s *secrets) source(m plan.Mechanism, step uint64) *noise.Source {
	if s.seed != nil {
		return noise.NewPredictableTestSource(m, *s.seed, step)
	}
	return noise.NewSource(m)
}

func (s *secrets) plan(m plan.Mechanism, p ledger.Plan) sampler.Plan {
	return sampler.Plan{Run: s.run, Mechanism: m, Step: p.Step, Nonce: p.Nonce}
}

// Format prints no secret, whatever the verb.
func (s *secrets) Format(f fmt.State, _ rune) { fmt.Fprint(f, "coordinator.secrets(redacted)") }

func newChargeID() (id ledger.ChargeID) {
	rand.Read(id[:])
	return id
}

func keyPath(stateDir string, run ledger.RunID) string {
	return filepath.Join(stateDir, run.String()+".key")
}

// makeKey writes a fresh run secret, durable before anything is planned with it.
func makeKey(stateDir string, run ledger.RunID) (*secrets, error) {
	s := &secrets{run: run}
	rand.Read(s.key[:])
	path := keyPath(stateDir, run)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // what lies there was never planned with
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the run's key cannot be written: %w", err)
	}
	_, err = f.Write(s.key[:])
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = checkpoint.SyncDirectory(stateDir)
	}
	if err != nil {
		return nil, fmt.Errorf("the run's key %s cannot be written: %w", path, err)
	}
	return s, nil
}

func readKey(stateDir string, run ledger.RunID) (*secrets, error) {
	path := keyPath(stateDir, run)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the key of run %s is missing (%s): a run that was begun cannot continue without it", run, path)
	}
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if len(b) != 32 {
		return nil, fmt.Errorf("the key of run %s is damaged (%s): it does not have 32 bytes", run, path)
	}
	return &secrets{key: [32]byte(b), run: run}, nil
}

// destroyKey overwrites and removes the secret of a completed run.
func destroyKey(stateDir string, run ledger.RunID) error {
	path := keyPath(stateDir, run)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 32))
	if err := errors.Join(err, f.Sync(), f.Close(), os.Remove(path)); err != nil {
		return fmt.Errorf("the run's key %s cannot be destroyed: %w", path, err)
	}
	return checkpoint.SyncDirectory(stateDir)
}
