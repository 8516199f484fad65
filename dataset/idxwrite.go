package dataset

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// WriteIdx stores a grey data set of at most 256 classes as one split in
// folder, under MNIST's file names with .gz. Equal data give equal bytes.
func WriteIdx(folder string, split Split, d Dataset) error {
	c, h, w := d.Shape()
	if c != 1 {
		return fmt.Errorf("idx files hold grey images; these have %d channels", c)
	}
	if n := len(d.Classes()); n > 256 {
		return fmt.Errorf("idx files of labels in bytes hold 256 classes, not %d", n)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	images := filepath.Join(folder, split.images()+".gz")
	err := writeIdx(images, []int{d.Len(), h, w}, func(i int) []byte { return d.Image(i) })
	if err != nil {
		return err
	}
	labels := filepath.Join(folder, split.labels()+".gz")
	return writeIdx(labels, []int{d.Len()}, func(i int) []byte { return []byte{uint8(d.Label(i))} })
}

// writeIdx stores unsigned bytes: dims[0] rows of the remaining dimensions.
// The file appears whole or not at all.
func writeIdx(path string, dims []int, row func(i int) []byte) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer f.Cleanup()
	buffered := bufio.NewWriterSize(f, 1<<16)
	z := gzip.NewWriter(buffered)
	header := []byte{0, 0, idxUint8, byte(len(dims))}
	for _, d := range dims {
		header = binary.BigEndian.AppendUint32(header, uint32(d))
	}
	// A bufio.Writer and a gzip.Writer keep their first error for Close and
	// Flush.
	z.Write(header)
	for i := range dims[0] {
		z.Write(row(i))
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
