package images

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
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
// usual file system: letters, marks and digits of any script, spaces inside,
// dots, dashes and underscores; not beginning with a dot, and no device of
// Windows. Names are composed (NFC), as most systems write them.
func SafeNames(classes []string) []string {
	names := make([]string, len(classes))
	taken := map[string]bool{}
	for i, class := range classes {
		name := strings.TrimRight(strings.Map(safeRune, norm.NFC.String(class)), " .")
		if name == "" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, " ") || len(name) > 100 || isDevice(name) {
			name = fmt.Sprintf("class-%d", i)
		}
		for taken[folded(name)] {
			name = fmt.Sprintf("%s-%d", name, i)
		}
		taken[folded(name)] = true
		names[i] = name
	}
	return names
}

func safeRune(r rune) rune {
	switch {
	case unicode.IsLetter(r), unicode.IsMark(r), unicode.IsDigit(r), strings.ContainsRune(" .-_", r):
		return r
	case r == '\u200c', r == '\u200d': // they join letters of Indic and Persian words
		return r
	}
	return '_'
}

// folded is equal for names that some file system takes for one: they ignore
// case, or how characters are composed.
func folded(name string) string { return norm.NFKC.String(strings.ToLower(name)) }

// isDevice knows the names that Windows keeps for devices, whatever follows a
// dot.
func isDevice(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	stem = strings.TrimRight(stem, " ")
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	return len(stem) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT")) && stem[3] >= '0' && stem[3] <= '9'
}
