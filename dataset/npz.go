package dataset

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// arrayPairs are the names under which archives hold images and their labels:
// of dploda's and guided-diffusion's samples, Keras' data sets and MedMNIST.
var arrayPairs = map[Split][][2]string{
	Train: {{"x_train", "y_train"}, {"train_images", "train_labels"}, {"images", "labels"}, {"arr_0", "arr_1"}},
	Test:  {{"x_test", "y_test"}, {"test_images", "test_labels"}, {"val_images", "val_labels"}},
}

// findNPZ is the archive of a split and the names of its arrays; no archive
// means that the split is not there. images, if given, is the training
// archive. A held-out split is arrays of that archive, or test.npz or val.npz
// beside it.
func findNPZ(dir string, images []string, split Split) (path string, names [2]string, err error) {
	if len(images) > 0 {
		path = filepath.Join(dir, images[0])
	} else if path, err = trainNPZ(dir); err != nil {
		return "", names, err
	}
	names, has, err := arraysOf(path, split)
	switch {
	case err != nil || has:
		return path, names, err
	case split == Train:
		return "", names, fmt.Errorf("%s has no images with labels: the arrays must be named images and labels, x_train and y_train, train_images and train_labels, or arr_0 and arr_1", path)
	}
	for _, name := range heldOut {
		path := filepath.Join(dir, name+".npz")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		for _, s := range []Split{Test, Train} {
			if names, has, err = arraysOf(path, s); err != nil || has {
				return path, names, err
			}
		}
		return "", names, fmt.Errorf("%s has no images with labels", path)
	}
	return "", names, nil
}

// trainNPZ is train.npz or the only archive that is not held out by its name.
func trainNPZ(dir string) (string, error) {
	matches, err := fs.Glob(os.DirFS(dir), "*.npz")
	if err != nil {
		return "", err
	}
	var found []string
	for _, name := range matches {
		switch {
		case name == "train.npz":
			return filepath.Join(dir, name), nil
		case name != "test.npz" && name != "val.npz" && !ignored(name):
			found = append(found, filepath.Join(dir, name))
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("the data folder %s has no .npz file to train on", dir)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("the data folder %s has several .npz files, %s and %s among them: name one in data.images", dir, filepath.Base(found[0]), filepath.Base(found[1]))
}

// arraysOf says which of a split's pairs an archive has.
func arraysOf(path string, split Split) (names [2]string, has bool, err error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return names, false, fmt.Errorf("%s is not a readable npz archive: %w", path, err)
	}
	defer z.Close()
	for _, pair := range arrayPairs[split] {
		if entry(&z.Reader, pair[0]) != nil && entry(&z.Reader, pair[1]) != nil {
			return pair, true, nil
		}
	}
	return names, false, nil
}

func entry(z *zip.Reader, name string) *zip.File {
	for _, f := range z.File {
		if f.Name == name+".npy" {
			return f
		}
	}
	return nil
}

// labelled are images of one shape and their labels as a file holds them.
type labelled struct {
	c, h, w int
	last    bool // the channels come last, as in numpy, not first
	pixels  []uint8
	labels  []uint16
}

// picture is image i.
func (l *labelled) picture(i int) picture {
	n := l.c * l.h * l.w
	pix := l.pixels[i*n : (i+1)*n : (i+1)*n]
	if !l.last || l.c == 1 {
		return picture{l.c, l.h, l.w, pix}
	}
	p := picture{l.c, l.h, l.w, make([]uint8, n)}
	for at := range l.h * l.w {
		for c := range l.c {
			p.pix[c*l.h*l.w+at] = pix[at*l.c+c]
		}
	}
	return p
}

func readNPZ(path string, names [2]string) (*labelled, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("%s is not a readable npz archive: %w", path, err)
	}
	defer z.Close()
	return decodeNPZ(&z.Reader, path, names)
}

func decodeNPZ(z *zip.Reader, path string, names [2]string) (*labelled, error) {
	var arrays [2]npy
	for i, name := range names {
		a, err := readEntry(entry(z, name))
		if err != nil {
			return nil, fmt.Errorf("%s cannot be read: its array %s %w", path, name, err)
		}
		arrays[i] = a
	}
	l, err := arrays[0].images()
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: its array %s %w", path, names[0], err)
	}
	if l.labels, err = arrays[1].labels(); err != nil {
		return nil, fmt.Errorf("%s cannot be read: its array %s %w", path, names[1], err)
	}
	if arrays[0].shape[0] != len(l.labels) {
		return nil, fmt.Errorf("%s: its arrays %s and %s do not belong together: they have different lengths", path, names[0], names[1])
	}
	return l, nil
}

// npy is an array in numpy's format (numpy.lib.format), versions 1 to 3.
type npy struct {
	kind    string // numpy's descr: "|u1"
	width   int    // bytes of a value
	big     bool   // big-endian
	fortran bool
	shape   []int
	data    []byte
}

func readEntry(file *zip.File) (npy, error) {
	r, err := file.Open()
	if err != nil {
		return npy{}, fmt.Errorf("cannot be unpacked: %w", err)
	}
	defer r.Close()
	return decodeNPY(r, min(maxArrayBytes, max(unpackedFreely, mostPacked*int64(file.CompressedSize64))))
}

// Bounds of an array. Images do not pack as well as a bomb does, which is made
// to fill the memory; what is small may pack as it will.
const (
	maxArrayBytes  = 1 << 34
	unpackedFreely = 1 << 28
	mostPacked     = 200 // bytes out of one
)

// decodeNPY reads a whole array of integers, of at most so many bytes. Objects
// are pickles, programs that run when they are read: they are refused.
func decodeNPY(file io.Reader, most int64) (npy, error) {
	r := bufio.NewReaderSize(file, 1<<16)
	a, size, err := decodeNPYHeader(r)
	if err != nil {
		return npy{}, err
	}
	if size > most {
		return npy{}, fmt.Errorf("announces %d bytes, more than its file can well hold", size)
	}
	// ReadAll grows with what is really there.
	a.data, err = io.ReadAll(io.LimitReader(r, size))
	switch {
	case err != nil:
		return npy{}, fmt.Errorf("is damaged: %w", err)
	case int64(len(a.data)) < size:
		return npy{}, fmt.Errorf("is truncated: its shape needs %d bytes and %d follow", size, len(a.data))
	}
	// The read past the end also makes the archive verify its checksum.
	switch n, err := io.ReadFull(r, make([]byte, 1)); {
	case n > 0:
		return npy{}, fmt.Errorf("goes on after the %d bytes of its shape", size)
	case err != io.EOF:
		return npy{}, fmt.Errorf("is damaged: %w", err)
	}
	return a, nil
}

var (
	npyKind    = regexp.MustCompile(`'descr':\s*'([<>|=]?)([a-zA-Z])(\d*)'`)
	npyFortran = regexp.MustCompile(`'fortran_order':\s*(True|False)`)
	npyShape   = regexp.MustCompile(`'shape':\s*\(([0-9, ]*)\)`)
)

// maxNPYHeader bounds the text of a header, which is 64 to some hundred bytes.
const maxNPYHeader = 1 << 16

func decodeNPYHeader(r io.Reader) (a npy, size int64, err error) {
	dict, err := npyDict(r)
	if err != nil {
		return npy{}, 0, err
	}
	kind, fortran, shape := npyKind.FindSubmatch(dict), npyFortran.FindSubmatch(dict), npyShape.FindSubmatch(dict)
	if fortran == nil || shape == nil {
		return npy{}, 0, errors.New("has a header that is not numpy's")
	}
	switch {
	case kind == nil:
		return npy{}, 0, errors.New("has records as values; images are uint8 and labels whole numbers")
	case string(kind[2]) == "O":
		return npy{}, 0, errors.New("holds Python objects, which are programs and are not read: save it as uint8 images or whole-number labels, with equal shapes")
	}
	a.kind, a.big, a.fortran = string(kind[2])+string(kind[3]), string(kind[1]) == ">", string(fortran[1]) == "True"
	switch a.kind {
	case "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8":
		a.width = int(a.kind[1] - '0')
	default:
		return npy{}, 0, fmt.Errorf("has values of numpy's type %q; images are uint8 from 0 to 255 and labels whole numbers: convert it", a.kind)
	}
	total := uint64(a.width)
	for d := range strings.FieldsFuncSeq(string(shape[1]), func(c rune) bool { return c == ',' || c == ' ' }) {
		n, err := strconv.ParseUint(d, 10, 32)
		hi, lo := bits.Mul64(total, n)
		if err != nil || hi != 0 || lo > maxArrayBytes {
			return npy{}, 0, fmt.Errorf("announces more than %d bytes", uint64(maxArrayBytes))
		}
		a.shape, total = append(a.shape, int(n)), lo
	}
	if len(a.shape) == 0 || len(a.shape) > 4 {
		return npy{}, 0, fmt.Errorf("has %d dimensions; images have 3 or 4 and labels 1", len(a.shape))
	}
	return a, int64(total), nil
}

// npyDict is the text of a header.
func npyDict(r io.Reader) ([]byte, error) {
	var start [8]byte
	if _, err := io.ReadFull(r, start[:]); err != nil || string(start[:6]) != "\x93NUMPY" || start[6] < 1 || start[6] > 3 {
		return nil, errors.New("is not an array in numpy's format")
	}
	length := make([]byte, 2)
	if start[6] > 1 {
		length = make([]byte, 4)
	}
	if _, err := io.ReadFull(r, length); err != nil {
		return nil, errors.New("is truncated inside its header")
	}
	var n uint32
	if len(length) == 2 {
		n = uint32(binary.LittleEndian.Uint16(length))
	} else {
		n = binary.LittleEndian.Uint32(length)
	}
	if n > maxNPYHeader {
		return nil, errors.New("has a header that is not numpy's")
	}
	dict := make([]byte, n)
	if _, err := io.ReadFull(r, dict); err != nil {
		return nil, errors.New("is truncated inside its header")
	}
	return dict, nil
}

// images are an array [n, height, width] or [n, height, width, channels] of
// bytes.
func (a npy) images() (*labelled, error) {
	l := &labelled{c: 1, last: true, pixels: a.data}
	switch {
	case a.kind != "u1":
		return nil, fmt.Errorf("has values of numpy's type %q; images are uint8 from 0 to 255: convert it", a.kind)
	case len(a.shape) < 3:
		return nil, fmt.Errorf("has %d dimensions; images have [n, height, width] or [n, height, width, channels]", len(a.shape))
	case len(a.shape) == 4:
		l.c = a.shape[3]
	}
	l.h, l.w = a.shape[1], a.shape[2]
	switch {
	case l.c != 1 && l.c != 3:
		return nil, fmt.Errorf("has the shape %v; the last dimension of [n, height, width, channels] must be 1 (grey) or 3 (RGB)", a.shape)
	case a.fortran:
		return nil, errors.New("is in Fortran order; save numpy.ascontiguousarray of it")
	case len(a.data) == 0:
		return nil, errors.New("holds no pixels")
	}
	return l, nil
}

// labels are an array [n] or [n, 1].
func (a npy) labels() ([]uint16, error) {
	if len(a.shape) != 1 && (len(a.shape) != 2 || a.shape[1] != 1) {
		return nil, fmt.Errorf("has the shape %v; labels are one whole number for each image", a.shape)
	}
	out := make([]uint16, a.shape[0])
	for i := range out {
		var v uint64
		for k := range a.width {
			at := k // from the most significant byte
			if !a.big {
				at = a.width - 1 - k
			}
			v = v<<8 | uint64(a.data[i*a.width+at])
		}
		if a.kind[0] == 'i' && v>>(8*a.width-1) == 1 || v >= maxClasses {
			return nil, fmt.Errorf("has labels that are negative or more than %d", maxClasses-1)
		}
		out[i] = uint16(v)
	}
	return out, nil
}
