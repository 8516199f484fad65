package images

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/google/renameio/v2"
)

// NPZ is an archive that is being written.
type NPZ struct {
	path   string
	layout Layout
	file   *renameio.PendingFile
	zip    *zip.Writer
	images io.Writer
	pixels []uint8 // of one image, interleaved
	added  int
}

// CreateNPZ begins an archive as numpy's savez_compressed would make it: arr_0
// holds uint8 images [n, height, width, channels], arr_1 int64 labels [n]. That
// is what guided-diffusion's evaluation scripts read. Equal images give equal
// bytes.
func CreateNPZ(path string, l Layout) (*NPZ, error) {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", path, err)
	}
	z := &NPZ{path: path, layout: l, file: f, zip: zip.NewWriter(f), pixels: make([]uint8, l.C*l.H*l.W)}
	z.zip.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestSpeed)
	})
	z.images, err = z.zip.Create("arr_0.npy")
	if err == nil {
		_, err = z.images.Write(npyHeader("|u1", l.Images, l.H, l.W, l.C))
	}
	if err != nil {
		z.Abort()
		return nil, z.explain(err)
	}
	return z, nil
}

func (z *NPZ) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot write %s: %w", z.path, err)
}

// Add implements Writer.
func (z *NPZ) Add(image []uint8) error {
	z.added++
	interleave(z.pixels, image, z.layout.C)
	_, err := z.images.Write(z.pixels)
	return z.explain(err)
}

// Close implements Writer.
func (z *NPZ) Close() error {
	defer z.Abort()
	if z.added != z.layout.Images {
		return z.explain(fmt.Errorf("%d images came, not %d", z.added, z.layout.Images))
	}
	if err := z.writeLabels(); err != nil {
		return z.explain(err)
	}
	if err := z.zip.Close(); err != nil {
		return z.explain(err)
	}
	return z.explain(z.file.CloseAtomicallyReplace())
}

func (z *NPZ) writeLabels() error {
	labels, err := z.zip.Create("arr_1.npy")
	if err != nil {
		return err
	}
	if _, err := labels.Write(npyHeader("<i8", z.layout.Images)); err != nil {
		return err
	}
	out := bufio.NewWriter(labels)
	var word [8]byte
	for i := range z.layout.Images {
		binary.LittleEndian.PutUint64(word[:], uint64(z.layout.Label(i)))
		if _, err := out.Write(word[:]); err != nil {
			return err
		}
	}
	return out.Flush()
}

// Abort implements Writer.
func (z *NPZ) Abort() { _ = z.file.Cleanup() } // what is left of a failure is a hidden file

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
