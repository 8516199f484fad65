package images

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
)

// Folder is an image folder that is being written.
type Folder struct {
	path    string // where it will be
	layout  Layout
	names   []string // of the classes' folders
	encoder png.Encoder
	buffer  bytes.Buffer
	added   int
}

// CreateFolder begins a folder as torchvision's ImageFolder reads it: a folder
// for each class, with PNG files numbered through all classes from 000000.
// Until it is closed it lies beside its place, under a name that ends in
// PartialSuffix.
func CreateFolder(path string, l Layout) (*Folder, error) {
	f := &Folder{path: path, layout: l, names: SafeNames(l.Classes), encoder: png.Encoder{CompressionLevel: png.BestSpeed}}
	if err := os.RemoveAll(f.partial()); err != nil { // of one that was killed
		return nil, err
	}
	for _, name := range f.names {
		if err := os.MkdirAll(filepath.Join(f.partial(), name), 0o755); err != nil {
			return nil, f.failed(err)
		}
	}
	return f, nil
}

// PartialSuffix ends the name of a folder that is being written.
const PartialSuffix = ".partial"

func (f *Folder) partial() string { return f.path + PartialSuffix }

func (f *Folder) failed(err error) error {
	return fmt.Errorf("cannot write %s: %w", f.path, errors.Join(err, os.RemoveAll(f.partial())))
}

// Add implements Writer.
func (f *Folder) Add(image []uint8) error {
	f.buffer.Reset()
	l := f.layout
	if err := f.encoder.Encode(&f.buffer, Image{C: l.C, H: l.H, W: l.W, Pix: image}.standard()); err != nil {
		return f.failed(err)
	}
	file := filepath.Join(f.partial(), f.names[l.Label(f.added)], fmt.Sprintf("%06d.png", f.added))
	f.added++
	if err := os.WriteFile(file, f.buffer.Bytes(), 0o644); err != nil {
		return f.failed(err)
	}
	return nil
}

// Close implements Writer.
func (f *Folder) Close() error {
	if f.added != f.layout.Images {
		return f.failed(fmt.Errorf("%d images came, not %d", f.added, f.layout.Images))
	}
	if err := os.RemoveAll(f.path); err != nil {
		return f.failed(err)
	}
	return os.Rename(f.partial(), f.path)
}

// Abort implements Writer.
func (f *Folder) Abort() { _ = os.RemoveAll(f.partial()) } // the next one of this name removes it again
