package dataset

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a data set of n images with scrambled bytes and three classes.
func sample(t *testing.T, c, n, h, w int) *Memory {
	t.Helper()
	pixels := make([]uint8, n*c*h*w)
	for i := range pixels {
		pixels[i] = uint8(i*i*37 + i*11)
	}
	labels := make([]uint16, n)
	for i := range labels {
		labels[i] = uint16(i*i) % 3
	}
	m, err := NewMemory(c, h, w, []string{"x", "y", "z"}, pixels, labels)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNewMemoryRefuses(t *testing.T) {
	for _, c := range []struct {
		channels, h, w int
		classes        []string
		pixels         int
		labels         []uint16
		want           string
	}{
		{2, 1, 1, ab, 2, []uint16{0}, "images have 2 channels; 1 (grey) and 3 (RGB) are known"},
		{1, 0, 4, ab, 0, []uint16{0}, "images of 4 x 0 pixels are empty"},
		{3, 2, 2, ab, 13, []uint16{0}, "1 labels do not fit 13 bytes of 3 x 2 x 2 images"},
		{1, 1, 1, nil, 1, []uint16{0}, "a data set has 1 to 65536 classes, not 0"},
		{1, 1, 1, ab, 1, []uint16{2}, "a label lies outside 0 to 1: the data have other classes than the 2 declared"},
	} {
		_, err := NewMemory(c.channels, c.h, c.w, c.classes, make([]uint8, c.pixels), c.labels)
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// TestImageCannotGrowIntoTheNext: an append by a careless caller copies.
func TestImageCannotGrowIntoTheNext(t *testing.T) {
	m := sample(t, 1, 2, 2, 2)
	next := m.Image(1)[0]
	_ = append(m.Image(0), next+1)
	if m.Image(1)[0] != next {
		t.Error("appending to an image changed the next one")
	}
}

func TestFingerprint(t *testing.T) {
	key := []byte("a secret of this site")
	d := sample(t, 1, 6, 3, 3)
	whole := Fingerprint(key, d, EachImage(d.Len()))

	if Fingerprint(key, permuted(d, 5, 3, 1, 0, 2, 4), EachImage(6)) != whole {
		t.Error("the fingerprint depends on the order")
	}
	if Fingerprint([]byte("another"), d, EachImage(6)) == whole {
		t.Error("the fingerprint does not depend on the key")
	}
	for name, other := range map[string]*Memory{
		"one less":  permuted(d, 0, 1, 2, 3, 4),
		"one twice": permuted(d, 0, 1, 2, 3, 4, 5, 5),
		"replaced":  permuted(d, 0, 1, 2, 3, 4, 4),
		"relabeled": edited(d, func(m *Memory) { m.labels[2] = (m.labels[2] + 1) % 3 }),
		"one bit":   edited(d, func(m *Memory) { m.pixels[7] ^= 1 }),
		"swapped labels": edited(d, func(m *Memory) {
			m.labels[0], m.labels[1] = m.labels[1], m.labels[0]
		}),
		"other shape": edited(d, func(m *Memory) { m.h, m.w = 9, 1 }),
	} {
		if Fingerprint(key, other, EachImage(other.Len())) == whole {
			t.Errorf("%s: the fingerprint stays the same", name)
		}
	}
}

func TestAddCarries(t *testing.T) {
	sum := [4]uint64{^uint64(0), ^uint64(0), ^uint64(0), 6}
	one := make([]byte, 32)
	one[0] = 1
	add(&sum, one)
	if diff := cmp.Diff([4]uint64{0, 0, 0, 7}, sum); diff != "" {
		t.Error(diff)
	}
}

func permuted(d *Memory, order ...int) *Memory {
	m := *d
	m.pixels, m.labels = nil, nil
	for _, i := range order {
		m.pixels = append(m.pixels, d.Image(i)...)
		m.labels = append(m.labels, d.labels[i])
	}
	return &m
}

func edited(d *Memory, f func(*Memory)) *Memory {
	m := *d
	m.pixels, m.labels = bytes.Clone(d.pixels), append([]uint16(nil), d.labels...)
	f(&m)
	return &m
}
