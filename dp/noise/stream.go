package noise

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
)

// chunk is how many coordinates share a stream. It is fixed, so that the noise
// of a coordinate depends on the key alone and not on who draws it.
const chunk = 4096

// stream deals the key stream of AES-256 in counter mode as words. Stream i of a
// key starts at counter i·2⁶⁴: no two streams of a key overlap.
type stream struct {
	ctr cipher.Stream
	buf [8192]byte
	at  int // next unread byte of buf
}

func (s *stream) open(block cipher.Block, index uint64) {
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[:8], index)
	s.ctr = cipher.NewCTR(block, counter[:])
	s.at = len(s.buf)
}

func (s *stream) word() uint64 {
	if s.at == len(s.buf) {
		s.refill()
	}
	w := binary.LittleEndian.Uint64(s.buf[s.at:])
	s.at += 8
	return w
}

func (s *stream) refill() {
	clear(s.buf[:])
	s.ctr.XORKeyStream(s.buf[:], s.buf[:])
	s.at = 0
}

// bits returns the first n bits of the next word.
func (s *stream) bits(n uint) uint64 { return s.word() >> (64 - n) }

// fill draws dst from N(0, σ²) rounded to integers and taken modulo 2³², chunk i
// from stream i of the key, on at most the given number of goroutines.
func fill(dst []int32, sigma int64, key *[32]byte, goroutines int) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only a wrong key length can do this
	}
	g := newGaussian(sigma)
	chunks := (len(dst) + chunk - 1) / chunk
	var next atomic.Int64
	var wg sync.WaitGroup
	for range max(1, min(goroutines, chunks)) {
		wg.Go(func() {
			s := new(stream)
			defer clear(s.buf[:])
			for i := int(next.Add(1)) - 1; i < chunks; i = int(next.Add(1)) - 1 {
				s.open(block, uint64(i))
				part := dst[i*chunk : min(len(dst), (i+1)*chunk)]
				for j := range part {
					part[j] = int32(g.draw(s)) // wraps
				}
				runtime.Gosched() // the workers' computation goes first
			}
		})
	}
	wg.Wait()
}
