package dataset

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Split names one of a data set's two parts, as MNIST's files do.
type Split string

const (
	Train Split = "train"
	Test  Split = "t10k"
)

func (s Split) images() string { return string(s) + "-images-idx3-ubyte" }
func (s Split) labels() string { return string(s) + "-labels-idx1-ubyte" }

// OpenIdx reads one split of a folder with MNIST's file names, plain or .gz.
// Labels must lie in 0 to len(classes)-1; see OpenIdxFiles for nil classes.
func OpenIdx(folder string, split Split, classes []string) (*Memory, error) {
	images, err := plainOrGzip(folder, split.images())
	if err != nil {
		return nil, err
	}
	labels, err := plainOrGzip(folder, split.labels())
	if err != nil {
		return nil, err
	}
	return OpenIdxFiles([]string{images}, []string{labels}, classes)
}

// plainOrGzip is the path of the one that exists.
func plainOrGzip(folder, name string) (string, error) {
	for _, suffix := range []string{"", ".gz"} {
		path := filepath.Join(folder, name+suffix)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if errors.Is(err, syscall.ENOTDIR) {
			return "", fmt.Errorf("the data folder %s is not a folder", folder)
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("the data folder %s has neither %s nor %[2]s.gz", folder, name)
}

// OpenIdxFiles reads idx files of images [n, height, width] of unsigned bytes
// with files of labels [n] of unsigned bytes or 16-bit integers, pair by pair,
// into one data set. Each file may be gzipped.
//
// With nil classes the labels that occur are the classes, in ascending order,
// named by their number and counted from 0 anew. That tells which labels
// occur: it is for public data.
func OpenIdxFiles(images, labels []string, classes []string) (*Memory, error) {
	if len(images) == 0 || len(images) != len(labels) {
		return nil, fmt.Errorf("%d image files and %d label files do not make pairs", len(images), len(labels))
	}
	var pixels []uint8
	var all []uint16
	var h, w int
	for i := range images {
		im, err := readIdx(images[i])
		if err != nil {
			return nil, err
		}
		if im.kind != idxUint8 || len(im.dims) != 3 {
			return nil, fmt.Errorf("%s does not hold grey images: it has %s", images[i], im.describe())
		}
		if len(im.data) == 0 {
			return nil, fmt.Errorf("%s holds no pixels", images[i])
		}
		la, err := readIdx(labels[i])
		if err != nil {
			return nil, err
		}
		values, ok := la.labels()
		if !ok {
			return nil, fmt.Errorf("%s does not hold labels: it has %s", labels[i], la.describe())
		}
		if im.dims[0] != len(values) {
			return nil, fmt.Errorf("%s and %s do not belong together: they have different counts", images[i], labels[i])
		}
		if i > 0 && (im.dims[1] != h || im.dims[2] != w) {
			return nil, fmt.Errorf("%s has images of %d x %d pixels, %s of %d x %d", images[i], im.dims[2], im.dims[1], images[0], w, h)
		}
		h, w = im.dims[1], im.dims[2]
		pixels = appendOrTake(pixels, im.data)
		all = append(all, values...)
	}
	if classes == nil {
		classes = compact(all)
	}
	m, err := NewMemory(1, h, w, classes, pixels, all)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", images[0], labels[0], err)
	}
	return m, nil
}

// appendOrTake avoids a copy of the usual single file.
func appendOrTake(dst, src []uint8) []uint8 {
	if dst == nil {
		return src
	}
	return append(dst, src...)
}

// compact renumbers labels in place so that those which occur are 0, 1, and so
// on in ascending order, and returns the old numbers as names.
func compact(labels []uint16) (names []string) {
	values := slices.Clone(labels)
	slices.Sort(values)
	values = slices.Compact(values)
	number := make(map[uint16]uint16, len(values))
	for i, v := range values {
		number[v] = uint16(i)
		names = append(names, strconv.Itoa(int(v)))
	}
	for i, l := range labels {
		labels[i] = number[l]
	}
	return names
}

// The idx format's type codes that are read, and the size in bytes of a value.
const (
	idxUint8 = 0x08
	idxInt16 = 0x0b
)

// maxIdxBytes bounds the values of one file: what a header claims is not
// believed beyond it.
const maxIdxBytes = 1 << 34

// idx is a file's content.
type idx struct {
	kind byte
	dims []int
	data []byte
}

func (x idx) describe() string {
	kind := "unsigned bytes"
	if x.kind == idxInt16 {
		kind = "16-bit integers"
	}
	return fmt.Sprintf("%d-dimensional %s", len(x.dims), kind)
}

// labels are the values of a one-dimensional file; none is negative.
func (x idx) labels() ([]uint16, bool) {
	if len(x.dims) != 1 {
		return nil, false
	}
	out := make([]uint16, x.dims[0])
	for i := range out {
		if x.kind == idxUint8 {
			out[i] = uint16(x.data[i])
			continue
		}
		// A negative one becomes a number beyond every other.
		out[i] = binary.BigEndian.Uint16(x.data[2*i:])
	}
	return out, true
}

// readIdx reads a whole idx file, gzipped or not, and refuses one that is
// shorter or longer than its header says.
func readIdx(path string) (idx, error) {
	f, err := os.Open(path)
	if err != nil {
		return idx{}, err
	}
	defer f.Close()
	x, err := decodeIdx(f)
	if err != nil {
		return idx{}, fmt.Errorf("%s is not a readable idx file: %w", path, err)
	}
	return x, nil
}

func decodeIdx(file io.Reader) (idx, error) {
	buffered := bufio.NewReaderSize(file, 1<<16)
	r := io.Reader(buffered)
	if magic, _ := buffered.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return idx{}, err
		}
		r = z
	}
	x, size, err := decodeIdxHeader(r)
	if err != nil {
		return idx{}, err
	}
	// ReadAll grows with what is really there, so neither a false header nor
	// a decompression bomb takes more memory than the smaller of the two.
	x.data, err = io.ReadAll(io.LimitReader(r, size))
	cut := err == nil || errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case cut && int64(len(x.data)) < size:
		return idx{}, fmt.Errorf("it is truncated: its header announces %d bytes and %d follow", size, len(x.data))
	case !cut:
		return idx{}, err
	}
	// The read past the end also makes gzip verify its checksum.
	switch n, err := io.ReadFull(r, make([]byte, 1)); {
	case n > 0:
		return idx{}, fmt.Errorf("it goes on after the %d bytes that its header announces", size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return idx{}, errors.New("it is truncated: its checksum is missing")
	case err != io.EOF:
		return idx{}, err
	}
	return x, nil
}

// decodeIdxHeader reads type and dimensions and returns the size of the data
// in bytes.
func decodeIdxHeader(r io.Reader) (x idx, size int64, err error) {
	var magic [4]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return idx{}, 0, errors.New("it has no header")
	}
	x.kind = magic[2]
	width := map[byte]uint64{idxUint8: 1, idxInt16: 2}[x.kind]
	dims := int(magic[3])
	switch {
	case magic[0] != 0 || magic[1] != 0:
		return idx{}, 0, errors.New("it does not begin with two zero bytes")
	case width == 0:
		return idx{}, 0, fmt.Errorf("its values have type 0x%02x; 0x08 (unsigned byte) and 0x0b (16-bit) are read", x.kind)
	case dims < 1 || dims > 4:
		return idx{}, 0, fmt.Errorf("it has %d dimensions; 1 to 4 are read", dims)
	}
	total := width
	for range dims {
		var d [4]byte
		if _, err := io.ReadFull(r, d[:]); err != nil {
			return idx{}, 0, errors.New("it is truncated inside its header")
		}
		n := binary.BigEndian.Uint32(d[:])
		x.dims = append(x.dims, int(n))
		hi, lo := bits.Mul64(total, uint64(n))
		if hi != 0 || lo > maxIdxBytes {
			return idx{}, 0, fmt.Errorf("its header announces more than %d bytes", uint64(maxIdxBytes))
		}
		total = lo
	}
	return x, int64(total), nil
}
