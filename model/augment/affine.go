// Package augment changes images for training, by keyed draws and with the
// same bits on every machine.
package augment

import (
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/fmath"
)

// Affine rotates, scales and shifts an image about its centre by uniform
// draws. Values between pixels are bilinear; beyond the border the nearest
// pixel's continues.
type Affine struct {
	Degrees float64 // rotation within ±Degrees
	Scale   float64 // magnification within 1±Scale
	Shift   float64 // of each axis, within ±Shift of the image's side
}

// Digits suits handwritten digits and shapes like them, which have an upright
// direction: 12 degrees, a tenth of size, 7 % of the side (2 of 28 pixels).
func Digits() Affine { return Affine{Degrees: 12, Scale: 0.1, Shift: 0.07} }

// Validate refuses ranges that make no sense.
func (a Affine) Validate() error {
	if !(a.Degrees >= 0 && a.Degrees <= 180) || !(a.Scale >= 0 && a.Scale < 1) || !(a.Shift >= 0 && a.Shift < 1) {
		return fmt.Errorf("augmentation needs degrees in 0..180, scale and shift in 0..1, but has %v, %v and %v", a.Degrees, a.Scale, a.Shift)
	}
	return nil
}

// Apply fills dst with src, both CHW of the shape, changed by draws of s.
func (a Affine) Apply(dst, src []float32, shape device.Shape, s *draws.Stream) {
	angle := s.Uniform(-a.Degrees, a.Degrees) * (math.Pi / 180)
	magnification := s.Uniform(1-a.Scale, 1+a.Scale)
	dx := s.Uniform(-a.Shift, a.Shift) * float64(shape.W)
	dy := s.Uniform(-a.Shift, a.Shift) * float64(shape.H)
	warp(dst, src, shape, angle, magnification, dx, dy)
}

// warp moves every pixel of dst back to where it came from in src.
func warp(dst, src []float32, shape device.Shape, angle, magnification, dx, dy float64) {
	sin, cos := fmath.SinCos(angle)
	// The inverse map's rows: source = m · (destination - centre - shift) + centre.
	m00, m01 := float32(cos/magnification), float32(sin/magnification)
	centreX, centreY := float32(float32(shape.W-1)/2), float32(float32(shape.H-1)/2)
	plane := shape.H * shape.W
	for y := range shape.H {
		v := float32(y) - centreY - float32(dy)
		for x := range shape.W {
			u := float32(x) - centreX - float32(dx)
			sx := float32(m00*u) + float32(m01*v) + centreX
			sy := float32(m00*v) - float32(m01*u) + centreY
			p := newPatch(sx, sy, shape)
			for c := range shape.C {
				dst[c*plane+y*shape.W+x] = p.value(src[c*plane:])
			}
		}
	}
}

// patch is the four pixels around a point, and how far it is from the first.
type patch struct {
	i00, i01, i10, i11 int
	fx, fy             float32
}

func newPatch(x, y float32, shape device.Shape) patch {
	x0, x1, fx := neighbours(x, shape.W)
	y0, y1, fy := neighbours(y, shape.H)
	return patch{y0*shape.W + x0, y0*shape.W + x1, y1*shape.W + x0, y1*shape.W + x1, fx, fy}
}

// neighbours returns the pixels on both sides of x among n, and the fraction
// of the way from the first to the second.
func neighbours(x float32, n int) (int, int, float32) {
	x = min(max(x, 0), float32(n-1))
	i := int(x)
	return i, min(i+1, n-1), x - float32(i)
}

func (p patch) value(plane []float32) float32 {
	top := between(plane[p.i00], plane[p.i01], p.fx)
	bottom := between(plane[p.i10], plane[p.i11], p.fx)
	return between(top, bottom, p.fy)
}

func between(a, b, f float32) float32 { return a + float32(f*(b-a)) }
