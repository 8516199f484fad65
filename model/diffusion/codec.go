package diffusion

import (
	"fmt"

	"github.com/dploda/dploda/internal/device"
)

// Codec maps images to what the network sees: bytes to [-1, 1], and each
// Factor x Factor block of pixels to channels, in the order of PyTorch's
// PixelUnshuffle (channel c, row and column in the block: c·f² + row·f + col).
// A smaller grid with more channels makes small networks much cheaper.
type Codec struct {
	Image  device.Shape
	Factor int // 1: as it is
}

// Validate says whether the blocks tile the image.
func (c Codec) Validate() error {
	s := c.Image
	if c.Factor < 1 || s.C < 1 || s.H < 1 || s.W < 1 || s.H%c.Factor != 0 || s.W%c.Factor != 0 {
		return fmt.Errorf("images of %dx%dx%d cannot be cut into blocks of %d x %d pixels", s.C, s.H, s.W, c.Factor, c.Factor)
	}
	return nil
}

// Grid is the shape that the network sees.
func (c Codec) Grid() device.Shape {
	return device.Shape{C: c.Image.C * c.Factor * c.Factor, H: c.Image.H / c.Factor, W: c.Image.W / c.Factor}
}

// Size is the number of values of an image.
func (c Codec) Size() int { return c.Image.C * c.Image.H * c.Image.W }

// each calls f with the offset of every pixel in the grid and in the image.
func (c Codec) each(f func(grid, image int)) {
	g := c.Grid()
	grid := 0
	for ch := range g.C {
		row, col := ch/c.Factor%c.Factor, ch%c.Factor
		plane := ch / (c.Factor * c.Factor) * c.Image.H
		for y := range g.H {
			line := (plane + y*c.Factor + row) * c.Image.W
			for x := range g.W {
				f(grid, line+x*c.Factor+col)
				grid++
			}
		}
	}
}

// Shuffle fills dst, an image in CHW order, from src in the grid's order.
func (c Codec) Shuffle(dst, src []float32) {
	c.each(func(grid, image int) { dst[image] = src[grid] })
}

// Unshuffle fills dst in the grid's order from src, an image in CHW order.
func (c Codec) Unshuffle(dst, src []float32) {
	c.each(func(grid, image int) { dst[grid] = src[image] })
}

// Levels fills dst with the bytes of pixels mapped to [-1, 1].
func Levels(dst []float32, pixels []uint8) {
	for i, p := range pixels {
		dst[i] = float32(p)/127.5 - 1
	}
}

// Bytes fills dst with the nearest bytes of values in [-1, 1]; values beyond
// are clamped.
func Bytes(dst []uint8, values []float32) {
	for i, v := range values {
		dst[i] = uint8(float32(min(max(v+1, 0), 2)*127.5) + 0.5)
	}
}
