// Package images writes what a run shows and hands out: PNG files, labelled
// grids, npz archives and folders of images by class.
package images

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"

	"github.com/google/renameio/v2"
)

// Image is C·H·W bytes in the order channel, row, column; one channel is
// grey, three are RGB.
type Image struct {
	C, H, W int
	Pix     []uint8
}

// check panics on an image that is none: that is a mistake of the caller.
func (m Image) check() {
	if m.C != 1 && m.C != 3 || m.H < 1 || m.W < 1 || len(m.Pix) != m.C*m.H*m.W {
		panic(fmt.Sprintf("images: %d bytes for %d x %d x %d", len(m.Pix), m.C, m.H, m.W))
	}
}

// at is the colour of a pixel.
func (m Image) at(x, y int) color.RGBA {
	i, n := y*m.W+x, m.H*m.W
	if m.C == 1 {
		return color.RGBA{m.Pix[i], m.Pix[i], m.Pix[i], 255}
	}
	return color.RGBA{m.Pix[i], m.Pix[n+i], m.Pix[2*n+i], 255}
}

// standard is m for the standard library.
func (m Image) standard() image.Image {
	m.check()
	r := image.Rect(0, 0, m.W, m.H)
	if m.C == 1 {
		return &image.Gray{Pix: m.Pix, Stride: m.W, Rect: r}
	}
	out := image.NewRGBA(r)
	for y := range m.H {
		for x := range m.W {
			out.SetRGBA(x, y, m.at(x, y))
		}
	}
	return out
}

// WritePNG stores an image. The file appears whole or not at all.
func WritePNG(path string, m Image) error { return writePNG(path, m.standard()) }

func writePNG(path string, m image.Image) error {
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := renameio.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// maxPixels bounds a PNG that is read, so that a small file cannot ask for
// much memory.
const maxPixels = 1 << 26

// ReadPNG reads an opaque image of 8 bits a channel, grey or RGB; a palette of
// colours becomes RGB.
func ReadPNG(path string) (Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	m, err := decodePNG(f)
	if err != nil {
		return Image{}, fmt.Errorf("%s is not a readable PNG file: %w", path, err)
	}
	return m, nil
}

func decodePNG(file io.ReadSeeker) (Image, error) {
	config, err := png.DecodeConfig(file)
	if err != nil {
		return Image{}, tidy(err)
	}
	if config.Width > maxPixels/config.Height {
		return Image{}, fmt.Errorf("it has %d x %d pixels, more than %d", config.Width, config.Height, maxPixels)
	}
	switch config.ColorModel {
	case color.Gray16Model, color.RGBA64Model, color.NRGBA64Model:
		return Image{}, errors.New("it has 16 bits a channel; 8 are read")
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return Image{}, err
	}
	buffered := bufio.NewReader(file)
	decoded, err := png.Decode(buffered)
	if err != nil {
		return Image{}, tidy(err)
	}
	if _, err := buffered.ReadByte(); err != io.EOF {
		return Image{}, errors.New("it goes on after its end")
	}
	return fromStandard(decoded)
}

// tidy names a cut file as such.
func tidy(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("it is truncated")
	}
	return err
}

func fromStandard(decoded image.Image) (Image, error) {
	if o, ok := decoded.(interface{ Opaque() bool }); ok && !o.Opaque() {
		return Image{}, errors.New("it has transparent pixels; opaque images are read")
	}
	b := decoded.Bounds()
	m := Image{C: 3, H: b.Dy(), W: b.Dx()}
	if _, grey := decoded.(*image.Gray); grey {
		m.C = 1
	}
	n := m.H * m.W
	m.Pix = make([]uint8, m.C*n)
	for y := range m.H {
		for x := range m.W {
			r, g, b, _ := decoded.At(b.Min.X+x, b.Min.Y+y).RGBA()
			for c, v := range []uint32{r, g, b}[:m.C] {
				m.Pix[c*n+y*m.W+x] = uint8(v >> 8)
			}
		}
	}
	return m, nil
}
