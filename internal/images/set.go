package images

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/google/renameio/v2"
	"golang.org/x/text/unicode/norm"
)

// Set is a sequence of labelled images of one shape, as package dataset's
// Dataset: see there.
type Set interface {
	Len() int
	Shape() (c, h, w int)
	Classes() []string
	Image(i int) []uint8
	Label(i int) int
}

// WriteNPZ stores a set as numpy's savez_compressed would: arr_0 holds uint8
// images [n, height, width, channels], arr_1 int64 labels [n]. That is what
// guided-diffusion's evaluation scripts read. Equal sets give equal bytes.
func WriteNPZ(path string, s Set) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer f.Cleanup()
	if err := encodeNPZ(f, s); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

func encodeNPZ(w io.Writer, s Set) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestSpeed)
	})
	c, h, width := s.Shape()
	images, err := z.Create("arr_0.npy")
	if err != nil {
		return err
	}
	if _, err := images.Write(npyHeader("|u1", s.Len(), h, width, c)); err != nil {
		return err
	}
	pixels := make([]uint8, c*h*width)
	for i := range s.Len() {
		interleave(pixels, s.Image(i), c)
		if _, err := images.Write(pixels); err != nil {
			return err
		}
	}
	labels, err := z.Create("arr_1.npy")
	if err != nil {
		return err
	}
	content := npyHeader("<i8", s.Len())
	for i := range s.Len() {
		content = binary.LittleEndian.AppendUint64(content, uint64(s.Label(i)))
	}
	if _, err := labels.Write(content); err != nil {
		return err
	}
	return z.Close()
}

// interleave turns channel, row, column into row, column, channel.
func interleave(dst, src []uint8, c int) {
	n := len(src) / c
	for i := range n {
		for ch := range c {
			dst[i*c+ch] = src[ch*n+i]
		}
	}
}

// npyHeader begins an array in version 1.0 of numpy's format
// (numpy.lib.format): padded so that the data begin at a multiple of 64.
func npyHeader(dtype string, shape ...int) []byte {
	dims := strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ", "), "[]")
	if len(shape) == 1 {
		dims += ","
	}
	dict := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", dtype, dims)
	const prefix = 10 // magic, version and length
	padding := 63 - (prefix+len(dict))%64
	dict += strings.Repeat(" ", padding) + "\n"
	header := append([]byte("\x93NUMPY\x01\x00"), byte(len(dict)), byte(len(dict)>>8))
	return append(header, dict...)
}

// WriteFolder stores a set as torchvision's ImageFolder reads it: a folder
// for each class, with numbered PNG files. What was at path before is
// replaced when the new folder is complete.
func WriteFolder(path string, s Set) error {
	partial := path + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := writeFolder(partial, s); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, errors.Join(err, os.RemoveAll(partial)))
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

func writeFolder(path string, s Set) error {
	names := SafeNames(s.Classes())
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(path, name), 0o755); err != nil {
			return err
		}
	}
	c, h, w := s.Shape()
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	var b bytes.Buffer
	for i := range s.Len() {
		b.Reset()
		m := Image{C: c, H: h, W: w, Pix: s.Image(i)}
		if err := encoder.Encode(&b, m.standard()); err != nil {
			return err
		}
		file := filepath.Join(path, names[s.Label(i)], fmt.Sprintf("%06d.png", i))
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// SafeNames makes class names into names of folders, all different, on every
// usual file system: letters, marks and digits of any script, spaces inside,
// dots, dashes and underscores; not beginning with a dot, and no device of
// Windows. Names are composed (NFC), as most systems write them.
func SafeNames(classes []string) []string {
	names := make([]string, len(classes))
	taken := map[string]bool{}
	for i, class := range classes {
		name := strings.TrimRight(strings.Map(safeRune, norm.NFC.String(class)), " .")
		if name == "" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, " ") || len(name) > 100 || isDevice(name) {
			name = fmt.Sprintf("class-%d", i)
		}
		for taken[folded(name)] {
			name = fmt.Sprintf("%s-%d", name, i)
		}
		taken[folded(name)] = true
		names[i] = name
	}
	return names
}

func safeRune(r rune) rune {
	switch {
	case unicode.IsLetter(r), unicode.IsMark(r), unicode.IsDigit(r), strings.ContainsRune(" .-_", r):
		return r
	case r == '\u200c', r == '\u200d': // they join letters of Indic and Persian words
		return r
	}
	return '_'
}

// folded is equal for names that some file system takes for one: they ignore
// case, or how characters are composed.
func folded(name string) string { return norm.NFKC.String(strings.ToLower(name)) }

// isDevice knows the names that Windows keeps for devices, whatever follows a
// dot.
func isDevice(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	stem = strings.TrimRight(stem, " ")
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	return len(stem) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT")) && stem[3] >= '0' && stem[3] <= '9'
}
