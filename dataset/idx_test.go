package dataset

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// idxFile is the content of an idx file with the given header and data.
func idxFile(kind byte, dims []uint32, data ...byte) []byte {
	b := []byte{0, 0, kind, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, data...)
}

func gzipped(content []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(content)
	z.Close()
	return b.Bytes()
}

func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// folder makes a data folder of one split with the given file contents.
func folder(t *testing.T, images, labels []byte) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "train-images-idx3-ubyte"), images)
	write(t, filepath.Join(dir, "train-labels-idx1-ubyte.gz"), labels)
	return dir
}

var (
	twoImages = idxFile(0x08, []uint32{2, 1, 3}, 1, 2, 3, 4, 5, 6)
	twoLabels = idxFile(0x08, []uint32{2}, 1, 0)
	ab        = []string{"a", "b"}
)

func TestOpenIdx(t *testing.T) {
	for name, dir := range map[string]string{
		"plain":   folder(t, twoImages, twoLabels),
		"gzipped": folder(t, gzipped(twoImages), gzipped(twoLabels)),
	} {
		m, err := OpenIdx(dir, Train, ab)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c, h, w := m.Shape()
		if m.Len() != 2 || c != 1 || h != 1 || w != 3 {
			t.Errorf("%s: %d images of %d x %d x %d", name, m.Len(), c, h, w)
		}
		if m.Label(0) != 1 || m.Label(1) != 0 || !bytes.Equal(m.Image(1), []byte{4, 5, 6}) {
			t.Errorf("%s: labels %v, second image %v", name, m.labels, m.Image(1))
		}
	}
}

func TestOpenIdxRefuses(t *testing.T) {
	for _, c := range []struct {
		name           string
		images, labels []byte
		want           string // DIR stands for the folder
	}{
		{"empty file", nil, twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: it has no header"},
		{"other file", []byte("PK\x03\x04...."), twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: it does not begin with two zero bytes"},
		{"type", idxFile(0x0d, []uint32{2, 1, 3}, 1), twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: its values have type 0x0d; 0x08 (unsigned byte) and 0x0b (16-bit) are read"},
		{"dimensions", idxFile(0x08, make([]uint32, 5)), twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: it has 5 dimensions; 1 to 4 are read"},
		{"cut header", twoImages[:10], twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: it is truncated inside its header"},
		{"truncated", twoImages[:len(twoImages)-1], twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: it is truncated: its header announces 6 bytes and 5 follow"},
		{"longer", append(bytes.Clone(twoImages), 0), twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: it goes on after the 6 bytes that its header announces"},
		{"oversized", idxFile(0x08, []uint32{1 << 31, 1 << 31, 1 << 31}, 1), twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: its header announces more than 17179869184 bytes"},
		{"truncated gzip", gzipped(twoImages)[:30], twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: it is truncated: its header announces 6 bytes and 3 follow"},
		{"gzip without checksum", cut(gzipped(twoImages), 4), twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: it is truncated: its checksum is missing"},
		{"gzip with false checksum", flip(gzipped(twoImages), 6), twoLabels, "DIR/train-images-idx3-ubyte is not a readable idx file: gzip: invalid checksum"},
		{"labels as images", twoLabels, twoLabels, "DIR/train-images-idx3-ubyte does not hold grey images: it has 1-dimensional unsigned bytes"},
		{"images as labels", twoImages, twoImages, "DIR/train-labels-idx1-ubyte.gz does not hold labels: it has 3-dimensional unsigned bytes"},
		{"no images", idxFile(0x08, []uint32{0, 1, 3}), idxFile(0x08, []uint32{0}), "DIR/train-images-idx3-ubyte holds no pixels"},
		{"counts", twoImages, idxFile(0x08, []uint32{1}, 0), "DIR/train-images-idx3-ubyte and DIR/train-labels-idx1-ubyte.gz do not belong together: they have different counts"},
		{"label", twoImages, idxFile(0x08, []uint32{2}, 0, 2), "DIR/train-images-idx3-ubyte with DIR/train-labels-idx1-ubyte.gz: a label lies outside 0 to 1: the data have other classes than the 2 declared"},
		{"negative label", twoImages, idxFile(0x0b, []uint32{2}, 0, 0, 0xff, 0xff), "DIR/train-images-idx3-ubyte with DIR/train-labels-idx1-ubyte.gz: a label lies outside 0 to 1: the data have other classes than the 2 declared"},
	} {
		dir := folder(t, c.images, c.labels)
		_, err := OpenIdx(dir, Train, ab)
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
	dir := t.TempDir()
	_, err := OpenIdx(dir, Test, ab)
	if want := "the data folder " + dir + " has neither t10k-images-idx3-ubyte nor t10k-images-idx3-ubyte.gz"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func cut(b []byte, n int) []byte { return b[:len(b)-n] }

// flip changes the byte n before the end.
func flip(b []byte, n int) []byte { b[len(b)-n] ^= 1; return b }

func TestOpenIdxFilesJoinsAndRenumbers(t *testing.T) {
	dir := t.TempDir()
	i1 := write(t, filepath.Join(dir, "i1"), twoImages)
	i2 := write(t, filepath.Join(dir, "i2"), gzipped(idxFile(0x08, []uint32{1, 1, 3}, 7, 8, 9)))
	l1 := write(t, filepath.Join(dir, "l1"), idxFile(0x0b, []uint32{2}, 0x03, 0xe8, 0, 7)) // 1000, 7
	l2 := write(t, filepath.Join(dir, "l2"), idxFile(0x08, []uint32{1}, 7))
	m, err := OpenIdxFiles([]string{i1, i2}, []string{l1, l2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"7", "1000"}, m.Classes()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]uint16{1, 0, 0}, m.labels); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(m.Image(2), []byte{7, 8, 9}) {
		t.Errorf("third image %v", m.Image(2))
	}

	wide := write(t, filepath.Join(dir, "wide"), idxFile(0x08, []uint32{1, 1, 4}, 1, 2, 3, 4))
	_, err = OpenIdxFiles([]string{i1, wide}, []string{l1, l2}, nil)
	if want := wide + " has images of 4 x 1 pixels, " + i1 + " of 3 x 1"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err = OpenIdxFiles([]string{i1}, nil, nil); err == nil {
		t.Error("a list of images without labels is accepted")
	}
}

// TestDecodeIdxOfABomb: a header that announces little ends the reading early,
// and one that announces much takes no more memory than what follows.
func TestDecodeIdxOfABomb(t *testing.T) {
	zeros := make([]byte, 64<<20)
	bomb := gzipped(idxFile(0x08, []uint32{2, 1, 3}, zeros...))
	claim := idxFile(0x08, []uint32{1 << 20, 28, 28}, 1, 2, 3)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, content := range [][]byte{bomb, claim} {
		if _, err := decodeIdx(bytes.NewReader(content)); err == nil {
			t.Error("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes allocated", grown)
	}
}

func TestWriteIdxRoundTrip(t *testing.T) {
	d := sample(t, 1, 5, 4, 3)
	dir := filepath.Join(t.TempDir(), "new")
	for range 2 { // the second overwrites the first with the same bytes
		if err := WriteIdx(dir, Test, d); err != nil {
			t.Fatal(err)
		}
	}
	m, err := OpenIdx(dir, Test, d.Classes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, m, cmp.AllowUnexported(Memory{})); diff != "" {
		t.Error(diff)
	}
	if err := WriteIdx(dir, Test, transformed(t, d, Transform{Channels: RGB})); err == nil {
		t.Error("colour images are written as grey ones")
	}
}

// TestMNIST reads the real files, whose uncompressed bytes have published MD5s.
func TestMNIST(t *testing.T) {
	data := os.Getenv("DPLODA_DATA")
	if data == "" {
		t.Skip("DPLODA_DATA names no folder with mnist/")
	}
	digits := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	m, err := OpenIdx(filepath.Join(data, "mnist"), Test, digits)
	if err != nil {
		t.Fatal(err)
	}
	// The MD5 of t10k-images-idx3-ubyte covers its header too.
	sum := md5.Sum(idxFile(0x08, []uint32{10000, 28, 28}, m.pixels...))
	if got := hex.EncodeToString(sum[:]); got != "2646ac647ad5339dbf082846283269ea" {
		t.Errorf("the test images have MD5 %s", got)
	}
	if m.Len() != 10000 || m.Label(0) != 7 {
		t.Errorf("%d images, the first of class %d", m.Len(), m.Label(0))
	}
	omniglot := filepath.Join(data, "omniglot")
	o, err := OpenIdxFiles(
		[]string{omniglot + "/background-images-28x28-idx3-ubyte.gz", omniglot + "/evaluation-images-28x28-idx3-ubyte.gz"},
		[]string{omniglot + "/background-character-idx1-short.gz", omniglot + "/evaluation-character-idx1-short.gz"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.Len() != 32460 || len(o.Classes()) != 1623 || o.Classes()[1622] != "1623" {
		t.Errorf("Omniglot: %d images of %d classes", o.Len(), len(o.Classes()))
	}
}

// FuzzDecodeIdx: what is accepted has exactly the bytes that its header says.
func FuzzDecodeIdx(f *testing.F) {
	f.Add(twoImages)
	f.Add(twoLabels)
	f.Add(gzipped(twoImages))
	f.Add(idxFile(0x0b, []uint32{2}, 0, 1, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, content []byte) {
		x, err := decodeIdx(bytes.NewReader(content))
		if err != nil {
			return
		}
		n := map[byte]int{idxUint8: 1, idxInt16: 2}[x.kind]
		for _, d := range x.dims {
			n *= d
		}
		if n != len(x.data) {
			t.Fatalf("%d bytes for dimensions %v", len(x.data), x.dims)
		}
		if labels, ok := x.labels(); ok && len(labels) != x.dims[0] {
			t.Fatalf("%d labels for dimensions %v", len(labels), x.dims)
		}
	})
}
