package dataset

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The kinds of data that are read from a folder, as config's data.kind names
// them.
const (
	KindFolder = "folder" // a sub-folder of PNG or JPEG files for each class
	KindIdx    = "idx"    // MNIST's file names
	KindNPZ    = "npz"    // numpy arrays of images and labels
	KindCIFAR  = "cifar"  // CIFAR-10's or CIFAR-100's binary batches
	KindStrip  = "strip"  // PNG files of many images one below another, with labels as idx
)

// Found is what Survey finds in a folder. It is for the owner of the data
// alone: all of it but Kind and Classes follows from private images.
type Found struct {
	Kind   string `json:"kind"`
	Folder string `json:"folder"`
	// Classes are the names in the order of the labels; where the data have
	// none, the numbers from 0 to the largest label.
	Classes []string `json:"classes"`
	Counts  []int    `json:"counts"` // of each class's images, those that cannot be read left out
	Images  int      `json:"images"` // the sum of Counts
	Sizes   []Size   `json:"sizes"`  // of the images, the commonest first
	// Channels counts the images that are grey (1) and RGB (3).
	Channels map[int]int `json:"channels"`
	// Unreadable are the files that cannot be used, each with the reason.
	Unreadable []Unreadable `json:"unreadable,omitempty"`
	// Conflicts are images that are equal, pixel for pixel, under different
	// labels; Repeated counts those that are equal to an earlier one of their
	// own label.
	Conflicts []Conflict `json:"conflicts,omitempty"`
	Repeated  int        `json:"repeated,omitempty"`
	// TestImages is the size of the held-out split, 0 if there is none.
	TestImages int `json:"test_images"`
}

// Size is a size of images and how many have it.
type Size struct {
	Height int `json:"height"`
	Width  int `json:"width"`
	Images int `json:"images"`
}

// Unreadable is a file that cannot be used.
type Unreadable struct {
	File   string `json:"file"`   // its path within the folder, with slashes
	Reason string `json:"reason"` // "is truncated"
}

// Conflict is a pair of equal images under different labels.
type Conflict struct {
	First  string `json:"first"` // the image's name: its path, or its index
	Second string `json:"second"`
}

// surveyor gathers what Found tells of images, one after another.
type surveyor struct {
	found *Found
	sizes map[[2]int]int
	seen  map[[sha256.Size]byte]sighting
}

type sighting struct {
	name  string
	class int
}

func newSurveyor(kind, dir string) *surveyor {
	return &surveyor{
		found: &Found{Kind: kind, Folder: dir, Channels: map[int]int{}},
		sizes: map[[2]int]int{}, seen: map[[sha256.Size]byte]sighting{},
	}
}

func (s *surveyor) add(name string, class int, p picture) {
	f := s.found
	f.Counts[class]++
	f.Images++
	f.Channels[p.c]++
	s.sizes[[2]int{p.h, p.w}]++
	sum := pixelSum(p)
	first, again := s.seen[sum]
	switch {
	case !again:
		s.seen[sum] = sighting{name, class}
	case first.class == class:
		f.Repeated++
	default:
		f.Conflicts = append(f.Conflicts, Conflict{first.name, name})
	}
}

func pixelSum(p picture) [sha256.Size]byte {
	return sha256.Sum256(append(words("pixels", uint64(p.c), uint64(p.h), uint64(p.w)), p.pix...))
}

func (s *surveyor) done() *Found {
	for size, n := range s.sizes {
		s.found.Sizes = append(s.found.Sizes, Size{size[0], size[1], n})
	}
	slices.SortFunc(s.found.Sizes, func(a, b Size) int {
		if a.Images != b.Images {
			return b.Images - a.Images
		}
		if a.Height != b.Height {
			return a.Height - b.Height
		}
		return a.Width - b.Width
	})
	return s.found
}

// Survey knows the kind of a data folder by its content and says what is in
// it. Files that cannot be used are listed, not refused; a folder that no
// setting makes usable is an error. It decodes every image.
func Survey(dir string) (*Found, error) {
	kind, err := Recognise(dir)
	if err != nil {
		return nil, err
	}
	if kind == KindFolder {
		return surveyFolder(dir)
	}
	return surveyArrays(kind, dir)
}

// Recognise is the kind of a data folder, by the names of what is in it.
func Recognise(dir string) (kind string, err error) {
	root, err := openRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	is := func(pattern string) bool {
		matches, err := fs.Glob(root.FS(), pattern)
		return err == nil && len(matches) > 0
	}
	idx := is("train-images-idx3-ubyte*")
	var found []string
	for _, k := range []struct {
		kind  string
		there bool
	}{
		{KindIdx, idx},
		{KindCIFAR, is("data_batch_*.bin") || is("train.bin")},
		{KindNPZ, is("*.npz")},
		{KindStrip, !idx && is("*-labels-idx1-ubyte*")},
	} {
		if k.there {
			found = append(found, k.kind)
		}
	}
	switch {
	case len(found) > 1:
		return "", fmt.Errorf("%s holds data of several kinds, %s; leave one of them in the folder", dir, strings.Join(found, " and "))
	case len(found) == 1:
		return found[0], nil
	case holdsImages(dir):
		return KindFolder, nil
	}
	return "", fmt.Errorf("%s holds no images of a known kind: a folder of PNG or JPEG files for each class, idx, npz or CIFAR's .bin files, or tall PNG files with labels", dir)
}

// holdsImages says whether a folder of folders has an image in one of them.
func holdsImages(dir string) bool {
	root, err := openImageFolder(dir, Train)
	if err != nil || root == nil {
		return false
	}
	defer root.Close()
	classes, err := listClasses(root, maxClasses)
	if err != nil {
		return true // the survey says what is wrong
	}
	for _, name := range classes {
		files, err := listFiles(root, name, 0)
		if err != nil || slices.ContainsFunc(files, func(f imageFile) bool { return imageName(f.path) }) {
			return true
		}
	}
	return false
}

func surveyFolder(dir string) (*Found, error) {
	root, err := openImageFolder(dir, Train)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	s := newSurveyor(KindFolder, dir)
	if s.found.Classes, err = listClasses(root, maxClasses); err != nil {
		return nil, err
	}
	s.found.Counts = make([]int, len(s.found.Classes))
	for class, name := range s.found.Classes {
		files, err := listFiles(root, name, class)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			p, err := f.decode(root)
			if err != nil {
				s.found.Unreadable = append(s.found.Unreadable, Unreadable{f.path, err.Error()})
				continue
			}
			s.add(f.path, class, p)
		}
	}
	if s.found.TestImages, err = countHeldOut(dir); err != nil {
		return nil, err
	}
	return s.done(), nil
}

// surveyArrays is the survey of the kinds whose files hold many images each.
func surveyArrays(kind, dir string) (*Found, error) {
	source := Source{Kind: kind, Folder: dir}
	l, names, err := source.readRaw(Train)
	if err != nil {
		return nil, err
	}
	most := 0
	for _, label := range l.labels {
		most = max(most, int(label))
	}
	if names == nil {
		names = numbers(most + 1)
	} else if most >= len(names) {
		return nil, fmt.Errorf("%s has labels beyond the %d names of its classes", dir, len(names))
	}
	s := newSurveyor(kind, dir)
	s.found.Classes, s.found.Counts = names, make([]int, len(names))
	for i, label := range l.labels {
		s.add(fmt.Sprintf("image %d", i), int(label), l.picture(i))
	}
	test, _, err := source.readRaw(Test)
	if err != nil {
		return nil, err
	}
	if test != nil {
		s.found.TestImages = len(test.labels)
	}
	return s.done(), nil
}

// readRaw is readArrays for idx files too; a split that is not there is nil.
func (s Source) readRaw(split Split) (*labelled, []string, error) {
	if s.Kind != KindIdx {
		return s.readArrays(split)
	}
	if matches, _ := fs.Glob(os.DirFS(s.Folder), split.images()+"*"); len(matches) == 0 && split == Test {
		return nil, nil, nil
	}
	m, err := OpenIdx(s.Folder, split, numbers(maxClasses))
	if err != nil {
		return nil, nil, err
	}
	return &labelled{c: m.c, h: m.h, w: m.w, pixels: m.pixels, labels: m.labels}, nil, nil
}

// numbers are the names of labels that have none.
func numbers(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}

// Problems are what a run would refuse, or what is likely a mistake: one
// sentence each, with the remedy.
func (f *Found) Problems() []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if n := len(f.Unreadable); n > 0 {
		say("%s cannot be used: repair or remove, or leave such files out with data.corrupt: leave_out", counted(n, "file"))
	}
	for class, n := range f.Counts {
		if n == 0 {
			say("the class %q (label %d) has no image: add images of it, or leave it out of the classes", f.Classes[class], class)
		}
	}
	if n := len(f.Sizes); n > 1 {
		say("the images have %d different sizes: bring them to one with data.transform: resize, crop or pad", n)
	}
	if len(f.Channels) > 1 {
		say("some images are grey and some RGB: say what they shall be with data.transform.channels: grey or rgb")
	}
	return append(all, f.aboutEqual()...)
}

// aboutEqual is what there is to say of equal images.
func (f *Found) aboutEqual() (all []string) {
	if n := len(f.Conflicts); n > 0 {
		all = append(all, fmt.Sprintf("%s of images, equal pixel for pixel, under different labels, such as %s and %s: look whether one is in the wrong class",
			counted(n, "pair"), f.Conflicts[0].First, f.Conflicts[0].Second))
	}
	if f.Repeated > 0 {
		all = append(all, fmt.Sprintf("%s equal, pixel for pixel, to an earlier one of the same class: the privacy promise is for each copy on its own; remove the copies, or make copies one unit with data.units",
			counted(f.Repeated, "image")))
	}
	return all
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// countHeldOut counts the files of a folder's held-out split.
func countHeldOut(dir string) (int, error) {
	root, err := openImageFolder(dir, Test)
	if root == nil || err != nil {
		return 0, err
	}
	defer root.Close()
	return countFiles(root)
}

func countFiles(root *os.Root) (n int, err error) {
	classes, err := listClasses(root, maxClasses)
	if err != nil {
		return 0, err
	}
	for _, name := range classes {
		files, err := listFiles(root, name, 0)
		if err != nil {
			return 0, err
		}
		n += len(files)
	}
	return n, nil
}
