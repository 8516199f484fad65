package dataset

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
)

// Tags returns a keyed hash of each image of d, in ascending order: the first
// half of HMAC-SHA256 of its shape and decoded pixels, as they were before any
// transform: an image that is scaled in another way is the same image. So is one
// that is labelled anew: the label is left out. Who does not have the key learns
// nothing from a tag, not even by guessing an image.
//
// Images that were transformed are decoded once more; the error, which names
// none, is that they changed meanwhile.
func Tags(key []byte, d Dataset) ([][16]byte, error) {
	mac := hmac.New(sha256.New, key)
	tags := make([][16]byte, 0, d.Len())
	var sum [sha256.Size]byte
	err := eachOriginal(d, func(p picture) {
		mac.Reset()
		mac.Write(words("image", uint64(p.c), uint64(p.h), uint64(p.w)))
		mac.Write(p.pix)
		tags = append(tags, [16]byte(mac.Sum(sum[:0])))
	})
	slices.SortFunc(tags, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	return tags, err
}

// eachOriginal calls f with each image of d before its transform.
func eachOriginal(d Dataset, f func(picture)) error {
	o, ok := d.(*Opened)
	if ok && o.reread != nil {
		return o.originals(f)
	}
	c, h, w := d.Shape()
	for i := range d.Len() {
		f(picture{c, h, w, d.Image(i)})
	}
	return nil
}
