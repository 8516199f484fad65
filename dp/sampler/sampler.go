// Package sampler draws the Poisson sample of a step: every example tosses its
// own coin, which depends on the run's secret, the Plan and the example's id
// alone. Nobody's membership moves anybody else's coin, and any machine that
// holds the secret finds the same sample, in any order.
//
// The secret and the Sampler stay with the coordinator. Workers get the ids of
// their share and a DrawKey, from which the sampling key cannot be found.
package sampler

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/dploda/dploda/dp/plan"
)

// Plan names one step's Plan. Its nonce is fresh for every Plan: two Plans of
// the same step have independent samples.
type Plan struct {
	Run       [16]byte
	Mechanism plan.Mechanism
	Step      uint64
	Nonce     [16]byte
}

// The purposes for which keys are derived. No two keys of a run coincide.
const (
	purposeSample = "poisson sample"
	purposeDraws  = "noise, time and augmentation draws"
)

// Sampler holds the sampling key of one Plan.
type Sampler struct {
	coins     cipher.Block
	mechanism plan.Mechanism
}

// Coins returns the Sampler of p under the run's secret.
func Coins(secret [32]byte, p Plan) *Sampler {
	key := derive(secret, purposeSample, p)
	block, err := aes.NewCipher(key[:])
	clear(key[:])
	if err != nil {
		panic(err) // only a wrong key length can do this
	}
	return &Sampler{coins: block, mechanism: p.Mechanism}
}

// DrawKey returns the key from which p's workers draw training noise, times and
// augmentations. It is independent of the sampling key.
func DrawKey(secret [32]byte, p Plan) [32]byte { return derive(secret, purposeDraws, p) }

// Coin returns example id's coin, uniform on [0, 2⁶⁴): the first 64 bits of
// AES-256(key, id), the id a big-endian 128-bit block.
func (s *Sampler) Coin(id uint32) uint64 {
	var block [aes.BlockSize]byte
	binary.BigEndian.PutUint32(block[12:], id)
	s.coins.Encrypt(block[:], block[:])
	return binary.BigEndian.Uint64(block[:8])
}

// Takes reports whether example id takes part: its coin is below the threshold.
func (s *Sampler) Takes(id uint32) bool {
	return s.mechanism.Everyone || s.Coin(id) < s.mechanism.QThreshold
}

// Sample returns the ids among 0 … n-1 that take part, ascending. It may be
// empty; an empty sample is a full step. How many there are is private.
func (s *Sampler) Sample(n int) []uint32 {
	ids := make([]uint32, 0, min(int64(n), s.mechanism.BatchBound()))
	for id := range n {
		if s.Takes(uint32(id)) {
			ids = append(ids, uint32(id))
		}
	}
	return ids
}

// Format prints no key, whatever the verb.
func (s Sampler) Format(f fmt.State, _ rune) { fmt.Fprint(f, "sampler.Sampler(redacted)") }

// derive returns HKDF-SHA256(secret, info) for a purpose within p. The parts of
// info have fixed lengths or carry them, so that no two inputs look alike.
func derive(secret [32]byte, purpose string, p Plan) [32]byte {
	info := []byte("dploda plan keys 1\n")
	for _, text := range []string{purpose, p.Mechanism.Phase} {
		info = binary.BigEndian.AppendUint64(info, uint64(len(text)))
		info = append(info, text...)
	}
	info = append(info, p.Run[:]...)
	info = binary.BigEndian.AppendUint64(info, p.Step)
	info = append(info, p.Nonce[:]...)
	key, err := hkdf.Key(sha256.New, secret[:], nil, string(info), 32)
	if err != nil {
		panic(err) // only an output length above 255 hashes can do this
	}
	defer clear(key)
	return [32]byte(key)
}
