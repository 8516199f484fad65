package augment

import (
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/fmath"
)

// Handwriting draws a character anew: its ink, bright on dark, is brought to
// the middle and to a given size, as MNIST's digits were, turned, sheared,
// stretched and shifted by uniform draws, and its strokes are thickened and
// darkened. It makes
// public characters of one hand look like those of many.
type Handwriting struct {
	InkBox  float64 // the longer side of the ink's box becomes this share of the image's
	Degrees float64 // rotation within ±Degrees
	Shear   float64 // sideways per height, within ±Shear
	Scale   float64 // of each axis, within 1±Scale
	Shift   float64 // of each axis, within ±Shift of the image's side
	Stroke  float64 // strokes grow on each side by up to this many pixels
	Ink     float64 // then every pixel has this many times its ink, full ink at most
}

// maxStroke bounds the neighbourhood that a thickened pixel looks at.
const maxStroke = 3

// Validate refuses ranges that make no sense.
func (h Handwriting) Validate() error {
	switch {
	case !(h.InkBox > 0 && h.InkBox <= 1):
		return fmt.Errorf("the ink's box must be more than 0 and at most 1 of the image's side, not %v", h.InkBox)
	case !(h.Degrees >= 0 && h.Degrees <= 180), !(h.Shear >= 0 && h.Shear <= 2):
		return fmt.Errorf("degrees must lie in 0..180 and shear in 0..2, not %v and %v", h.Degrees, h.Shear)
	case !(h.Scale >= 0 && h.Scale < 1), !(h.Shift >= 0 && h.Shift < 1):
		return fmt.Errorf("scale and shift must be at least 0 and less than 1, not %v and %v", h.Scale, h.Shift)
	case !(h.Stroke >= 0 && h.Stroke <= maxStroke):
		return fmt.Errorf("strokes can grow by 0 to %d pixels, not %v", maxStroke, h.Stroke)
	case !(h.Ink >= 1 && h.Ink <= 10):
		return fmt.Errorf("ink can be multiplied by 1 to 10, not %v", h.Ink)
	}
	return nil
}

// Apply fills dst with src, both CHW of the shape with values in [-1, 1],
// changed by draws of s.
func (h Handwriting) Apply(dst, src []float32, shape device.Shape, s *draws.Stream) {
	top, left, height, width := inkBox(src, shape)
	size := float64(h.InkBox*float64(max(shape.H, shape.W))) / float64(max(height, width))
	sin, cos := fmath.SinCos(s.Uniform(-h.Degrees, h.Degrees) * (math.Pi / 180))
	shear := s.Uniform(-h.Shear, h.Shear)
	sx := float64(size * s.Uniform(1-h.Scale, 1+h.Scale))
	sy := float64(size * s.Uniform(1-h.Scale, 1+h.Scale))
	// The inverse of rotation · shear · scale, row by row.
	m := plane{
		xx: float32(float64(cos+float64(shear*sin)) / sx), xy: float32(float64(sin-float64(shear*cos)) / sx),
		yx: float32(-sin / sy), yy: float32(cos / sy),
		toX: float32(float64(float64(shape.W-1)/2) + float64(s.Uniform(-h.Shift, h.Shift)*float64(shape.W))),
		toY: float32(float64(float64(shape.H-1)/2) + float64(s.Uniform(-h.Shift, h.Shift)*float64(shape.H))),
		// The middle of the box goes to the middle of the image.
		fromX: float32(left) + float32(float32(width-1)/2), fromY: float32(top) + float32(float32(height-1)/2),
	}
	m.move(dst, src, shape)
	thicken(dst, shape, s.Uniform(0, h.Stroke))
	for i, v := range dst {
		dst[i] = min(1, float32(float32(h.Ink)*(v+1))-1)
	}
}

// ink is the level above which a pixel belongs to a stroke.
const ink = -0.5

// inkBox returns the smallest box around the ink, the whole image if there is
// none.
func inkBox(src []float32, shape device.Shape) (top, left, height, width int) {
	top, left = shape.H, shape.W
	bottom, right := -1, -1
	for i, v := range src {
		if v > ink {
			y, x := i/shape.W%shape.H, i%shape.W
			top, bottom = min(top, y), max(bottom, y)
			left, right = min(left, x), max(right, x)
		}
	}
	if bottom < 0 {
		return 0, 0, shape.H, shape.W
	}
	return top, left, bottom - top + 1, right - left + 1
}

// plane is a linear map from dst back to src about a point of each.
type plane struct{ xx, xy, yx, yy, toX, toY, fromX, fromY float32 }

// move fills dst with src; beyond src's border lies paper.
func (m plane) move(dst, src []float32, shape device.Shape) {
	n := shape.H * shape.W
	for y := range shape.H {
		v := float32(y) - m.toY
		for x := range shape.W {
			u := float32(x) - m.toX
			sx := float32(m.xx*u) + float32(m.xy*v) + m.fromX
			sy := float32(m.yx*u) + float32(m.yy*v) + m.fromY
			for c := range shape.C {
				dst[c*n+y*shape.W+x] = paper(src[c*n:(c+1)*n], shape, sx, sy)
			}
		}
	}
}

// paper interpolates src at a point; -1, dark, continues beyond the border.
func paper(src []float32, shape device.Shape, x, y float32) float32 {
	x0, y0 := int(math.Floor(float64(x))), int(math.Floor(float64(y)))
	fx, fy := x-float32(x0), y-float32(y0)
	at := func(y, x int) float32 {
		if y < 0 || y >= shape.H || x < 0 || x >= shape.W {
			return -1
		}
		return src[y*shape.W+x]
	}
	return between(between(at(y0, x0), at(y0, x0+1), fx), between(at(y0+1, x0), at(y0+1, x0+1), fx), fy)
}

// thicken lets each pixel take the most of its neighbours' ink, less the
// farther they are: a neighbour at distance d counts by 1 + radius - d of its
// ink, at most by all of it.
func thicken(img []float32, shape device.Shape, radius float64) {
	reach := int(math.Ceil(radius))
	if reach == 0 {
		return
	}
	var weights [2*maxStroke + 1][2*maxStroke + 1]float32
	for dy := -reach; dy <= reach; dy++ {
		for dx := -reach; dx <= reach; dx++ {
			d := math.Sqrt(float64(dx*dx + dy*dy))
			weights[dy+reach][dx+reach] = float32(min(1, max(0, 1+radius-d)))
		}
	}
	n := shape.H * shape.W
	src := make([]float32, n)
	for c := range shape.C {
		copy(src, img[c*n:])
		for y := range shape.H {
			for x := range shape.W {
				most := float32(0)
				for dy := max(-reach, -y); dy <= min(reach, shape.H-1-y); dy++ {
					for dx := max(-reach, -x); dx <= min(reach, shape.W-1-x); dx++ {
						v := src[(y+dy)*shape.W+x+dx] + 1
						most = max(most, float32(v*weights[dy+reach][dx+reach]))
					}
				}
				img[c*n+y*shape.W+x] = most - 1
			}
		}
	}
}
