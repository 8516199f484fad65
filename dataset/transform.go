package dataset

import (
	"fmt"
	"slices"
)

// Transform brings images to one shape. Its steps are taken in the order of
// the fields, each where it is given; a picture is never padded, cropped or
// scaled otherwise. Sizes are height and width.
type Transform struct {
	// Channels is Grey, which makes RGB grey by luma (ITU-R BT.601), RGB, which
	// repeats grey three times, or "", which leaves the channels as they are.
	Channels string
	// Resize scales: along an axis that shrinks, a pixel is the mean of the
	// area it covers; along one that grows, it is interpolated linearly between
	// pixel centres. The proportions are not kept. The arithmetic is exact up to
	// one rounding to the nearest byte, so all machines agree.
	Resize [2]int
	// Crop keeps the middle; where it cannot be in the middle, half a pixel
	// further up and left.
	Crop [2]int
	// Pad puts the image into the middle, black around it.
	Pad [2]int
}

// The values of Transform.Channels.
const (
	Grey = "grey"
	RGB  = "rgb"
)

// Apply transforms the images of d. It fails if one of them is too small for
// the crop or too large for the pad.
func (t Transform) Apply(d Dataset) (*Memory, error) {
	c, h, w := d.Shape()
	b := builder{transform: t}
	for i := range d.Len() {
		if err := b.add(picture{c, h, w, d.Image(i)}, d.Label(i)); err != nil {
			return nil, fmt.Errorf("an image %w", err)
		}
	}
	return b.memory(d.Classes())
}

// apply transforms one picture. Its error goes on a sentence that begins with
// the picture's name; it depends on this picture alone.
func (t Transform) apply(p picture) (picture, error) {
	switch {
	case t.Channels == Grey && p.c == 3:
		p = toGrey(p)
	case t.Channels == RGB && p.c == 1:
		p = toRGB(p)
	}
	if h, w := t.Resize[0], t.Resize[1]; h > 0 && (h != p.h || w != p.w) {
		p = resize(p, h, w)
	}
	if h, w := t.Crop[0], t.Crop[1]; h > 0 {
		if h > p.h || w > p.w {
			return p, fmt.Errorf("has %d x %d pixels, too few for the crop to %d x %d: give data.transform a resize, or a smaller crop", p.w, p.h, w, h)
		}
		p = move(p, h, w, -((p.h - h) / 2), -((p.w - w) / 2))
	}
	if h, w := t.Pad[0], t.Pad[1]; h > 0 {
		if h < p.h || w < p.w {
			return p, fmt.Errorf("has %d x %d pixels, too many for the pad to %d x %d: give data.transform a resize or a crop, or a larger pad", p.w, p.h, w, h)
		}
		p = move(p, h, w, (h-p.h)/2, (w-p.w)/2)
	}
	return p, nil
}

// move puts a picture's corner at row top and column left of h x w black
// pixels.
func move(p picture, h, w, top, left int) picture {
	out := picture{p.c, h, w, make([]uint8, p.c*h*w)}
	paste(out.pix, h, w, p.pix, p.h, p.w, p.c, top, left)
	return out
}

// paste copies the part of src that lies in dst when its corner is at row
// top and column left of dst.
func paste(dst []uint8, h, w int, src []uint8, h0, w0, c, top, left int) {
	for ch := range c {
		for y := max(0, top); y < min(h, top+h0); y++ {
			x0, x1 := max(0, left), min(w, left+w0)
			copy(dst[(ch*h+y)*w+x0:(ch*h+y)*w+x1], src[(ch*h0+y-top)*w0+x0-left:])
		}
	}
}

func resize(p picture, h, w int) picture {
	rows, columns := axisTaps(p.h, h), axisTaps(p.w, w)
	out := picture{p.c, h, w, make([]uint8, p.c*h*w)}
	for ch := range p.c {
		plane := p.pix[ch*p.h*p.w:]
		for y, row := range rows {
			for x, column := range columns {
				var sum, weight int64
				for _, r := range row {
					for _, k := range column {
						sum += r.weight * k.weight * int64(plane[r.index*p.w+k.index])
						weight += r.weight * k.weight
					}
				}
				out.pix[(ch*h+y)*w+x] = uint8((2*sum + weight) / (2 * weight))
			}
		}
	}
	return out
}

// tap is an input pixel's integer weight in an output pixel.
type tap struct {
	index  int
	weight int64
}

// axisTaps are the taps of each of out pixels over in pixels.
func axisTaps(in, out int) [][]tap {
	taps := make([][]tap, out)
	for o := range taps {
		if out <= in {
			taps[o] = areaTaps(o, in, out)
		} else {
			taps[o] = linearTaps(o, in, out)
		}
	}
	return taps
}

// areaTaps: in units of 1/out input pixels, output pixel o covers
// [o·in, (o+1)·in) and input pixel i covers [i·out, (i+1)·out).
func areaTaps(o, in, out int) (taps []tap) {
	for i := o * in / out; i < in && i*out < (o+1)*in; i++ {
		overlap := min((o+1)*in, (i+1)*out) - max(o*in, i*out)
		taps = append(taps, tap{i, int64(overlap)})
	}
	return taps
}

// linearTaps: the centre of output pixel o lies at
// ((2o+1)·in − out) / (2·out) in input pixels.
func linearTaps(o, in, out int) []tap {
	at := min(max((2*o+1)*in-out, 0), (in-1)*2*out)
	i, fraction := at/(2*out), at%(2*out)
	if fraction == 0 {
		return []tap{{i, 1}}
	}
	return []tap{{i, int64(2*out - fraction)}, {i + 1, int64(fraction)}}
}

func toGrey(p picture) picture {
	n := p.h * p.w
	out := picture{1, p.h, p.w, make([]uint8, n)}
	for i := range out.pix {
		r, g, b := int(p.pix[i]), int(p.pix[n+i]), int(p.pix[2*n+i])
		out.pix[i] = uint8((299*r + 587*g + 114*b + 500) / 1000)
	}
	return out
}

func toRGB(p picture) picture {
	return picture{3, p.h, p.w, slices.Concat(p.pix, p.pix, p.pix)}
}
