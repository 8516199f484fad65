package dataset

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func tagsOf(t *testing.T, key []byte, d Dataset) [][16]byte {
	t.Helper()
	tags, err := Tags(key, d)
	if err != nil {
		t.Fatal(err)
	}
	return tags
}

// Tried: the label in the hash, no shape in it, an unkeyed hash, no sorting.
func TestTags(t *testing.T) {
	key := []byte("a secret of this site")
	d := sample(t, 1, 6, 3, 3)
	tags := tagsOf(t, key, d)
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
	if !slices.Equal(tagsOf(t, key, relabelled), tags) || !slices.Equal(tagsOf(t, key, permuted(d, 5, 3, 1, 0, 2, 4)), tags) {
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
		"one bit":     {tagsOf(t, key, edited(d, func(m *Memory) { m.pixels[7] ^= 1 })), 5},
		"other shape": {tagsOf(t, key, edited(d, func(m *Memory) { m.h, m.w = 9, 1 })), 0},
		"other key":   {tagsOf(t, []byte("another"), d), 0},
		"twice":       {tagsOf(t, key, permuted(d, 0, 0, 1)), 3},
	} {
		if got := common(c.tags); got != c.want {
			t.Errorf("%s: %d tags in common, want %d", name, got, c.want)
		}
	}
}

// TestTagsAreOfOriginals: for every kind, images have the tags that they have
// without a transform; data that changed since they were opened have none. Tried:
// tags of the transformed pixels; no look at what changed.
func TestTagsAreOfOriginals(t *testing.T) {
	strip := greyPNG(t, 6, 3, 7)
	for kind, files := range map[string]map[string][]byte{
		KindFolder: {"a/1.png": greyPNG(t, 2, 3, 1), "a/2.png": {'x'}, "b/1.png": greyPNG(t, 2, 3, 2)},
		KindIdx:    {"train-images-idx3-ubyte": twoImages, "train-labels-idx1-ubyte": twoLabels},
		KindNPZ:    {"x.npz": npzOf(t, map[string][]byte{"images": npyBytes(2, 2, 1, 3), "labels": int64s(1, 0)})},
		KindCIFAR:  {"train.bin": cifarBatch(true, 1, 0)},
		KindStrip:  {"x.png": strip, "x-labels-idx1-ubyte": twoLabels},
	} {
		dir := tree(t, files)
		s := Source{Kind: kind, Folder: dir, Classes: ab, LeaveOut: true}
		open := func(how Transform) *Opened {
			t.Helper()
			s.Transform = how
			o, err := s.Open(Train)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			return o
		}
		plain := open(Transform{})
		key := []byte("a secret of this site")
		want := tagsOf(t, key, plain)
		var last *Opened
		for _, how := range []Transform{{Channels: Grey}, {Channels: RGB}, {Resize: [2]int{5, 7}}, {Crop: [2]int{1, 1}}, {Pad: [2]int{40, 40}}} {
			last = open(how)
			if !slices.Equal(tagsOf(t, key, last), want) {
				t.Errorf("%s: with %+v the images have other tags", kind, how)
			}
		}
		for path := range files {
			if path == "a/2.png" || filepath.Ext(path) == "" && kind != KindIdx {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, path), greyPNG(t, 2, 3, 3), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Tags(key, last); err != errChanged {
			t.Errorf("%s: changed images: %v", kind, err)
		}
	}
}
