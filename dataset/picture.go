package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
)

// picture is one decoded image: c·h·w bytes in the order channel, row, column.
type picture struct {
	c, h, w int
	pix     []uint8
}

// Limits of an image file. They hold before its pixels are decoded: a file of
// some bytes can announce any number of pixels, and one of a few kilobytes can
// hold them.
const (
	maxFileBytes = 64 << 20
	maxPixels    = 1 << 26
	maxScans     = 200 // of a JPEG; each is a pass over all its pixels
)

// decodePicture reads a PNG or JPEG file of untrusted bytes, whatever its name
// ends with. Its errors go on a sentence that begins with the file's name.
func decodePicture(file io.Reader) (picture, error) {
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	switch {
	case err != nil:
		return picture{}, fmt.Errorf("cannot be read: %w", err)
	case len(content) > maxFileBytes:
		return picture{}, fmt.Errorf("has more than %d MiB", maxFileBytes>>20)
	case len(content) == 0:
		return picture{}, errors.New("is empty")
	case bytes.HasPrefix(content, []byte("\x89PNG\r\n\x1a\n")):
		return decodeWith(content, png.DecodeConfig, png.Decode, checkPNG)
	case bytes.HasPrefix(content, []byte("\xff\xd8")):
		return decodeWith(content, jpeg.DecodeConfig, jpeg.Decode, checkJPEG)
	}
	return picture{}, errors.New("is neither a PNG nor a JPEG file")
}

func decodeWith(content []byte, header func(io.Reader) (image.Config, error), decode func(io.Reader) (image.Image, error), check func([]byte, image.Config) error) (picture, error) {
	config, err := header(bytes.NewReader(content))
	if err != nil {
		return picture{}, damage(err)
	}
	if config.Width < 1 || config.Height < 1 {
		return picture{}, errors.New("has no pixels")
	}
	if config.Width > maxPixels/config.Height {
		return picture{}, fmt.Errorf("has %d x %d pixels; at most %d megapixels are read", config.Width, config.Height, maxPixels>>20)
	}
	if err := check(content, config); err != nil {
		return picture{}, err
	}
	decoded, err := decode(bytes.NewReader(content))
	if err != nil {
		return picture{}, damage(err)
	}
	return fromImage(decoded)
}

// damage puts a decoder's complaint into words.
func damage(err error) error {
	reason := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "png: invalid format: "), "invalid JPEG format: ")
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || reason == "not enough pixel data" || reason == "short Huffman data" {
		return errors.New("is truncated")
	}
	return fmt.Errorf("cannot be decoded (%s)", reason)
}

func checkPNG(content []byte, config image.Config) error {
	switch config.ColorModel {
	case color.Gray16Model, color.RGBA64Model, color.NRGBA64Model:
		return errors.New("has 16 bits a channel; 8 are read: convert it")
	}
	if animated(content) {
		return errors.New("is animated; keep one picture of it")
	}
	return nil
}

// animated looks for an acTL chunk before the pixels (the APNG specification).
func animated(content []byte) bool {
	for at := 8; at+8 <= len(content); {
		size, kind := binary.BigEndian.Uint32(content[at:]), string(content[at+4:at+8])
		if kind == "acTL" {
			return true
		}
		if kind == "IDAT" || kind == "IEND" || int(size) > len(content) {
			return false
		}
		at += 12 + int(size)
	}
	return false
}

func checkJPEG(content []byte, config image.Config) error {
	if config.ColorModel == color.CMYKModel {
		return errors.New("is in CMYK colours; convert it to RGB")
	}
	if bytes.Count(content, []byte{0xff, 0xda}) > maxScans {
		return fmt.Errorf("has more than %d scans", maxScans)
	}
	return nil
}

// fromImage takes an opaque image; a palette counts as RGB.
func fromImage(decoded image.Image) (picture, error) {
	if o, ok := decoded.(interface{ Opaque() bool }); ok && !o.Opaque() {
		return picture{}, errors.New("has transparent pixels: flatten it onto a background")
	}
	b := decoded.Bounds()
	p := picture{c: 3, h: b.Dy(), w: b.Dx()}
	n := p.h * p.w
	if grey, ok := decoded.(*image.Gray); ok {
		p.c, p.pix = 1, make([]uint8, n)
		for y := range p.h {
			copy(p.pix[y*p.w:], grey.Pix[y*grey.Stride:][:p.w])
		}
		return p, nil
	}
	p.pix = make([]uint8, 3*n)
	row := image.NewRGBA(image.Rect(0, 0, p.w, 1))
	for y := range p.h {
		draw.Draw(row, row.Rect, decoded, image.Pt(b.Min.X, b.Min.Y+y), draw.Src)
		for x := range p.w {
			for c := range 3 {
				p.pix[c*n+y*p.w+x] = row.Pix[4*x+c]
			}
		}
	}
	return p, nil
}
