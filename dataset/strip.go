package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// stripLabels ends the name of the label file of NAME.png.
const stripLabels = "-labels-idx1-ubyte"

// stripFiles are the tall pictures of a split and their label files, found by
// their names: NAME.png with NAME-labels-idx1-ubyte, plain or .gz. Those whose
// NAME begins with test, val or t10k are held out.
func stripFiles(dir string, split Split) (images, labels []string, err error) {
	matches, _ := fs.Glob(os.DirFS(dir), "*"+stripLabels+"*") // the pattern is well formed
	last := ""
	for _, m := range matches { // in order: the plain file before the packed one
		name, rest, _ := strings.Cut(m, stripLabels)
		if m == last+stripLabels+".gz" || rest != "" && rest != ".gz" || underPrefix(name, "test", "val", "t10k") != (split == Test) {
			continue
		}
		picture := filepath.Join(dir, name+".png")
		if _, err := os.Stat(picture); err != nil {
			return nil, nil, fmt.Errorf("%s has labels for %s.png, which is not there", dir, name)
		}
		last = name
		images, labels = append(images, picture), append(labels, filepath.Join(dir, m))
	}
	if len(images) == 0 && split == Train {
		return nil, nil, fmt.Errorf("the data folder %s has no PNG file to train on with its labels, NAME.png with NAME%s or NAME%[2]s.gz", dir, stripLabels)
	}
	return images, labels, nil
}

// underPrefix says whether a file's name begins with a split's.
func underPrefix(name string, prefixes ...string) bool {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(strings.ToLower(name), p); ok && (rest == "" || strings.ContainsAny(rest[:1], "-_.0123456789")) {
			return true
		}
	}
	return false
}

// readStrips reads tall pictures of n images of height H one below another,
// W wide and n·H tall, with n labels each.
func readStrips(images, labels []string) (*labelled, error) {
	var l *labelled
	for i, path := range images {
		x, err := readIdx(labels[i])
		if err != nil {
			return nil, err
		}
		values, ok := x.labels()
		if !ok {
			return nil, fmt.Errorf("%s does not hold labels: it has %s", labels[i], x.describe())
		}
		p, err := readPicture(path)
		if err != nil {
			return nil, fmt.Errorf("%s %w", path, err)
		}
		part, err := cutStrip(p, values)
		if err != nil {
			return nil, fmt.Errorf("%s with %s: %w", path, labels[i], err)
		}
		if l == nil {
			l = part
			continue
		}
		if l.c != part.c || l.h != part.h || l.w != part.w {
			return nil, fmt.Errorf("%s has images of %d x %d pixels in %d channels, %s of %d x %d in %d", path, part.w, part.h, part.c, images[0], l.w, l.h, l.c)
		}
		l.pixels, l.labels = append(l.pixels, part.pixels...), append(l.labels, part.labels...)
	}
	return l, nil
}

func readPicture(path string) (picture, error) {
	f, err := os.Open(path)
	if err != nil {
		return picture{}, fmt.Errorf("cannot be opened: %w", err)
	}
	defer f.Close()
	return decodePicture(f)
}

// cutStrip cuts a tall picture into as many images as there are labels.
func cutStrip(p picture, labels []uint16) (*labelled, error) {
	n := len(labels)
	switch {
	case n == 0:
		return nil, errors.New("there are no labels")
	case p.h%n != 0:
		return nil, errors.New("the picture's height is no multiple of the number of labels: each image takes the same number of rows")
	}
	l := &labelled{c: p.c, h: p.h / n, w: p.w, labels: labels, pixels: make([]uint8, len(p.pix))}
	plane := l.h * l.w
	for i := range n {
		for c := range p.c {
			copy(l.pixels[(i*p.c+c)*plane:][:plane], p.pix[c*p.h*p.w+i*plane:])
		}
	}
	return l, nil
}
