package dataset

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Fingerprint is a keyed hash of the multiset of (image, label) pairs of d,
// whatever their order: two data sets with the same fingerprint under a
// secret key hold the same examples. Without the key it tells nothing, not
// even to one who guesses an image; keep both inside the trust boundary.
//
// Each example gets an HMAC-SHA256 of shape, label and decoded pixels; the
// tags are added modulo 2²⁵⁶ (Clarke, Devadas, van Dijk, Gassend, Suh,
// "Incremental Multiset Hash Functions", 2003, MSet-Add-Hash) and the sum is
// hashed again together with the count.
func Fingerprint(key []byte, d Dataset) [sha256.Size]byte {
	c, h, w := d.Shape()
	mac := hmac.New(sha256.New, key)
	var sum [4]uint64 // least significant first
	var tag [sha256.Size]byte
	for i := range d.Len() {
		mac.Reset()
		mac.Write(words("example", uint64(c), uint64(h), uint64(w), uint64(d.Label(i))))
		mac.Write(d.Image(i))
		add(&sum, mac.Sum(tag[:0]))
	}
	mac.Reset()
	mac.Write(words("multiset", uint64(d.Len()), sum[0], sum[1], sum[2], sum[3]))
	mac.Sum(tag[:0])
	return tag
}

// words is a fixed-width encoding of values behind a domain separator.
func words(domain string, values ...uint64) []byte {
	b := append([]byte("dploda fingerprint "), domain...)
	b = append(b, 0)
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func add(sum *[4]uint64, tag []byte) {
	var carry uint64
	for i := range sum {
		sum[i], carry = bits.Add64(sum[i], binary.LittleEndian.Uint64(tag[8*i:]), carry)
	}
}
