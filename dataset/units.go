package dataset

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Units groups the images of a data set into the units that a privacy promise
// protects, for example the images of one patient. Every image belongs to
// exactly one unit. Units are numbered in the order of their first images, so
// that the numbers follow from the grouping alone.
type Units struct {
	images []uint32 // unit after unit, each in ascending order
	starts []uint32 // of each unit in images, and the end of the last
}

// EachImage makes each of n images a unit of its own: unit i is image i.
func EachImage(n int) *Units {
	u := &Units{images: make([]uint32, n), starts: make([]uint32, n+1)}
	for i := range n {
		u.images[i], u.starts[i+1] = uint32(i), uint32(i+1)
	}
	return u
}

// Len is the number of units.
func (u *Units) Len() int { return len(u.starts) - 1 }

// Images are the indices of a unit's images, one or more, in ascending order.
// The caller must not change them.
func (u *Units) Images(unit int) []uint32 {
	from, to := u.starts[unit], u.starts[unit+1]
	return u.images[from:to:to]
}

// Grouped makes units of the images whose labels are equal; labels lie in 0 to
// len(labels)-1.
func Grouped(labels []uint32) *Units {
	const unseen = ^uint32(0)
	number := make([]uint32, len(labels)) // of the unit with a label
	for i := range number {
		number[i] = unseen
	}
	var sizes []uint32
	for _, l := range labels {
		if number[l] == unseen {
			number[l] = uint32(len(sizes))
			sizes = append(sizes, 0)
		}
		sizes[number[l]]++
	}
	u := &Units{images: make([]uint32, len(labels)), starts: make([]uint32, len(sizes)+1)}
	for i, n := range sizes {
		u.starts[i+1] = u.starts[i] + n
	}
	next := append([]uint32(nil), u.starts...)
	for i, l := range labels {
		unit := number[l]
		u.images[next[unit]] = uint32(i)
		next[unit]++
	}
	return u
}

// maxUnitName is the longest name of a unit, in bytes.
const maxUnitName = 200

// OpenUnits reads a unit file for a data set of n images: CSV (RFC 4180) with
// the header image,unit and a line for each image, in any order. The first
// column is the image's index, from 0 in the order in which the data set is
// read; the second any text without spaces around it. Equal texts, byte for
// byte, are one unit.
//
// Its errors hold no text of the file, which may name people, and not the
// number of images: they are fixed sentences behind the file's name and line.
func OpenUnits(path string, n int) (*Units, error) {
	return openUnits(path, n, byIndex(n))
}

// OpenNamedUnits is OpenUnits for the images of a folder: the first column is
// the image's path there, CLASS/FILE. Lines of files that were left out count
// for nothing.
func OpenNamedUnits(path string, o *Opened) (*Units, error) {
	return openUnits(path, o.Len(), byName(o))
}

func openUnits(path string, n int, column imageColumn) (*Units, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no unit file %s: data.units names one, absolute or within the data folder", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readUnits(path, f, n, column)
}

// imageColumn is how the first column of a unit file names images.
type imageColumn struct {
	// find is the image that a text names, leftOut for one that is not in the
	// data set on purpose, or what is wrong with it.
	find func(text string) (image int, problem string)
	// bytes is how much longer than an index the texts can be, in sum.
	bytes int64
}

const leftOut = -1

func byIndex(n int) imageColumn {
	return imageColumn{find: func(text string) (int, string) {
		image, err := strconv.ParseUint(text, 10, 64)
		switch {
		case err != nil:
			return 0, unitsIndex
		case image >= uint64(n):
			return 0, unitsBeyond
		}
		return int(image), ""
	}}
}

// byName finds paths however their accents are stored.
func byName(o *Opened) imageColumn {
	known, length := map[string]int{}, int64(0)
	note := func(name string, image int) {
		known[norm.NFC.String(name)] = image
		length += 4 * int64(len(name)) // decomposed, with quotation marks doubled
	}
	for i, name := range o.Names {
		note(name, i)
	}
	for _, f := range o.LeftOut {
		note(f.File, leftOut)
		length += 2*maxUnitName + 64
	}
	return imageColumn{bytes: length, find: func(text string) (int, string) {
		image, ok := known[norm.NFC.String(text)]
		if !ok {
			return 0, unitsPath
		}
		return image, ""
	}}
}

// readUnits is OpenUnits for a file's content.
func readUnits(name string, content io.Reader, n int, column imageColumn) (*Units, error) {
	// No file for n images is longer, with quotation marks doubled: what follows
	// is not read into memory.
	limited := &io.LimitedReader{R: content, N: 1<<10 + int64(n)*(2*maxUnitName+64) + column.bytes}
	buffered := bufio.NewReader(limited)
	if mark, _ := buffered.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		buffered.Discard(3) // spreadsheets put it before UTF-8
	}
	r := csv.NewReader(buffered)
	r.FieldsPerRecord, r.ReuseRecord = 2, true
	const none = ^uint32(0)
	labels, known := make([]uint32, n), map[string]uint32{}
	for i := range labels {
		labels[i] = none
	}
	for first := true; ; first = false {
		row, err := r.Read()
		var malformed *csv.ParseError
		switch {
		case err == io.EOF && limited.N == 0:
			return nil, fmt.Errorf("%s: %s", name, unitsTooLong)
		case err == io.EOF && first:
			return nil, fmt.Errorf("%s:1: %s", name, unitsHeader)
		case err == io.EOF:
			return complete(name, labels, none)
		case errors.As(err, &malformed) && first:
			return nil, fmt.Errorf("%s:%d: %s", name, malformed.Line, unitsHeader)
		case errors.As(err, &malformed):
			return nil, fmt.Errorf("%s:%d: %s", name, malformed.Line, unitsLine)
		case err != nil:
			return nil, err
		}
		line, _ := r.FieldPos(0)
		if first {
			if row[0] != "image" || row[1] != "unit" {
				return nil, fmt.Errorf("%s:%d: %s", name, line, unitsHeader)
			}
			continue
		}
		image, problem := column.find(row[0])
		bad := badUnitName(row[1])
		switch {
		case problem == unitsBeyond && bad == "":
			// Without its line, which in a file in order is the number of images.
			return nil, fmt.Errorf("%s: %s", name, problem)
		case problem != "" && problem != unitsBeyond:
			return nil, fmt.Errorf("%s:%d: %s", name, line, problem)
		case bad != "":
			return nil, fmt.Errorf("%s:%d: %s", name, line, bad)
		case image == leftOut:
			continue
		}
		if labels[image] != none {
			return nil, fmt.Errorf("%s:%d: %s", name, line, unitsTwice)
		}
		label, ok := known[row[1]]
		if !ok {
			label = uint32(len(known))
			known[row[1]] = label
		}
		labels[image] = label
	}
}

// complete refuses a file that leaves images out.
func complete(name string, labels []uint32, none uint32) (*Units, error) {
	for _, l := range labels {
		if l == none {
			return nil, fmt.Errorf("%s: %s", name, unitsMissing)
		}
	}
	return Grouped(labels), nil
}

// What may be wrong with a unit file.
const (
	unitsHeader  = `the first line of a unit file must be image,unit`
	unitsLine    = `the line must hold an image's index, a comma and its unit; a unit with a comma or a quotation mark in it stands between quotation marks`
	unitsIndex   = `the line must begin with the index of an image, a whole number from 0`
	unitsPath    = `the line must begin with the path of an image within the folder of the classes, CLASS/FILE, as the folder has it`
	unitsTwice   = `an earlier line gives this image a unit already; remove one of them`
	unitsBeyond  = `it names an image that the data set does not have; images count from 0, in the order of the data files: make the unit file from these very files`
	unitsMissing = `it leaves out images of the data set; give every image a unit, one of its own where it belongs to nobody else: make the unit file from these very files`
	unitsTooLong = `it is longer than any unit file of these images; make the unit file from these very files`

	unitsNoName   = `the line has an image but no unit; give it one, of its own if the image belongs to nobody else`
	unitsLongName = `the unit is longer than 200 bytes; shorten it, the same way on all lines of the unit`
	unitsSpaces   = `the unit has spaces around it, and another spelling would be another unit; remove them on all lines`
	unitsNoText   = `the unit is not UTF-8 text without control characters; write it in plain text, the same on all lines of the unit`
)

// badUnitName is what is wrong with a unit's name. A unit spelled in two ways
// would be two, each protected on its own, so what spreadsheets add unseen is
// refused.
func badUnitName(name string) string {
	switch {
	case name == "":
		return unitsNoName
	case len(name) > maxUnitName:
		return unitsLongName
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return unitsNoText
	case strings.TrimSpace(name) != name:
		return unitsSpaces
	}
	return ""
}
