package dataset

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"slices"
	"testing"
)

func pngOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// drawn fills an image by a rule without symmetry.
func drawn[M interface {
	image.Image
	Set(x, y int, c color.Color)
}](m M) M {
	b := m.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			m.Set(x, y, color.NRGBA{uint8(x*37 + y*101), uint8(x*x*11 + 3*y), uint8(200 - 7*x*y), 255})
		}
	}
	return m
}

// chunk is a chunk of a PNG file.
func chunk(kind string, data ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// afterHeader puts a chunk behind a PNG file's IHDR.
func afterHeader(file, chunk []byte) []byte { return slices.Concat(file[:33], chunk, file[33:]) }

// announcing is a PNG file whose header lies about its size.
func announcing(file []byte, w, h uint32) []byte {
	size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	return slices.Concat(file[:8], chunk("IHDR", append(size, file[24:29]...)...), file[33:])
}

// cmyk is a JPEG file of 3 x 2 pixels in CMYK, as Pillow writes it.
var cmyk, _ = base64.StdEncoding.DecodeString("/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAbEhQXFBEbFxYXHhwbIChCKyglJShROj0wQmBVZWRfVV1baniZgWpxkHNbXYW1hpCeo6utq2eAvMm6pseZqKuk/8AAFAgAAgADBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwDo66Ct2tqv/9k=")

// TestDecodePicture holds every layout of pixels against the standard library's
// At, one pixel after another. Tried: rows from the wrong end, channels swapped,
// the stride for the width.
func TestDecodePicture(t *testing.T) {
	r := image.Rect(0, 0, 5, 3)
	palette := color.Palette{color.NRGBA{1, 2, 3, 255}, color.NRGBA{200, 100, 50, 255}, color.NRGBA{0, 255, 0, 255}}
	for name, c := range map[string]struct {
		file []byte
		c    int
	}{
		"grey PNG":          {pngOf(t, drawn(image.NewGray(r))), 1},
		"RGB PNG":           {pngOf(t, drawn(image.NewRGBA(r))), 3},
		"opaque alpha PNG":  {pngOf(t, drawn(opaque{image.NewNRGBA(r)})), 3},
		"palette PNG":       {pngOf(t, drawn(image.NewPaletted(r, palette))), 3},
		"grey JPEG":         {jpegOf(t, drawn(image.NewGray(r))), 1},
		"RGB JPEG":          {jpegOf(t, drawn(image.NewRGBA(r))), 3},
		"with a text":       {afterHeader(pngOf(t, drawn(image.NewRGBA(r))), chunk("tEXt", 97, 0, 98)), 3},
		"bytes at its end":  {append(jpegOf(t, drawn(image.NewRGBA(r))), 0, 0), 3},
		"one pixel":         {pngOf(t, drawn(image.NewGray(image.Rect(0, 0, 1, 1)))), 1},
		"larger than a tap": {pngOf(t, drawn(image.NewRGBA(image.Rect(0, 0, 70, 90)))), 3},
	} {
		p, err := decodePicture(bytes.NewReader(c.file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, _, err := image.Decode(bytes.NewReader(c.file))
		if err != nil {
			t.Fatal(err)
		}
		b := want.Bounds()
		if p.c != c.c || p.w != b.Dx() || p.h != b.Dy() {
			t.Errorf("%s: %d channels of %d x %d", name, p.c, p.w, p.h)
			continue
		}
		for y := range p.h {
			for x := range p.w {
				r, g, b, _ := want.At(x, y).RGBA()
				for ch, v := range []uint32{r, g, b}[:p.c] {
					if got := p.pix[(ch*p.h+y)*p.w+x]; got != uint8(v>>8) {
						t.Fatalf("%s: channel %d at %d,%d is %d, want %d", name, ch, x, y, got, v>>8)
					}
				}
			}
		}
	}
}

// opaque is an image whose encoder writes its alpha channel all the same.
type opaque struct{ *image.NRGBA }

func (opaque) Opaque() bool { return false }

// TestDecodePictureRefuses: one clear reason for each file that is no usable
// image, behind the file's name. The large ones are refused by their headers:
// nothing of their size is allocated (tried without the limit: the test takes
// gigabytes). Tried without each check: the file is read.
func TestDecodePictureRefuses(t *testing.T) {
	r := image.Rect(0, 0, 5, 3)
	grey, rgb := pngOf(t, drawn(image.NewGray(r))), jpegOf(t, drawn(image.NewRGBA(r)))
	clear := drawn(image.NewNRGBA(r))
	clear.Set(2, 2, color.NRGBA{9, 9, 9, 128})
	idat := bytes.Index(grey, []byte("IDAT"))
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":                 {nil, "is empty"},
		"text":                  {[]byte("GIF89a or so"), "is neither a PNG nor a JPEG file"},
		"cut header":            {grey[:20], "is truncated"},
		"cut PNG":               {grey[:idat+12], "is truncated"},
		"cut JPEG":              {rgb[:len(rgb)-20], "is truncated"},
		"damaged PNG":           {flip(bytes.Clone(grey), len(grey)-idat-6), "cannot be decoded (zlib: invalid checksum)"},
		"16 bits, grey":         {pngOf(t, drawn(image.NewGray16(r))), "has 16 bits a channel; 8 are read: convert it"},
		"16 bits, RGB":          {pngOf(t, drawn(image.NewRGBA64(r))), "has 16 bits a channel; 8 are read: convert it"},
		"transparent":           {pngOf(t, clear), "has transparent pixels: flatten it onto a background"},
		"animated":              {afterHeader(grey, chunk("acTL", 0, 0, 0, 2, 0, 0, 0, 0)), "is animated; keep one picture of it"},
		"CMYK":                  {cmyk, "is in CMYK colours; convert it to RGB"},
		"100 megapixels":        {announcing(grey, 10_000, 10_000), "has 10000 x 10000 pixels; at most 64 megapixels are read"},
		"2^31 pixels wide":      {announcing(grey, 1<<31-1, 1<<31-1), "cannot be decoded (png: unsupported feature: dimension overflow)"},
		"more than it says":     {announcing(pngOf(t, drawn(image.NewGray(image.Rect(0, 0, 5, 900)))), 5, 3), "cannot be decoded (too much pixel data)"},
		"less than it says":     {announcing(grey, 3000, 3000), "is truncated"},
		"scan after scan":       {slices.Concat(rgb[:len(rgb)-2], bytes.Repeat([]byte{0xff, 0xda}, 300)), "has more than 200 scans"},
		"larger than any image": {slices.Concat(grey, make([]byte, maxFileBytes)), "has more than 64 MiB"},
	} {
		_, err := decodePicture(bytes.NewReader(c.file))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

// FuzzDecodePicture: whatever the bytes, there is a picture of the announced
// size or an error, and what is read writes and reads again to the same.
func FuzzDecodePicture(f *testing.F) {
	r := image.Rect(0, 0, 5, 3)
	grey := pngOf(f, drawn(image.NewGray(r)))
	for _, file := range [][]byte{
		grey, pngOf(f, drawn(image.NewRGBA(r))), pngOf(f, drawn(image.NewGray16(r))), jpegOf(f, drawn(image.NewRGBA(r))), jpegOf(f, drawn(image.NewGray(r))),
		cmyk, announcing(grey, 9000, 9000), afterHeader(grey, chunk("acTL", 0, 0, 0, 2, 0, 0, 0, 0)), grey[:40],
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if c, _, err := image.DecodeConfig(bytes.NewReader(content)); err == nil && c.Width*c.Height > 1<<20 && c.Width*c.Height <= maxPixels {
			t.Skip("slow to decode, and allowed")
		}
		p, err := decodePicture(bytes.NewReader(content))
		if err != nil {
			return
		}
		if p.c != 1 && p.c != 3 || len(p.pix) != p.c*p.h*p.w || len(p.pix) == 0 {
			t.Fatalf("%d bytes of %d x %d x %d", len(p.pix), p.c, p.h, p.w)
		}
		m := image.NewNRGBA(image.Rect(0, 0, p.w, p.h))
		for i := range p.h * p.w {
			for c := range 3 {
				m.Pix[4*i+c] = p.pix[(c%p.c)*p.h*p.w+i]
			}
			m.Pix[4*i+3] = 255
		}
		again, err := decodePicture(bytes.NewReader(pngOf(t, m)))
		if err != nil || !bytes.Equal(again.pix, toRGBIfGrey(p).pix) {
			t.Fatalf("%v: the picture changed", err)
		}
	})
}

func toRGBIfGrey(p picture) picture {
	if p.c == 1 {
		return toRGB(p)
	}
	return p
}
