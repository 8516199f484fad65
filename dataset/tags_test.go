package dataset

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"testing"
)

// Tried: the label in the hash, no shape in it, an unkeyed hash, no sorting.
func TestTags(t *testing.T) {
	key := []byte("a secret of this site")
	d := sample(t, 1, 6, 3, 3)
	tags := Tags(key, d)
	if !slices.IsSortedFunc(tags, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }) || len(tags) != 6 {
		t.Fatal("the tags are not six in ascending order")
	}
	one := hmac.New(sha256.New, key)
	one.Write([]byte("dploda fingerprint image\x00\x01\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00"))
	one.Write(d.Image(4))
	if !slices.Contains(tags, [16]byte(one.Sum(nil))) {
		t.Error("an image's tag is not the HMAC of its shape and pixels")
	}
	relabelled := edited(d, func(m *Memory) { m.labels[2] = (m.labels[2] + 1) % 3 })
	if !slices.Equal(Tags(key, relabelled), tags) || !slices.Equal(Tags(key, permuted(d, 5, 3, 1, 0, 2, 4)), tags) {
		t.Error("the tags depend on the labels or on the order")
	}
	common := func(other []([16]byte)) (n int) {
		for _, tag := range other {
			if slices.Contains(tags, tag) {
				n++
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		tags [][16]byte
		want int
	}{
		"one bit":     {Tags(key, edited(d, func(m *Memory) { m.pixels[7] ^= 1 })), 5},
		"other shape": {Tags(key, edited(d, func(m *Memory) { m.h, m.w = 9, 1 })), 0},
		"other key":   {Tags([]byte("another"), d), 0},
		"twice":       {Tags(key, permuted(d, 0, 0, 1)), 3},
	} {
		if got := common(c.tags); got != c.want {
			t.Errorf("%s: %d tags in common, want %d", name, got, c.want)
		}
	}
}
