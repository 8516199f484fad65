package dataset

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"codeberg.org/sbinet/npyio"
	"github.com/google/go-cmp/cmp"
)

// npyFile is a file in numpy's format 1.0 with this header and data.
func npyFile(dict string, data ...byte) []byte {
	header := append([]byte("\x93NUMPY\x01\x00"), byte(len(dict)), byte(len(dict)>>8))
	return slices.Concat(header, []byte(dict), data)
}

func npyDictOf(kind string, shape string) string {
	return fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n", kind, shape)
}

// npyBytes is an array of bytes 1, 2, 3 and so on.
func npyBytes(shape ...int) []byte {
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = uint8(i + 1)
	}
	text := strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ", "), "[]")
	return npyFile(npyDictOf("|u1", text+","), data...)
}

func npzOf(t testing.TB, arrays map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range arrays {
		w, err := z.Create(name + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// int64s is a file of 64-bit integers.
func int64s(values ...int64) []byte {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, uint64(v))
	}
	return npyFile(npyDictOf("<i8", fmt.Sprintf("%d,", len(values))), data...)
}

// TestOpenNPZ: the names that archives use, with and without channels, and the
// two places of a held-out split.
func TestOpenNPZ(t *testing.T) {
	rgb, labels := npyBytes(2, 2, 1, 3), int64s(1, 0)
	want := [][]uint8{{1, 4, 2, 5, 3, 6}, {7, 10, 8, 11, 9, 12}} // channels apart
	for name, arrays := range map[string]map[string][]byte{
		"ours":  {"arr_0": rgb, "arr_1": labels},
		"Keras": {"x_train": rgb, "y_train": npyFile(npyDictOf("|u1", "2, 1"), 1, 0), "x_test": npyBytes(1, 2, 1, 3), "y_test": int64s(1)},
		"MedMNIST": {"train_images": rgb, "train_labels": npyFile(npyDictOf(">u2", "2,"), 0, 1, 0, 0), "val_images": npyBytes(1, 2, 1, 3), "val_labels": int64s(1),
			"test_images": npyBytes(1, 2, 1, 3), "test_labels": int64s(0)},
	} {
		dir := tree(t, map[string][]byte{"some.npz": npzOf(t, arrays), "test.npz": npzOf(t, map[string][]byte{"images": npyBytes(1, 2, 1, 3), "labels": int64s(1)})})
		s := Source{Kind: KindNPZ, Folder: dir, Classes: ab}
		o, err := s.Open(Train)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, [][]uint8{o.Image(0), o.Image(1)}); diff != "" || o.Label(0) != 1 || o.Label(1) != 0 {
			t.Errorf("%s: labels %v, %s", name, o.labels, diff)
		}
		test, err := s.Open(Test)
		if err != nil || test.Len() != 1 || test.Label(0) != map[string]int{"MedMNIST": 0}[name]+map[string]int{"ours": 1, "Keras": 1}[name] {
			t.Errorf("%s: held out: %v", name, err)
		}
	}
	grey := tree(t, map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": npyBytes(2, 2, 3), "labels": int64s(0, 7)}), "val.npz": {}, "y.npz": {}})
	o, err := Source{Kind: KindNPZ, Folder: grey, Images: []string{"x.npz"}}.Open(Train)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0", "7"}, o.Classes()); diff != "" || o.Label(1) != 1 || !bytes.Equal(o.Image(1), []byte{7, 8, 9, 10, 11, 12}) {
		t.Errorf("public labels: %s", diff)
	}
}

// TestOpenNPZRefuses: one sentence each.
func TestOpenNPZRefuses(t *testing.T) {
	images, labels := npyBytes(2, 2, 3), int64s(1, 0)
	flawed := bytes.Clone(npzOf(t, map[string][]byte{"images": images}))
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  string
	}{
		{"no archive", map[string][]byte{"x.txt": nil}, "the data folder DIR has no .npz file to train on"},
		{"several archives", map[string][]byte{"x.npz": nil, "y.npz": nil}, "the data folder DIR has several .npz files, x.npz and y.npz among them: name one in data.images"},
		{"no zip", map[string][]byte{"x.npz": []byte("PK")}, "DIR/x.npz is not a readable npz archive: zip: not a valid zip file"},
		{"other arrays", map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"a": images, "b": labels})}, "DIR/x.npz has no images with labels: the arrays must be named images and labels, x_train and y_train, train_images and train_labels, or arr_0 and arr_1"},
		{"cut", map[string][]byte{"x.npz": flawed[:len(flawed)-30]}, "DIR/x.npz is not a readable npz archive: zip: not a valid zip file"},
		{"counts", map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": images, "labels": int64s(1)})}, "DIR/x.npz: its arrays images and labels do not belong together: they have different lengths"},
		{"objects", map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": npyFile(npyDictOf("|O", "2,"), 0x80), "labels": labels})}, "DIR/x.npz cannot be read: its array images holds Python objects, which are programs and are not read: save it as uint8 images or whole-number labels, with equal shapes"},
		{"object labels", map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": images, "labels": npyFile(npyDictOf("|O", "2,"), 0x80)})}, "DIR/x.npz cannot be read: its array labels holds Python objects, which are programs and are not read: save it as uint8 images or whole-number labels, with equal shapes"},
		{"a bomb", map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": npyFile(npyDictOf("|u1", "1000, 1000, 1000"), 0), "labels": labels})}, "DIR/x.npz cannot be read: its array images announces 1000000000 bytes, more than its file can well hold"},
		{"channels first", map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": npyBytes(2, 3, 4, 5), "labels": labels})}, "DIR/x.npz cannot be read: its array images has the shape [2 3 4 5]; the last dimension of [n, height, width, channels] must be 1 (grey) or 3 (RGB)"},
		{"a label too many", map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": images, "labels": int64s(1, 2)})}, "DIR: a label lies outside 0 to 1: the data have other classes than the 2 declared"},
		{"a label skipped", map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": images, "labels": int64s(1, 1)})}, `no image in DIR has the class "a" (label 0): add images of it, or take it out of data.class_names`},
	} {
		dir := tree(t, c.files)
		_, err := Source{Kind: KindNPZ, Folder: dir, Classes: ab}.Open(Train)
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

// TestDecodeNPYRefuses: what an array may have wrong, behind its name. Nothing
// of an announced size is allocated before it is there.
func TestDecodeNPYRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "is not an array in numpy's format"},
		{"a pickle", []byte("\x80\x04\x95......"), "is not an array in numpy's format"},
		{"version 9", []byte("\x93NUMPY\x09\x00\x01\x00\x00\x00 "), "is not an array in numpy's format"},
		{"cut header", npyBytes(2, 2)[:30], "is truncated inside its header"},
		{"huge header", []byte("\x93NUMPY\x02\x00\xff\xff\xff\xff"), "has a header that is not numpy's"},
		{"no shape", npyFile("{'descr': '|u1', 'fortran_order': False}"), "has a header that is not numpy's"},
		{"records", npyFile("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,), }"), "has records as values; images are uint8 and labels whole numbers"},
		{"floats", npyFile(npyDictOf("<f4", "2,"), make([]byte, 8)...), `has values of numpy's type "f4"; images are uint8 from 0 to 255 and labels whole numbers: convert it`},
		{"text", npyFile(npyDictOf("<U3", "2,"), make([]byte, 24)...), `has values of numpy's type "U3"; images are uint8 from 0 to 255 and labels whole numbers: convert it`},
		{"scalar", npyFile(npyDictOf("|u1", ""), 1), "has 0 dimensions; images have 3 or 4 and labels 1"},
		{"too large", npyFile(npyDictOf("|u1", "1000000, 1000000, 3"), 1), "announces more than 17179869184 bytes"},
		{"overflow", npyFile(npyDictOf("<u8", "4294967295, 4294967295, 4294967295"), 1), "announces more than 17179869184 bytes"},
		{"negative", npyFile(npyDictOf("|u1", "-1,"), 1), "has a header that is not numpy's"},
		{"truncated", npyBytes(2, 9)[:80], "is truncated: its shape needs 18 bytes and 9 follow"},
		{"truncated, and large", npyFile(npyDictOf("|u1", "10000, 1000, 1000"), 1), "is truncated: its shape needs 10000000000 bytes and 1 follow"},
		{"longer", append(npyBytes(2, 2), 0), "goes on after the 4 bytes of its shape"},
	} {
		_, err := decodeNPY(bytes.NewReader(c.file), maxArrayBytes)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	for _, c := range []struct {
		array npy
		want  string
	}{
		{npy{kind: "u1", width: 1, shape: []int{2, 2}, data: make([]byte, 4)}, "has the shape [2 2]; labels are one whole number for each image"},
		{npy{kind: "i8", width: 8, shape: []int{1}, data: int64s(-1)[len(int64s(-1))-8:]}, "has labels that are negative or more than 65535"},
		{npy{kind: "i8", width: 8, shape: []int{1}, data: int64s(1e6)[len(int64s(1))-8:]}, "has labels that are negative or more than 65535"},
		{npy{kind: "i1", width: 1, shape: []int{1}, data: []byte{255}}, "has labels that are negative or more than 65535"},
	} {
		if got, err := c.array.labels(); err == nil || err.Error() != c.want {
			t.Errorf("labels %v: %v, %v, want %s", c.array, got, err, c.want)
		}
	}
	fortran := npy{kind: "u1", width: 1, fortran: true, shape: []int{1, 2, 2}, data: make([]byte, 4)}
	if _, err := fortran.images(); err == nil || err.Error() != "is in Fortran order; save numpy.ascontiguousarray of it" {
		t.Error(err)
	}
}

// TestDecodeNPYAgainstAnother reads labels of every width and sign and compares
// them with another implementation's.
func TestDecodeNPYAgainstAnother(t *testing.T) {
	values := []int64{0, 1, 77, 127}
	check := func(kind string, v any) {
		t.Helper()
		var b bytes.Buffer
		if err := npyio.Write(&b, v); err != nil {
			t.Fatal(err)
		}
		a, err := decodeNPY(&b, maxArrayBytes)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		labels, err := a.labels()
		if err != nil || a.kind != kind || len(labels) != len(values) {
			t.Fatalf("%s: %v of type %s, %v", kind, labels, a.kind, err)
		}
		for i, l := range labels {
			if int64(l) != values[i] {
				t.Errorf("%s: %v, want %v", kind, labels, values)
			}
		}
	}
	check("u1", converted[uint8](values))
	check("i1", converted[int8](values))
	check("u2", converted[uint16](values))
	check("i2", converted[int16](values))
	check("u4", converted[uint32](values))
	check("i4", converted[int32](values))
	check("u8", converted[uint64](values))
	check("i8", converted[int64](values))
}

func converted[T int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64](values []int64) []T {
	out := make([]T, len(values))
	for i, v := range values {
		out[i] = T(v)
	}
	return out
}

// FuzzDecodeNPZ: whatever the bytes, images of the announced shape with labels
// below the limit, or an error.
func FuzzDecodeNPZ(f *testing.F) {
	f.Add(npzOf(f, map[string][]byte{"images": npyBytes(2, 2, 3), "labels": int64s(1, 0)}))
	f.Add(npzOf(f, map[string][]byte{"images": npyBytes(2, 2, 3, 3), "labels": npyFile(npyDictOf(">u2", "2, 1"), 0, 1, 0, 0)}))
	f.Add(npzOf(f, map[string][]byte{"images": npyFile(npyDictOf("|O", "2,"), 0x80), "labels": int64s(1)}))
	f.Fuzz(func(t *testing.T, content []byte) {
		z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil || entry(z, "images") == nil || entry(z, "labels") == nil {
			return
		}
		l, err := decodeNPZ(z, "f.npz", [2]string{"images", "labels"})
		if err != nil {
			return
		}
		checkLabelled(t, l)
	})
}

func FuzzDecodeNPY(f *testing.F) {
	for _, file := range [][]byte{npyBytes(2, 2, 3), int64s(1, 0), npyFile(npyDictOf("|O", "2,"), 0x80), npyFile(npyDictOf("<u8", "4294967295, 4294967295"), 1)} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		a, err := decodeNPY(bytes.NewReader(content), maxArrayBytes)
		if err != nil {
			return
		}
		n := a.width
		for _, d := range a.shape {
			n *= d
		}
		if n != len(a.data) {
			t.Fatalf("%d bytes of shape %v", len(a.data), a.shape)
		}
		if l, err := a.labels(); err == nil && (len(l) != a.shape[0]) {
			t.Fatalf("labels %v", l)
		}
		if l, err := a.images(); err == nil {
			l.labels = make([]uint16, a.shape[0])
			checkLabelled(t, l)
		}
	})
}

func checkLabelled(t *testing.T, l *labelled) {
	t.Helper()
	if l.c != 1 && l.c != 3 || len(l.pixels) != len(l.labels)*l.c*l.h*l.w || len(l.labels) == 0 {
		t.Fatalf("%d bytes of %d images of %d x %d x %d", len(l.pixels), len(l.labels), l.c, l.h, l.w)
	}
	if p := l.picture(len(l.labels) - 1); len(p.pix) != p.c*p.h*p.w {
		t.Fatalf("a picture of %d bytes", len(p.pix))
	}
}

// cifarBatch are records of images whose pixels are all the label's number.
func cifarBatch(coarse bool, labels ...uint8) (b []byte) {
	for _, l := range labels {
		if coarse {
			b = append(b, 99)
		}
		b = append(append(b, l), bytes.Repeat([]byte{l}, 1024)...)
		b = append(append(b, bytes.Repeat([]byte{l + 1}, 1024)...), bytes.Repeat([]byte{l + 2}, 1024)...)
	}
	return b
}

func TestOpenCIFAR(t *testing.T) {
	for name, files := range map[string]map[string][]byte{
		"CIFAR-10":  {"data_batch_1.bin": cifarBatch(false, 1), "data_batch_2.bin": cifarBatch(false, 0, 1), "test_batch.bin": cifarBatch(false, 0), "batches.meta.txt": []byte("a\nb\n\n")},
		"CIFAR-100": {"train.bin": cifarBatch(true, 1, 0, 1), "test.bin": cifarBatch(true, 0), "fine_label_names.txt": []byte("a\r\nb\r\n")},
	} {
		dir := tree(t, files)
		for _, classes := range [][]string{nil, ab} {
			s := Source{Kind: KindCIFAR, Folder: dir, Classes: classes}
			o, err := s.Open(Train)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff([]string{"image 0 b 1", "image 1 a 0", "image 2 b 1"}, shades(o)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			if p := o.Image(0); p[1023] != 1 || p[1024] != 2 || p[2048] != 3 {
				t.Errorf("%s: the colours are mixed", name)
			}
			if o, err = s.Open(Test); err != nil || o.Len() != 1 {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err := Source{Kind: KindCIFAR, Folder: dir, Classes: []string{"b", "a"}}.Open(Train)
		if want := "data.class_names are not the names that " + dir + " gives its labels, in the order of the labels: declare these"; err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"cut":   {map[string][]byte{"data_batch_1.bin": cifarBatch(false, 1, 0)[:4000]}, "DIR/data_batch_1.bin is not a readable CIFAR batch: its length is no multiple of 3073 bytes, the 1 of the label and 3072 of an image"},
		"empty": {map[string][]byte{"train.bin": nil}, "DIR/train.bin holds no images"},
		"none":  {map[string][]byte{"test.bin": nil}, "the data folder DIR has neither data_batch_1.bin nor train.bin"},
		"label": {map[string][]byte{"data_batch_1.bin": cifarBatch(false, 1, 0, 2)}, "DIR: a label lies outside 0 to 1: the data have other classes than the 2 declared"},
	} {
		dir := tree(t, c.files)
		_, err := Source{Kind: KindCIFAR, Folder: dir, Classes: ab}.Open(Train)
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func FuzzCIFAR(f *testing.F) {
	f.Add(cifarBatch(false, 1, 0), false)
	f.Add(cifarBatch(true, 1, 0), true)
	f.Add(cifarBatch(true, 1)[:3000], false)
	f.Fuzz(func(t *testing.T, content []byte, coarse bool) {
		labels := 1
		if coarse {
			labels = 2
		}
		l := &labelled{c: 3, h: cifarSide, w: cifarSide}
		err := l.appendCIFAR(bytes.NewReader(content), labels)
		if whole := len(content)%(labels+cifarBytes) == 0; whole != (err == nil) {
			t.Fatalf("%d bytes: %v", len(content), err)
		}
		if len(l.labels) > 0 {
			checkLabelled(t, l)
		}
	})
}

// TestOpenStrip: several tall pictures one after another, grey and RGB; the
// held-out ones by their names.
func TestOpenStrip(t *testing.T) {
	strip := func(h int, shades ...uint8) []byte {
		m := image.NewGray(image.Rect(0, 0, 2, h*len(shades)))
		for i := range m.Pix {
			m.Pix[i] = shades[i/(2*h)]
		}
		return pngOf(t, m)
	}
	labels := func(values ...byte) []byte { return idxFile(0x08, []uint32{uint32(len(values))}, values...) }
	dir := tree(t, map[string][]byte{
		"train-2.png": strip(3, 30), "train-2-labels-idx1-ubyte": labels(1),
		"train-1.png": strip(3, 10, 20), "train-1-labels-idx1-ubyte.gz": gzipped(labels(1, 0)),
		"testimony.png": strip(3, 99), "testimony-labels-idx1-ubyte": labels(0), // no held-out one
		"test.png": strip(3, 40), "test-labels-idx1-ubyte": labels(0), "test-labels-idx1-ubyte.gz": gzipped(labels(0)),
		"classes.txt": []byte("a\nb\n"),
	})
	s := Source{Kind: KindStrip, Folder: dir}
	for split, want := range map[Split][]string{Train: {"image 0 a 99", "image 1 b 10", "image 2 a 20", "image 3 b 30"}, Test: {"image 0 a 40"}} {
		o, err := s.Open(split)
		if err != nil {
			t.Fatal(err)
		}
		if _, h, w := o.Shape(); h != 3 || w != 2 {
			t.Errorf("%s: %d x %d", split, w, h)
		}
		if diff := cmp.Diff(want, shades(o)); diff != "" {
			t.Errorf("%s: %s", split, diff)
		}
	}
	s.Images, s.Labels, s.Classes = []string{"train-1.png"}, []string{"train-1-labels-idx1-ubyte.gz"}, ab
	if o, err := s.Open(Train); err != nil || o.Len() != 2 {
		t.Errorf("one strip by name: %v", err)
	}
	rgb := drawn(image.NewRGBA(image.Rect(0, 0, 4, 15)))
	p, err := decodePicture(bytes.NewReader(pngOf(t, rgb)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := cutStrip(p, make([]uint16, 5))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		one, err := decodePicture(bytes.NewReader(pngOf(t, rgb.SubImage(image.Rect(0, 3*i, 4, 3*i+3)))))
		if got := l.picture(i); err != nil || !bytes.Equal(one.pix, got.pix) {
			t.Errorf("image %d is cut wrongly, %v", i, err)
		}
	}
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"no strips":   {map[string][]byte{"x.png": nil}, "the data folder DIR has no PNG file to train on with its labels, NAME.png with NAME-labels-idx1-ubyte or NAME-labels-idx1-ubyte.gz"},
		"no picture":  {map[string][]byte{"x-labels-idx1-ubyte": labels(1)}, "DIR has labels for x.png, which is not there"},
		"corrupt":     {map[string][]byte{"x.png": strip(3, 1)[:40], "x-labels-idx1-ubyte": labels(1)}, "DIR/x.png is truncated"},
		"no label":    {map[string][]byte{"x.png": strip(3, 1), "x-labels-idx1-ubyte": labels()}, "DIR/x.png with DIR/x-labels-idx1-ubyte: there are no labels"},
		"rows":        {map[string][]byte{"x.png": strip(3, 1, 2, 3), "x-labels-idx1-ubyte": labels(1, 0)}, "DIR/x.png with DIR/x-labels-idx1-ubyte: the picture's height is no multiple of the number of labels: each image takes the same number of rows"},
		"two heights": {map[string][]byte{"x.png": strip(3, 1), "x-labels-idx1-ubyte": labels(1), "y.png": strip(4, 1), "y-labels-idx1-ubyte": labels(0)}, "DIR/y.png has images of 2 x 4 pixels in 1 channels, DIR/x.png of 2 x 3 in 1"},
		"images":      {map[string][]byte{"x.png": strip(3, 1), "x-labels-idx1-ubyte": twoImages}, "DIR/x-labels-idx1-ubyte does not hold labels: it has 3-dimensional unsigned bytes"},
	} {
		dir := tree(t, c.files)
		_, err := Source{Kind: KindStrip, Folder: dir, Classes: ab}.Open(Train)
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func FuzzStrip(f *testing.F) {
	f.Add(pngOf(f, drawn(image.NewGray(image.Rect(0, 0, 2, 6)))), uint16(3))
	f.Add(pngOf(f, drawn(image.NewRGBA(image.Rect(0, 0, 2, 6)))), uint16(2))
	f.Add(pngOf(f, drawn(image.NewRGBA(image.Rect(0, 0, 2, 6)))), uint16(0))
	f.Fuzz(func(t *testing.T, content []byte, n uint16) {
		if c, _, err := image.DecodeConfig(bytes.NewReader(content)); err == nil && c.Width*c.Height > 1<<20 {
			t.Skip("slow to decode")
		}
		p, err := decodePicture(bytes.NewReader(content))
		if err != nil {
			return
		}
		if l, err := cutStrip(p, make([]uint16, n)); err == nil {
			checkLabelled(t, l)
		}
	})
}

// TestSurvey: what a survey says of each kind is what opening gives, and a class
// without images is seen by its count.
func TestSurvey(t *testing.T) {
	for _, c := range []struct {
		files   map[string][]byte
		want    Found
		problem []string
	}{
		{map[string][]byte{"b/1.png": greyPNG(t, 4, 3, 1), "a/1.png": rgbPNGOf(t), "a/2.png": {'x'}, "c/": nil, "x.csv": nil},
			Found{Kind: KindFolder, Classes: []string{"a", "b", "c"}, Counts: []int{1, 1, 0}, Images: 2, Sizes: []Size{{4, 3, 1}, {5, 6, 1}}, Channels: map[int]int{1: 1, 3: 1},
				Unreadable: []Unreadable{{"a/2.png", "is neither a PNG nor a JPEG file"}}},
			[]string{"1 file cannot be used", `the class "c" (label 2) has no image`, "2 different sizes", "some images are grey"}},
		{map[string][]byte{"train-images-idx3-ubyte": twoImages, "train-labels-idx1-ubyte": idxFile(0x08, []uint32{2}, 2, 0), "t10k-images-idx3-ubyte": twoImages, "t10k-labels-idx1-ubyte": twoLabels},
			Found{Kind: KindIdx, Classes: []string{"0", "1", "2"}, Counts: []int{1, 0, 1}, Images: 2, Sizes: []Size{{1, 3, 2}}, Channels: map[int]int{1: 2}, TestImages: 2},
			[]string{`the class "1" (label 1) has no image`}},
		{map[string][]byte{"x.npz": npzOf(t, map[string][]byte{"images": npyBytes(2, 2, 3), "labels": int64s(1, 0)})},
			Found{Kind: KindNPZ, Classes: []string{"0", "1"}, Counts: []int{1, 1}, Images: 2, Sizes: []Size{{2, 3, 2}}, Channels: map[int]int{1: 2}}, nil},
		{map[string][]byte{"train.bin": cifarBatch(true, 1, 1), "fine_label_names.txt": []byte("a\nb")},
			Found{Kind: KindCIFAR, Classes: ab, Counts: []int{0, 2}, Images: 2, Repeated: 1, Sizes: []Size{{32, 32, 2}}, Channels: map[int]int{3: 2}},
			[]string{`the class "a" (label 0) has no image`, "1 image equal, pixel for pixel, to an earlier one"}},
		{map[string][]byte{"x.png": greyPNG(t, 4, 2, 9), "x-labels-idx1-ubyte": twoLabels},
			Found{Kind: KindStrip, Classes: []string{"0", "1"}, Counts: []int{1, 1}, Images: 2, Conflicts: []Conflict{{"image 0", "image 1"}}, Sizes: []Size{{2, 2, 2}}, Channels: map[int]int{1: 2}},
			[]string{"1 pair of images, equal pixel for pixel, under different labels"}},
	} {
		dir := tree(t, c.files)
		found, err := Survey(dir)
		if err != nil {
			t.Errorf("%s: %v", c.want.Kind, err)
			continue
		}
		c.want.Folder = dir
		if diff := cmp.Diff(&c.want, found); diff != "" {
			t.Errorf("%s: %s", c.want.Kind, diff)
		}
		problems := found.Problems()
		if len(problems) != len(c.problem) {
			t.Errorf("%s: %q, want %q", c.want.Kind, problems, c.problem)
			continue
		}
		for i, p := range problems {
			if !strings.Contains(p, c.problem[i]) {
				t.Errorf("%s: %q, want %q", c.want.Kind, p, c.problem[i])
			}
		}
	}
	for dir, want := range map[string]string{
		tree(t, map[string][]byte{"x.txt": nil}):       "holds no images of a known kind",
		filepath.Join(t.TempDir(), "nowhere"):          "there is no data folder",
		write(t, filepath.Join(t.TempDir(), "x"), nil): "is not a folder",
	} {
		if _, err := Survey(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func rgbPNGOf(t *testing.T) []byte { return pngOf(t, drawn(image.NewRGBA(image.Rect(0, 0, 6, 5)))) }

// TestCIFARStrips reads the real strips of CIFAR-10's test set, whose channels'
// means are close to the published ones of the training set.
func TestCIFARStrips(t *testing.T) {
	data := os.Getenv("DPLODA_DATA")
	if data == "" {
		t.Skip("DPLODA_DATA names no folder of data sets")
	}
	o, err := Source{Kind: KindStrip, Folder: filepath.Join(data, "cifar10")}.Open(Test)
	if err != nil {
		t.Fatal(err)
	}
	if o.Len() != 10_000 || len(o.Classes()) != 10 || o.Classes()[9] != "truck" || o.Label(17) != 7 {
		t.Errorf("%d images of the classes %q", o.Len(), o.Classes())
	}
	var sums [3]float64
	for i := range o.Len() {
		for at, v := range o.Image(i) {
			sums[at/1024] += float64(v)
		}
	}
	for c, want := range []float64{0.4914, 0.4822, 0.4465} {
		if got := sums[c] / 1024 / 255 / float64(o.Len()); math.Abs(got-want) > 0.01 {
			t.Errorf("channel %d has the mean %.4f, want about %.4f", c, got, want)
		}
	}
}
