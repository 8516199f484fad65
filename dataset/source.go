package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/text/unicode/norm"
)

// Source says where labelled images come from and what is made of them.
type Source struct {
	Kind   string // KindFolder and so on
	Folder string
	// Images and Labels are files in Folder that take the place of the kind's
	// own names for the training split: idx and strip in pairs, npz one archive.
	Images, Labels []string
	// Classes are the declared names. With nil ones the classes are those that
	// occur, which tells which occur: that is for public data.
	Classes   []string
	Transform Transform
	// LeaveOut leaves out the files that cannot be used, each for itself, where
	// Open refuses them otherwise.
	LeaveOut bool
}

// Opened is a data set in memory with what its owner may want to know of it.
type Opened struct {
	*Memory
	// Names are the images' paths within an image folder, CLASS/FILE; nil for
	// data in which images have numbers only.
	Names []string
	// LeftOut are the files that Source.LeaveOut left out.
	LeftOut []Unreadable

	transform Transform
	// reread decodes the images once more, in their order; nil where no
	// transform changed them.
	reread func(f func(picture) error) error
}

// Open reads one split, decodes every image and transforms it. It refuses data
// with a declared class that has no image, and an image that is of another
// shape than the rest.
//
// Its errors may hold names of files, of private ones too: they are for the
// owner of the data alone.
func (s Source) Open(split Split) (*Opened, error) {
	if err := s.checkNames(); err != nil {
		return nil, err
	}
	var o *Opened
	var err error
	switch s.Kind {
	case KindFolder:
		o, err = s.openFolder(split)
	case KindIdx:
		o, err = s.openIdx(split)
	default:
		o, err = s.openArrays(split)
	}
	if err != nil {
		return nil, err
	}
	if o.transform = s.Transform; o.transform == (Transform{}) {
		o.reread = nil
	}
	if split == Train && s.Classes != nil {
		return o, s.noEmptyClass(o)
	}
	return o, nil
}

func (s Source) checkNames() error {
	seen := map[string]bool{}
	for _, name := range s.Classes {
		if n := norm.NFC.String(name); seen[n] {
			return fmt.Errorf("the class %q is declared twice", n)
		} else {
			seen[n] = true
		}
	}
	return nil
}

func (s Source) noEmptyClass(d Dataset) error {
	counts := make([]int, len(s.Classes))
	for i := range d.Len() {
		counts[d.Label(i)]++
	}
	for label, n := range counts {
		if n == 0 {
			return fmt.Errorf("no image in %s has the class %q (label %d): add images of it, or take it out of data.class_names", s.Folder, s.Classes[label], label)
		}
	}
	return nil
}

func (s Source) openIdx(split Split) (*Opened, error) {
	read := func() (*Memory, error) {
		if split == Train && len(s.Images) > 0 {
			return OpenIdxFiles(within(s.Folder, s.Images), within(s.Folder, s.Labels), s.Classes)
		}
		return OpenIdx(s.Folder, split, s.Classes)
	}
	m, err := read()
	if err == nil && s.Transform != (Transform{}) {
		m, err = s.Transform.Apply(m)
	}
	return &Opened{Memory: m, reread: func(f func(picture) error) error {
		m, err := read()
		if err != nil {
			return err
		}
		for i := range m.Len() {
			if err := f(picture{m.c, m.h, m.w, m.Image(i)}); err != nil {
				return err
			}
		}
		return nil
	}}, err
}

// within are the paths of files that a config names within a folder.
func within(folder string, names []string) []string {
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = folder + string(os.PathSeparator) + n
	}
	return paths
}

// openArrays opens the kinds whose files hold many images each.
func (s Source) openArrays(split Split) (*Opened, error) {
	l, names, err := s.readArrays(split)
	switch {
	case err != nil:
		return nil, err
	case l == nil:
		return nil, fmt.Errorf("%s has no held-out images: for kind %s they are %s", s.Folder, s.Kind, heldOutOf[s.Kind])
	}
	classes := s.Classes
	switch {
	case classes == nil && names != nil:
		classes = names
	case classes == nil:
		classes = compact(l.labels)
	case names != nil && !sameNames(classes, names):
		return nil, fmt.Errorf("data.class_names are not the names that %s gives its labels, in the order of the labels: declare these", s.Folder)
	}
	b := builder{transform: s.Transform}
	for i, label := range l.labels {
		if int(label) >= len(classes) {
			return nil, fmt.Errorf("%s: %w", s.Folder, labelError(len(classes)))
		}
		if err := b.add(l.picture(i), int(label)); err != nil {
			return nil, fmt.Errorf("%s: image %d %w", s.Folder, i, err)
		}
	}
	m, err := b.memory(classes)
	return &Opened{Memory: m, reread: func(f func(picture) error) error {
		l, _, err := s.readArrays(split)
		if err != nil || l == nil {
			return errChanged
		}
		for i := range l.labels {
			if err := f(l.picture(i)); err != nil {
				return err
			}
		}
		return nil
	}}, err
}

// heldOutOf says where each kind's held-out images lie.
var heldOutOf = map[string]string{
	KindNPZ:   "the arrays x_test and y_test, or test_images and test_labels, or a file test.npz",
	KindCIFAR: "test_batch.bin or test.bin",
	KindStrip: "test.png with test-labels-idx1-ubyte or .gz",
}

// readArrays reads a split, and the names of the labels where the data have
// some. Without such a held-out split it returns nil.
func (s Source) readArrays(split Split) (*labelled, []string, error) {
	switch s.Kind {
	case KindNPZ:
		path, arrays, err := findNPZ(s.Folder, s.Images, split)
		if err != nil || path == "" {
			return nil, nil, err
		}
		l, err := readNPZ(path, arrays)
		return l, nil, err
	case KindCIFAR:
		files, labels, names := cifarFiles(s.Folder, split)
		if files == nil && split == Test {
			return nil, nil, nil
		}
		if files == nil {
			return nil, nil, fmt.Errorf("the data folder %s has neither data_batch_1.bin nor train.bin", s.Folder)
		}
		l, err := readCIFAR(files, labels)
		if err != nil {
			return nil, nil, err
		}
		classes, err := readNames(s.Folder, names)
		return l, classes, err
	case KindStrip:
		images, labels := within(s.Folder, s.Images), within(s.Folder, s.Labels)
		if split == Test || len(images) == 0 {
			var err error
			if images, labels, err = stripFiles(s.Folder, split); err != nil || len(images) == 0 {
				return nil, nil, err
			}
		}
		l, err := readStrips(images, labels)
		if err != nil {
			return nil, nil, err
		}
		classes, err := readNames(s.Folder, "classes.txt")
		return l, classes, err
	}
	return nil, nil, fmt.Errorf("no data of kind %q are read from a folder", s.Kind)
}

func sameNames(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool { return norm.NFC.String(x) == norm.NFC.String(y) })
}

func (s Source) openFolder(split Split) (*Opened, error) {
	root, err := openImageFolder(s.Folder, split)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, fmt.Errorf("%s has no held-out images: put them into DIR/test/CLASS or DIR/val/CLASS, beside DIR/train/CLASS", s.Folder)
	}
	defer root.Close()
	classes, label, err := s.bindFolders(root, split)
	if err != nil {
		return nil, err
	}
	o, b := &Opened{}, builder{transform: s.Transform}
	for _, class := range classes {
		files, err := listFiles(root, class, label[class])
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			p, err := f.decode(root)
			if err == nil {
				p, err = s.Transform.apply(p)
			}
			if err != nil {
				o.LeftOut = append(o.LeftOut, Unreadable{f.path, err.Error()})
				continue
			}
			if err := b.take(f.path, p, f.class); err != nil {
				return nil, fmt.Errorf("%s: %w", s.Folder, err)
			}
			o.Names = append(o.Names, f.path)
		}
	}
	if n := len(o.LeftOut); n > 0 && !s.LeaveOut {
		return nil, refuse(s.Folder, o.LeftOut)
	}
	if len(o.Names) == 0 {
		return nil, fmt.Errorf("%s has no image that can be used: put PNG or JPEG files into DIR/CLASS", s.Folder)
	}
	names := s.Classes
	if names == nil {
		names = classes
	}
	o.reread = func(f func(picture) error) error { return s.rereadFolder(split, o.Names, f) }
	o.Memory, err = b.memory(names)
	return o, err
}

func (s Source) rereadFolder(split Split, names []string, f func(picture) error) error {
	root, err := openImageFolder(s.Folder, split)
	if err != nil || root == nil {
		return errChanged
	}
	defer root.Close()
	for _, name := range names {
		p, err := imageFile{path: name}.decode(root)
		if err != nil {
			return err
		}
		if err := f(p); err != nil {
			return err
		}
	}
	return nil
}

// refuse names the first file that cannot be used.
func refuse(folder string, files []Unreadable) error {
	more := ""
	if n := len(files) - 1; n == 1 {
		more = " (and 1 more cannot be used)"
	} else if n > 1 {
		more = fmt.Sprintf(" (and %d more cannot be used)", n)
	}
	return fmt.Errorf("%s in %s %s%s: repair or remove it, or leave such files out with data.corrupt: leave_out; 'dploda inspect data %[2]s' lists them",
		files[0].File, folder, files[0].Reason, more)
}

// bindFolders are the class folders of a split, in the order of their labels,
// and the label of each. Names are compared as Unicode does (NFC): the same
// name may be stored decomposed by one system and typed composed on another.
func (s Source) bindFolders(root *os.Root, split Split) (folders []string, label map[string]int, err error) {
	found, err := listClasses(root, maxClasses)
	if err != nil {
		return nil, nil, err
	}
	label = map[string]int{}
	if s.Classes == nil {
		for i, name := range found {
			label[name] = i
		}
		return found, label, nil
	}
	there := map[string]string{}
	for _, name := range found {
		there[norm.NFC.String(name)] = name
	}
	for i, name := range s.Classes {
		folder, ok := there[norm.NFC.String(name)]
		if !ok {
			if split == Train {
				return nil, nil, fmt.Errorf("%s has no folder for the class %q, which data.class_names declares: add it, or take the name out", root.Name(), name)
			}
			continue
		}
		label[folder] = i
		folders = append(folders, folder)
	}
	for _, name := range found {
		if _, ok := label[name]; !ok {
			return nil, nil, fmt.Errorf("%s has a folder %q, which is no class of data.class_names: declare it there, or move it away", root.Name(), name)
		}
	}
	return folders, label, nil
}

// maxSide bounds an image after its transform: photographs that nobody scaled
// down would fill the memory before a network refuses them.
const maxSide = 256

// builder joins pictures of one shape to a data set.
type builder struct {
	transform Transform
	first     picture // without pixels
	firstName string
	pixels    []uint8
	labels    []uint16
}

// add transforms a picture and takes it.
func (b *builder) add(p picture, label int) error {
	p, err := b.transform.apply(p)
	if err != nil {
		return err
	}
	return b.take("", p, label)
}

// take refuses a picture of another shape than the first one's.
func (b *builder) take(name string, p picture, label int) error {
	f := b.first
	switch {
	case len(b.labels) == 0:
		if p.h > maxSide || p.w > maxSide {
			return fmt.Errorf("%s has %d x %d pixels, and at most %d x %d are trained on: scale the images with data.transform.resize: [HEIGHT, WIDTH]", orImages(name), p.w, p.h, maxSide, maxSide)
		}
		b.first, b.firstName = picture{c: p.c, h: p.h, w: p.w}, name
	case p.h != f.h || p.w != f.w:
		return fmt.Errorf("the images have several sizes, such as %d x %d (%s) and %d x %d (%s): bring them to one with data.transform: resize, crop or pad", f.w, f.h, b.firstName, p.w, p.h, name)
	case p.c != f.c:
		grey, rgb := b.firstName, name
		if p.c == 1 {
			grey, rgb = name, b.firstName
		}
		return fmt.Errorf("some images are grey (%s) and some RGB (%s): say what they shall be with data.transform.channels: grey or rgb", grey, rgb)
	}
	b.pixels = append(b.pixels, p.pix...)
	b.labels = append(b.labels, uint16(label))
	return nil
}

func orImages(name string) string {
	if name == "" {
		return "each image"
	}
	return name
}

func (b *builder) memory(classes []string) (*Memory, error) {
	return NewMemory(b.first.c, b.first.h, b.first.w, classes, b.pixels, b.labels)
}

// errChanged names no file: unlike Open's errors it may be read by anybody.
var errChanged = errors.New("the images changed after they were read; leave them as they are, and give the command again")

// originals calls f with each image as it was before the transform. They are
// decoded once more instead of kept, since photographs that are scaled down
// would fill the memory.
func (o *Opened) originals(f func(picture)) error {
	i := 0
	err := o.reread(func(p picture) error {
		now, err := o.transform.apply(p)
		if err != nil || i == o.Len() || !bytes.Equal(now.pix, o.Image(i)) {
			return errChanged
		}
		f(p)
		i++
		return nil
	})
	if err != nil || i < o.Len() {
		return errChanged
	}
	return nil
}

// Remarks are what the owner should look at before anything is spent: the files
// that were left out, and equal images, which hint at wrong labels or at copies.
func (o *Opened) Remarks() []string {
	var all []string
	for _, f := range o.LeftOut {
		all = append(all, fmt.Sprintf("left out: %s %s", f.File, f.Reason))
	}
	return append(all, o.equal().aboutEqual()...)
}

// equal finds images that are equal, pixel for pixel. Those of a folder have
// their paths as names, others their indices.
func (o *Opened) equal() *Found {
	s := newSurveyor("", "")
	s.found.Counts = make([]int, len(o.Classes()))
	c, h, w := o.Shape()
	for i := range o.Len() {
		s.add(o.name(i), o.Label(i), picture{c, h, w, o.Image(i)})
	}
	return s.found
}

func (o *Opened) name(i int) string {
	if o.Names != nil {
		return o.Names[i]
	}
	return fmt.Sprintf("image %d", i)
}
