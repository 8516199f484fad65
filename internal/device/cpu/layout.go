package cpu

import (
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

const lanes = kernel.Lanes

// halo is a border of zeros around each plane, in pixels.
type halo struct{ top, left, bottom, right int }

func (h halo) union(g halo) halo {
	return halo{max(h.top, g.top), max(h.left, g.left), max(h.bottom, g.bottom), max(h.right, g.right)}
}

// layout is a value's place in the arena: planes [C][top+H+bottom][left+W+
// right][16] from offset on, with a gap after each plane of some sizes. Strides
// are in floats.
type layout struct {
	device.Shape
	halo
	offset, size     int
	base, plane, row int
}

func newLayout(s device.Shape, h halo) layout {
	l := layout{Shape: s, halo: h}
	l.row = (h.left + s.W + h.right) * lanes
	l.plane = (h.top + s.H + h.bottom) * l.row
	if l.plane%(8*lanes) == 0 {
		l.plane += lanes // or a pixel's channels would share few sets of the caches
	}
	l.base = h.top*l.row + h.left*lanes
	l.size = s.C * l.plane
	return l
}

// pixel is the offset of a pixel of channel 0 in the buffer.
func (l *layout) pixel(y, x int) int { return l.base + y*l.row + x*lanes }

// pixels lists the offsets of all pixels of channel 0, relative to the first.
func (l *layout) pixels() []int32 {
	var p []int32
	for y := range l.H {
		for x := range l.W {
			p = append(p, int32(y*l.row+x*lanes))
		}
	}
	return p
}

// channels lists the offsets of the first n channels.
func (l *layout) channels(n int) []int32 {
	c := make([]int32, n)
	for i := range c {
		c[i] = int32(i * l.plane)
	}
	return c
}

func (l *layout) extent() kernel.Extent { return kernel.Extent{C: l.C, H: l.H, W: l.W} }

// buffer is the whole of the value, halo included.
func (l *layout) buffer(s *stream) []float32 { return s.arena[l.offset : l.offset+l.size] }

// interior is the value from its first pixel on.
func (l *layout) interior(s *stream) []float32 { return s.arena[l.offset+l.base : l.offset+l.size] }

func (l *layout) view(s *stream) kernel.View {
	return kernel.View{Data: l.interior(s), Chan: l.plane, Row: l.row}
}

// slice is the view of the channels from c on.
func (l *layout) slice(s *stream, c int) kernel.View {
	return kernel.View{Data: l.interior(s)[c*l.plane:], Chan: l.plane, Row: l.row}
}

// clearHalo zeroes the border of every plane. The right border of a row and
// the left one of the next are adjacent.
func (l *layout) clearHalo(s *stream) {
	between := (l.left + l.right) * lanes
	for c := range l.C {
		one := l.buffer(s)[c*l.plane:][:l.plane]
		clear(one[:l.base])
		if between > 0 {
			for y := range l.H - 1 {
				clear(one[l.pixel(y, l.W):][:between])
			}
		}
		clear(one[l.pixel(l.H-1, l.W):])
	}
}

// load sets one lane from data in the order [C][H][W].
func (l *layout) load(s *stream, lane int, data []float32) {
	buf, i := l.buffer(s), 0
	for c := range l.C {
		for y := range l.H {
			row := buf[c*l.plane+l.pixel(y, 0)+lane:]
			for x := range l.W {
				row[x*lanes] = data[i]
				i++
			}
		}
	}
}

// store copies one lane to dst in the order [C][H][W].
func (l *layout) store(s *stream, lane int, dst []float32) {
	buf, i := l.buffer(s), 0
	for c := range l.C {
		for y := range l.H {
			row := buf[c*l.plane+l.pixel(y, 0)+lane:]
			for x := range l.W {
				dst[i] = row[x*lanes]
				i++
			}
		}
	}
}
