package pipeline

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dploda/dploda/internal/images"
)

// maxArrayBytes bounds what the header of an array may announce.
const maxArrayBytes = 1 << 34

// npzFacts are the arrays of a numpy archive.
type npzFacts struct {
	header
	Arrays  []arrayFacts `json:"arrays"`
	Classes []classFacts `json:"classes,omitempty"` // of arr_1, if it holds labels
}

type arrayFacts struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
}

type classFacts struct {
	Class  string `json:"class"`
	Images int    `json:"images"`
}

func (f *npzFacts) title() string {
	return fmt.Sprintf("a numpy archive of %s", count(len(f.Arrays), "array"))
}

func (f *npzFacts) rows(t *table) {
	for _, a := range f.Arrays {
		t.row(a.Name, "%s %v", a.DType, a.Shape)
	}
	classRows(t, f.Classes)
}

func classRows(t *table, classes []classFacts) {
	for _, c := range classes {
		t.row("class "+c.Class, "%s", count(c.Images, "image"))
	}
}

// maxArrays bounds the entries of an archive that are looked at.
const maxArrays = 1024

func inspectNPZ(path string) (facts, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("%s is not a whole npz archive: %w", path, err)
	}
	defer z.Close()
	if len(z.File) > maxArrays {
		return nil, fmt.Errorf("%s is not an archive of samples: it has %d entries", path, len(z.File))
	}
	found := &npzFacts{header: header{"npz", path}}
	for _, file := range z.File {
		a, labels, err := readArray(file)
		if err != nil {
			return nil, fmt.Errorf("%s is damaged: its entry %q %w", path, file.Name, err)
		}
		found.Arrays = append(found.Arrays, a)
		if a.Name == "arr_1" {
			found.Classes = labels
		}
	}
	return found, nil
}

// readArray reads a whole entry, whose checksum is verified thereby, and counts
// the values of one that may hold labels.
func readArray(file *zip.File) (arrayFacts, []classFacts, error) {
	a := arrayFacts{Name: strings.TrimSuffix(file.Name, ".npy")}
	r, err := file.Open()
	if err != nil {
		return a, nil, fmt.Errorf("cannot be opened: %w", err)
	}
	defer r.Close()
	buffered := bufio.NewReaderSize(r, 1<<16)
	var width, size int64
	if a.DType, a.Shape, width, err = readArrayHeader(buffered); err != nil {
		return a, nil, err
	}
	if size, err = byteSize(width, a.Shape); err != nil {
		return a, nil, err
	}
	values := io.LimitReader(buffered, size)
	var counts []classFacts
	if a.DType == "int64" && len(a.Shape) == 1 {
		if counts, err = countLabels(values); err != nil {
			return a, nil, err
		}
	}
	if _, err := io.Copy(io.Discard, values); err != nil {
		return a, nil, fmt.Errorf("is cut off or changed: %w", err)
	}
	rest, err := io.Copy(io.Discard, buffered)
	switch {
	case err != nil:
		return a, nil, fmt.Errorf("is cut off or changed: %w", err)
	case rest > 0:
		return a, nil, fmt.Errorf("goes on after the %d bytes of its shape", size)
	case values.(*io.LimitedReader).N > 0:
		return a, nil, fmt.Errorf("is shorter than the %d bytes of its shape", size)
	}
	return a, counts, nil
}

// arrayDict is the header of numpy's format, as numpy itself writes it.
var arrayDict = regexp.MustCompile(`^\{'descr': '([<>|=]?)([a-zA-Z])(\d{1,3})', 'fortran_order': (?:False|True), 'shape': \(([0-9, ]*)\), \} *\n?$`)

// arrayTypes are numpy's names of dtypes.
var arrayTypes = map[string]string{
	"b1": "bool", "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
	"u8": "uint64", "i8": "int64", "f2": "float16", "f4": "float32", "f8": "float64",
}

// readArrayHeader reads up to an array's first value; width is in bytes.
func readArrayHeader(r io.Reader) (dtype string, shape []int, width int64, err error) {
	var start [10]byte // magic, version and length of version 1.0
	if _, err := io.ReadFull(r, start[:]); err != nil || string(start[:8]) != "\x93NUMPY\x01\x00" {
		return "", nil, 0, errors.New("is not an array of numpy's format 1.0")
	}
	dict := make([]byte, binary.LittleEndian.Uint16(start[8:]))
	if _, err := io.ReadFull(r, dict); err != nil {
		return "", nil, 0, errors.New("ends within its header")
	}
	m := arrayDict.FindSubmatch(dict)
	if m == nil {
		return "", nil, 0, errors.New("has a header that is not numpy's")
	}
	dtype = arrayTypes[string(m[2])+string(m[3])]
	if dtype == "" || string(m[1]) == ">" {
		return "", nil, 0, fmt.Errorf("has values of type %q, which dploda does not write", m[2])
	}
	width, _ = strconv.ParseInt(string(m[3]), 10, 64) // one digit: in the table
	for _, d := range strings.FieldsFunc(string(m[4]), func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(d)
		if err != nil {
			return "", nil, 0, errors.New("has a header that is not numpy's")
		}
		shape = append(shape, n)
	}
	return dtype, shape, width, nil
}

// byteSize is the number of bytes of an array.
func byteSize(width int64, shape []int) (int64, error) {
	size := width
	for _, n := range shape {
		if n > 0 && size > maxArrayBytes/int64(n) {
			return 0, fmt.Errorf("announces more than %d bytes", int64(maxArrayBytes))
		}
		size *= int64(n)
	}
	return size, nil
}

// maxClasses is how many different values still count as labels.
const maxClasses = 1 << 12

// countLabels counts 64-bit labels; nil if they are too many different ones.
func countLabels(r io.Reader) ([]classFacts, error) {
	counts := map[int64]int{}
	var word [8]byte
	for {
		if _, err := io.ReadFull(r, word[:]); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("is cut off or changed: %w", err)
		}
		counts[int64(binary.LittleEndian.Uint64(word[:]))]++
		if len(counts) > maxClasses {
			return nil, nil
		}
	}
	var classes []classFacts
	for _, label := range slices.Sorted(maps.Keys(counts)) {
		classes = append(classes, classFacts{strconv.FormatInt(label, 10), counts[label]})
	}
	return classes, nil
}

// pngFacts is a picture.
type pngFacts struct {
	header
	Width    int `json:"width"`
	Height   int `json:"height"`
	Channels int `json:"channels"`
}

func (f *pngFacts) title() string {
	return fmt.Sprintf("a PNG picture of %d x %d pixels, %s", f.Width, f.Height, colours(f.Channels))
}

func (f *pngFacts) rows(*table) {}

func colours(channels int) string {
	if channels == 1 {
		return "grey"
	}
	return "colour"
}

func inspectPNG(path string) (facts, error) {
	m, err := images.ReadPNG(path)
	if err != nil {
		return nil, err
	}
	return &pngFacts{header{"png", path}, m.W, m.H, m.C}, nil
}

// imageFolderFacts is a folder of PNG files by class.
type imageFolderFacts struct {
	header
	Classes  []classFacts `json:"classes"`
	Width    int          `json:"width"` // of the first image, as Height and Channels
	Height   int          `json:"height"`
	Channels int          `json:"channels"`
}

func (f *imageFolderFacts) title() string {
	n := 0
	for _, c := range f.Classes {
		n += c.Images
	}
	return fmt.Sprintf("%d images of %d x %d pixels, %s, in %d classes", n, f.Width, f.Height, colours(f.Channels), len(f.Classes))
}

func (f *imageFolderFacts) rows(t *table) { classRows(t, f.Classes) }

// inspectImageFolder returns nil for a folder that is none: one with anything
// but folders in it, or no PNG file in these.
func inspectImageFolder(path string, entries []fs.DirEntry) (facts, error) {
	found := &imageFolderFacts{header: header{"image-folder", path}}
	first := ""
	for _, e := range entries {
		if !e.IsDir() {
			return nil, nil
		}
		files, err := os.ReadDir(filepath.Join(path, e.Name()))
		if err != nil {
			return nil, err
		}
		class := classFacts{Class: e.Name()}
		for _, file := range files {
			if filepath.Ext(file.Name()) != ".png" {
				return nil, nil
			}
			if first == "" {
				first = filepath.Join(path, e.Name(), file.Name())
			}
			class.Images++
		}
		found.Classes = append(found.Classes, class)
	}
	if first == "" {
		return nil, nil
	}
	m, err := images.ReadPNG(first)
	found.Width, found.Height, found.Channels = m.W, m.H, m.C
	return found, err
}

// idxFacts is a file of images or labels in MNIST's format. How often each
// label occurs is not said: the file may be the private one.
type idxFacts struct {
	header
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	Gzip  bool   `json:"gzip"`
}

func (f *idxFacts) title() string {
	packed := ""
	if f.Gzip {
		packed = ", gzipped"
	}
	return fmt.Sprintf("an idx file of %s %v%s", f.Type, f.Shape, packed)
}

func (f *idxFacts) rows(*table) {}

// idxTypes are the value types that dploda reads: name and bytes.
var idxTypes = map[byte]struct {
	name  string
	width int64
}{0x08: {"uint8", 1}, 0x0b: {"int16", 2}}

func looksLikeIdx(head []byte) bool {
	if beginsGzip(head) {
		return true
	}
	return len(head) >= 4 && head[0] == 0 && head[1] == 0 && idxTypes[head[2]].width > 0 && head[3] >= 1 && head[3] <= 4
}

func beginsGzip(head []byte) bool { return bytes.HasPrefix(head, []byte("\x1f\x8b")) }

func inspectIdx(path string) (facts, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found := &idxFacts{header: header{Kind: "idx", Path: path}}
	if err := found.read(bufio.NewReaderSize(f, 1<<16)); err != nil {
		return nil, fmt.Errorf("%s is not a readable idx file: %w", path, err)
	}
	return found, nil
}

// read compares the length of the data with what the header announces; the
// read past their end makes gzip verify its checksum.
func (f *idxFacts) read(file *bufio.Reader) error {
	r := io.Reader(file)
	if magic, _ := file.Peek(2); beginsGzip(magic) {
		z, err := gzip.NewReader(file)
		if err != nil {
			return err
		}
		r, f.Gzip = z, true
	}
	size, err := f.readHeader(r)
	if err != nil {
		return err
	}
	switch n, err := io.Copy(io.Discard, io.LimitReader(r, size+1)); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it is truncated inside its gzip stream")
	case err != nil:
		return err
	case n < size:
		return fmt.Errorf("it is truncated: its header announces %d bytes and %d follow", size, n)
	case n > size:
		return fmt.Errorf("it goes on after the %d bytes that its header announces", size)
	}
	return nil
}

func (f *idxFacts) readHeader(r io.Reader) (size int64, err error) {
	var magic [4]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil || !looksLikeIdx(magic[:]) || beginsGzip(magic[:]) {
		return 0, errors.New("it does not begin with an idx header of bytes or 16-bit integers")
	}
	kind := idxTypes[magic[2]]
	f.Type = kind.name
	for range magic[3] {
		var d [4]byte
		if _, err := io.ReadFull(r, d[:]); err != nil {
			return 0, errors.New("it is truncated inside its header")
		}
		f.Shape = append(f.Shape, int(binary.BigEndian.Uint32(d[:])))
	}
	if size, err = byteSize(kind.width, f.Shape); err != nil {
		return 0, fmt.Errorf("its header %w", err)
	}
	return size, nil
}

// sampledFacts is sample.json.
type sampledFacts struct {
	header
	Sampled
}

func (f *sampledFacts) title() string {
	return fmt.Sprintf("what %s were drawn from", count(f.Sample.Images, "synthetic image"))
}

func (f *sampledFacts) rows(t *table) {
	t.row("run", "%s, %s", f.Run, f.RunID)
	if f.TestMode {
		t.row("test mode", "the model was trained with predictable noise: NOT private")
	}
	t.row("adapter", "sha256 %s", f.Adapter)
	t.row("base", "sha256 %s", f.Base)
	if f.Prototypes != "" {
		t.row("prototypes", "sha256 %s", f.Prototypes)
	}
	t.row("images", "%d x %d x %d (channels, height, width)", f.Shape[0], f.Shape[1], f.Shape[2])
	t.row("classes in turn", "%s", strings.Join(f.Turn, ", "))
	t.row("sampler", "%s, %d steps, guidance %g, eta %g", f.Sample.Sampler, f.Sample.Steps, f.Sample.Guidance, f.Sample.Eta)
	if f.Seed != nil {
		t.row("seed", "%d", *f.Seed)
	}
	t.row("complete", "%s", yesNo(f.Complete))
}

func inspectSampled(path string, content []byte) (facts, error) {
	s, err := parseSampled(path, content)
	if err != nil {
		return nil, err
	}
	return &sampledFacts{header{"sample", path}, *s}, nil
}
