package images

import (
	"fmt"
	"strings"
)

// Set is a sequence of labelled images of one shape, as package dataset's
// Dataset: see there.
type Set interface {
	Len() int
	Shape() (c, h, w int)
	Classes() []string
	Image(i int) []uint8
	Label(i int) int
}

// Layout is what a Writer knows of its images before it sees them.
type Layout struct {
	Images  int // how many will come
	C, H, W int
	Classes []string
	Label   func(i int) int // class of image i
}

func layoutOf(s Set) Layout {
	c, h, w := s.Shape()
	return Layout{Images: s.Len(), C: c, H: h, W: w, Classes: s.Classes(), Label: s.Label}
}

// Writer stores images one after another, in memory that does not grow with
// their number.
type Writer interface {
	// Add stores the next image, C·H·W bytes in the order channel, row, column.
	Add(image []uint8) error
	// Close makes what was written appear under its name, in place of what was
	// there. All images must have been added.
	Close() error
	// Abort removes what was written; after Close it does nothing.
	Abort()
}

// WriteNPZ stores a set as CreateNPZ's archive.
func WriteNPZ(path string, s Set) error {
	z, err := CreateNPZ(path, layoutOf(s))
	if err != nil {
		return err
	}
	return writeAll(z, s)
}

// WriteFolder stores a set as CreateFolder's folder.
func WriteFolder(path string, s Set) error {
	f, err := CreateFolder(path, layoutOf(s))
	if err != nil {
		return err
	}
	return writeAll(f, s)
}

func writeAll(w Writer, s Set) error {
	defer w.Abort()
	for i := range s.Len() {
		if err := w.Add(s.Image(i)); err != nil {
			return err
		}
	}
	return w.Close()
}

// SafeNames makes class names into names of folders, all different, on every
// usual file system: letters, digits, dots, dashes and underscores, not
// beginning with a dot.
func SafeNames(classes []string) []string {
	names := make([]string, len(classes))
	taken := map[string]bool{}
	for i, class := range classes {
		name := strings.Map(safeRune, class)
		if name == "" || strings.HasPrefix(name, ".") || len(name) > 100 {
			name = fmt.Sprintf("class-%d", i)
		}
		for taken[strings.ToLower(name)] { // some file systems ignore case
			name = fmt.Sprintf("%s-%d", name, i)
		}
		taken[strings.ToLower(name)] = true
		names[i] = name
	}
	return names
}

func safeRune(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
		return r
	}
	return '_'
}
