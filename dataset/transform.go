package dataset

import "fmt"

// Pad puts each image into the middle of h x w pixels, black around it. It
// panics if the images are larger: callers choose sizes, data do not.
func Pad(d Dataset, h, w int) *Memory {
	c, h0, w0 := d.Shape()
	if h < h0 || w < w0 {
		panic(fmt.Sprintf("dataset: cannot pad %d x %d to %d x %d", h0, w0, h, w))
	}
	return each(d, c, h, w, func(dst, src []uint8) {
		paste(dst, h, w, src, h0, w0, c, (h-h0)/2, (w-w0)/2)
	})
}

// Crop keeps the middle h x w pixels of each image. It panics if the images
// are smaller.
func Crop(d Dataset, h, w int) *Memory {
	c, h0, w0 := d.Shape()
	if h > h0 || w > w0 {
		panic(fmt.Sprintf("dataset: cannot crop %d x %d to %d x %d", h0, w0, h, w))
	}
	return each(d, c, h, w, func(dst, src []uint8) {
		paste(dst, h, w, src, h0, w0, c, -((h0 - h) / 2), -((w0 - w) / 2))
	})
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

// Resize scales each image to h x w pixels: along an axis that shrinks, a
// pixel is the mean of the area it covers; along one that grows, it is
// interpolated linearly between pixel centres. The arithmetic is exact up to
// one rounding to the nearest byte, so all machines agree.
func Resize(d Dataset, h, w int) *Memory {
	c, h0, w0 := d.Shape()
	rows, columns := axisTaps(h0, h), axisTaps(w0, w)
	return each(d, c, h, w, func(dst, src []uint8) {
		for ch := range c {
			plane := src[ch*h0*w0:]
			for y, row := range rows {
				for x, column := range columns {
					var sum, weight int64
					for _, r := range row {
						for _, k := range column {
							sum += r.weight * k.weight * int64(plane[r.index*w0+k.index])
							weight += r.weight * k.weight
						}
					}
					dst[(ch*h+y)*w+x] = uint8((2*sum + weight) / (2 * weight))
				}
			}
		}
	})
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

// Grey turns RGB into grey by luma (ITU-R BT.601); grey stays as it is.
func Grey(d Dataset) *Memory {
	c, h, w := d.Shape()
	return each(d, 1, h, w, func(dst, src []uint8) {
		if c == 1 {
			copy(dst, src)
			return
		}
		n := h * w
		for i := range dst {
			r, g, b := int(src[i]), int(src[n+i]), int(src[2*n+i])
			dst[i] = uint8((299*r + 587*g + 114*b + 500) / 1000)
		}
	})
}

// RGB turns grey into three equal channels; RGB stays as it is.
func RGB(d Dataset) *Memory {
	c, h, w := d.Shape()
	return each(d, 3, h, w, func(dst, src []uint8) {
		for i := range 3 {
			copy(dst[i*h*w:(i+1)*h*w], src[(i%c)*h*w:])
		}
	})
}

// each builds a data set of c x h x w images, black before f fills them.
func each(d Dataset, c, h, w int, f func(dst, src []uint8)) *Memory {
	n := c * h * w
	m := &Memory{
		c: c, h: h, w: w, classes: d.Classes(),
		pixels: make([]uint8, d.Len()*n), labels: make([]uint16, d.Len()),
	}
	for i := range d.Len() {
		f(m.pixels[i*n:(i+1)*n], d.Image(i))
		m.labels[i] = uint16(d.Label(i))
	}
	return m
}
