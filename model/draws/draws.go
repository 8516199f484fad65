// Package draws gives the random numbers of training and sampling: diffusion
// noise, timesteps, label drops, augmentation, weight initialisation.
//
// Every draw is a pure function of a 32-byte key and of (id, copy, purpose): a
// worker that knows the key computes the same numbers for an example whatever
// its lane, micro-batch, company or machine. Words come from AES-256 in counter
// mode; everything made of them uses only exact or correctly rounded
// operations, so that amd64 and arm64 agree bit for bit.
//
// These are not the privacy noise, whose distribution has to be exact: that is
// package dp/noise.
package draws

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Key keys all draws of one Plan, or of one sampling run.
type Key [32]byte

// SeedKey returns the key of a public seed, for use with data and models that
// are not private; label separates uses of one seed.
func SeedKey(seed uint64, label string) Key {
	msg := binary.LittleEndian.AppendUint64([]byte("dploda draws 1\x00"), seed)
	return sha256.Sum256(append(msg, label...))
}

// Purpose separates the streams of one (id, copy).
type Purpose uint16

// The purposes. Their values are part of a run's bits: append, never renumber.
const (
	Noise     Purpose = iota + 1 // ε of a training example
	Time                         // its timestep
	Condition                    // which conditions it keeps
	Augment                      // its augmentation
	Prototype                    // choice and noise of a prototype image
	Start                        // x_T of a sampled image
	Step                         // noise of one sampling step; copy is the step
	Shuffle                      // order of a data set; id is the epoch
	Init                         // initial weights; id is the tensor
	Unit                         // which of a privacy unit's images its copies use
)

// Draws opens streams under one key. It may be shared by goroutines.
type Draws struct{ block cipher.Block }

// New returns the draws of a key.
func New(key Key) *Draws {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("draws: " + err.Error()) // only for a key of another length
	}
	return &Draws{block}
}

// Stream returns the stream of (id, copy, purpose), from its beginning. It
// holds 2^36 bytes, far more than any use draws.
func (d *Draws) Stream(id uint64, copy uint16, purpose Purpose) *Stream {
	return d.Open(new(Stream), id, copy, purpose)
}

// Open makes s the stream that [Draws.Stream] returns, and returns it: for
// loops that must not allocate.
func (d *Draws) Open(s *Stream, id uint64, copy uint16, purpose Purpose) *Stream {
	s.block = d.block
	binary.BigEndian.PutUint64(s.counter[0:], id)
	binary.BigEndian.PutUint16(s.counter[8:], copy)
	binary.BigEndian.PutUint16(s.counter[10:], uint16(purpose))
	binary.BigEndian.PutUint32(s.counter[12:], 0)
	s.next = len(s.buf)
	return s
}

// Stream is a sequence of random words. It is for one goroutine.
type Stream struct {
	block   cipher.Block
	counter [aes.BlockSize]byte // of the next block
	next    int
	buf     [512]byte
}

// Uint64 returns the next word.
func (s *Stream) Uint64() uint64 {
	if s.next == len(s.buf) {
		s.refill()
	}
	w := binary.LittleEndian.Uint64(s.buf[s.next:])
	s.next += 8
	return w
}

func (s *Stream) refill() {
	count := s.counter[12:]
	for i := 0; i < len(s.buf); i += aes.BlockSize {
		s.block.Encrypt(s.buf[i:], s.counter[:])
		binary.BigEndian.PutUint32(count, binary.BigEndian.Uint32(count)+1)
	}
	s.next = 0
}

// Float64 returns a uniform number in [0, 1), a multiple of 2^-53.
func (s *Stream) Float64() float64 {
	return float64(float64(s.Uint64()>>11) * 0x1p-53)
}

// Uniform returns a uniform number in [lo, hi).
func (s *Stream) Uniform(lo, hi float64) float64 {
	return lo + float64((hi-lo)*s.Float64())
}

// Intn returns a uniform integer in [0, n), without bias (Lemire 2019). It
// panics unless n > 0.
func (s *Stream) Intn(n int) int {
	if n <= 0 {
		panic("draws: Intn needs a positive bound")
	}
	hi, lo := bits.Mul64(s.Uint64(), uint64(n))
	if lo < uint64(n) {
		threshold := -uint64(n) % uint64(n)
		for lo < threshold {
			hi, lo = bits.Mul64(s.Uint64(), uint64(n))
		}
	}
	return int(hi)
}

// Perm returns a uniform permutation of 0..n-1.
func (s *Stream) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		j := s.Intn(i + 1)
		p[i] = p[j]
		p[j] = i
	}
	return p
}
