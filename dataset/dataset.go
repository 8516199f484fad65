// Package dataset holds labelled images: readers, a writer, transforms and a
// keyed fingerprint. It gives examples by index and does not know which of
// them a step samples.
package dataset

import "fmt"

// Dataset is a sequence of images of one shape, each with a class.
type Dataset interface {
	Len() int
	// Shape is the channels (1: grey, 3: RGB), height and width of an image.
	Shape() (c, h, w int)
	// Classes are the names of the labels 0, 1, and so on.
	Classes() []string
	// Image returns the c·h·w bytes of image i in the order channel, row,
	// column; 0 is black. The caller must not change them.
	Image(i int) []uint8
	// Label is the class of image i, from 0 to len(Classes())-1.
	Label(i int) int
}

// Memory is a Dataset held in memory.
type Memory struct {
	c, h, w int
	classes []string
	pixels  []uint8
	labels  []uint16
}

// maxClasses is what a uint16 label can tell apart.
const maxClasses = 1 << 16

// NewMemory makes a Dataset of pixels, the images one after another, and
// their labels. It keeps both slices. Its errors tell no label and no pixel.
func NewMemory(c, h, w int, classes []string, pixels []uint8, labels []uint16) (*Memory, error) {
	switch {
	case c != 1 && c != 3:
		return nil, fmt.Errorf("images have %d channels; 1 (grey) and 3 (RGB) are known", c)
	case h < 1 || w < 1:
		return nil, fmt.Errorf("images of %d x %d pixels are empty", w, h)
	case len(pixels) != len(labels)*c*h*w:
		return nil, fmt.Errorf("%d labels do not fit %d bytes of %d x %d x %d images", len(labels), len(pixels), c, h, w)
	case len(classes) == 0 || len(classes) > maxClasses:
		return nil, fmt.Errorf("a data set has 1 to %d classes, not %d", maxClasses, len(classes))
	}
	for _, l := range labels {
		if int(l) >= len(classes) {
			return nil, labelError(len(classes))
		}
	}
	return &Memory{c: c, h: h, w: w, classes: classes, pixels: pixels, labels: labels}, nil
}

func labelError(classes int) error {
	return fmt.Errorf("a label lies outside 0 to %d: the data have other classes than the %d declared", classes-1, classes)
}

func (m *Memory) Len() int             { return len(m.labels) }
func (m *Memory) Shape() (c, h, w int) { return m.c, m.h, m.w }
func (m *Memory) Classes() []string    { return m.classes }
func (m *Memory) Label(i int) int      { return int(m.labels[i]) }

func (m *Memory) Image(i int) []uint8 {
	n := m.c * m.h * m.w
	return m.pixels[i*n : (i+1)*n : (i+1)*n]
}
