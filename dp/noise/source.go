package noise

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/dploda/dploda/dp/plan"
)

// Source holds the noise of one Plan: a key, or the noise already drawn from it.
// It serves one AddNoise and is wiped by it. Its methods may be called from any
// goroutine.
type Source struct {
	mechanism   plan.Mechanism
	predictable bool // a function of a test seed

	mu    sync.Mutex
	key   [32]byte
	drawn []int32
	spent bool
}

// NewSource returns a Source for one Plan of m, keyed by the operating system's
// generator.
func NewSource(m plan.Mechanism) *Source {
	s := &Source{mechanism: m}
	rand.Read(s.key[:]) // never fails: it ends the program rather
	return s
}

// NewPredictableTestSource returns a Source whose noise is a function of seed,
// phase and step, and therefore protects nobody. It is for test mode alone,
// with data declared public: AddNoise takes it for no other run's charge.
func NewPredictableTestSource(m plan.Mechanism, seed, step uint64) *Source {
	b := []byte("dploda predictable test noise 1\n" + m.Phase + "\n")
	b = binary.BigEndian.AppendUint64(b, seed)
	b = binary.BigEndian.AppendUint64(b, step)
	return &Source{mechanism: m, predictable: true, key: sha256.Sum256(b)}
}

var errSpent = errors.New("this noise was used or wiped before; every Plan needs a Source of its own")

// Prepare draws the noise now, on at most the given number of goroutines, so
// that AddNoise need not: run it while the workers compute. AddNoise waits for
// a Prepare that is running. Preparing twice, or after Wipe, does nothing.
func (s *Source) Prepare(goroutines int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prepare(goroutines)
}

func (s *Source) prepare(goroutines int) {
	if s.spent || s.drawn != nil {
		return
	}
	s.drawn = make([]int32, s.mechanism.Dim)
	fill(s.drawn, s.mechanism.SigmaInt, &s.key, goroutines)
	clear(s.key[:])
}

// Wipe destroys the noise, for a Plan that was given up.
func (s *Source) Wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.key[:])
	clear(s.drawn)
	s.drawn = nil
	s.spent = true
}

// take hands the noise over, once.
func (s *Source) take(goroutines int) ([]int32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spent {
		return nil, errSpent
	}
	s.prepare(goroutines)
	drawn := s.drawn
	s.drawn, s.spent = nil, true
	return drawn, nil
}

const redactedSource = "noise.Source(redacted)"

// Format prints nothing of the key or the noise, whatever the verb.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprint(f, redactedSource) }

// LogValue keeps the noise out of logs.
func (s *Source) LogValue() slog.Value { return slog.StringValue(redactedSource) }
