package dataset

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Fingerprint is a keyed hash of the multiset of d's units, each a multiset of
// (image, label) pairs, whatever their order: two data sets with the same
// fingerprint under a secret key hold the same examples in the same groups.
// Without the key it tells nothing, not even to one who guesses an image; keep
// both inside the trust boundary.
//
// Each example gets an HMAC-SHA256 of shape, label and decoded pixels; the
// tags of a unit are added modulo 2²⁵⁶ (Clarke, Devadas, van Dijk, Gassend, Suh,
// "Incremental Multiset Hash Functions", 2003, MSet-Add-Hash) and the sum is
// hashed again together with the count; so are the units' tags.
func Fingerprint(key []byte, d Dataset, units *Units) [sha256.Size]byte {
	c, h, w := d.Shape()
	mac := hmac.New(sha256.New, key)
	var all [4]uint64 // sums of tags, least significant word first
	var tag [sha256.Size]byte
	for u := range units.Len() {
		var unit [4]uint64
		images := units.Images(u)
		for _, i := range images {
			mac.Reset()
			mac.Write(words("example", uint64(c), uint64(h), uint64(w), uint64(d.Label(int(i)))))
			mac.Write(d.Image(int(i)))
			add(&unit, mac.Sum(tag[:0]))
		}
		mac.Reset()
		mac.Write(words("unit", uint64(len(images)), unit[0], unit[1], unit[2], unit[3]))
		add(&all, mac.Sum(tag[:0]))
	}
	mac.Reset()
	mac.Write(words("multiset", uint64(units.Len()), all[0], all[1], all[2], all[3]))
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
