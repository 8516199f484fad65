package config

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// The kinds of data.
const (
	KindFolder       = "folder"        // a sub-folder of PNG or JPEG files for each class
	KindIdx          = "idx"           // a folder with MNIST's file names
	KindNPZ          = "npz"           // a folder with a numpy archive
	KindCIFAR        = "cifar"         // a folder with CIFAR's binary batches
	KindStrip        = "strip"         // a folder with tall PNG files and labels as idx
	KindDrawnPrivate = "drawn-private" // the demo's shapes
	KindDrawnPublic  = "drawn-public"  // characters of random strokes
	KindDrawnObjects = "drawn-objects" // filled silhouettes on a dark ground
)

// Data says where images come from.
type Data struct {
	Kind string `yaml:"kind"`
	// Public declares that the images may be seen by anybody: real ones are
	// shown and exact accuracies printed. Drawn data are.
	Public bool `yaml:"public"`

	Folder     string   `yaml:"folder,omitempty"`      // of files; --data names another
	Images     []string `yaml:"images,omitempty"`      // idx, strip, npz: files in the folder instead of the kind's names
	Labels     []string `yaml:"labels,omitempty"`      // idx, strip: one for each of Images
	ClassNames []string `yaml:"class_names,omitempty"` // of labels 0, 1, ...; public data may leave them out

	Transform Transform `yaml:"transform,omitempty"`
	// Corrupt says what becomes of image files that cannot be used: refuse, as
	// without it, or leave_out, each for itself.
	Corrupt string `yaml:"corrupt,omitempty"` // folder

	TrainImages int    `yaml:"train_images,omitempty"` // drawn: how many
	TestImages  int    `yaml:"test_images,omitempty"`  // drawn-private
	Classes     int    `yaml:"classes,omitempty"`      // drawn-public, drawn-objects
	Seed        uint64 `yaml:"seed"`                   // drawn

	// Units is a file that gives every image its unit, such as its patient
	// (dataset.OpenUnits), absolute or within the folder: a unit's images are
	// sampled, averaged and clipped as one. Without it each image is a unit.
	Units string `yaml:"units,omitempty"` // not drawn

	// NominalSize is the declared number of private images or, with a unit file,
	// of its units; the sampling rate follows from it. It is public: never the
	// count of files or lines.
	NominalSize int `yaml:"nominal_size,omitempty"`
}

// Transform brings images to one shape (dataset.Transform), in the order of its
// keys: the network never pads or scales by itself.
type Transform struct {
	Channels string `yaml:"channels,omitempty"` // grey or rgb
	Resize   []int  `yaml:"resize,omitempty"`   // [height, width], as the next
	Crop     []int  `yaml:"crop,omitempty"`     // the middle
	Pad      []int  `yaml:"pad,omitempty"`      // with black
}

// The values of data.corrupt.
const (
	CorruptRefuse   = "refuse"
	CorruptLeaveOut = "leave_out"
)

// fill derives what depends on other values.
func (d *Data) fill() {
	switch d.Kind {
	case KindDrawnPrivate:
		fillInt(&d.TrainImages, 20_000)
		fillInt(&d.TestImages, 2_000)
		fillInt(&d.NominalSize, d.TrainImages)
	case KindDrawnPublic, KindDrawnObjects:
		fillInt(&d.TrainImages, 40_000)
		fillInt(&d.Classes, 200)
	}
}

func fillInt(v *int, value int) {
	if *v == 0 {
		*v = value
	}
}

// counted is what the nominal size counts.
func (d *Data) counted() string {
	if d.Units != "" {
		return "units"
	}
	return "images"
}

func (d *Data) check(c *checker) {
	c.oneOf("data.kind", d.Kind, KindFolder, KindIdx, KindNPZ, KindCIFAR, KindStrip, KindDrawnPrivate, KindDrawnPublic, KindDrawnObjects)
	if !d.Drawn() {
		d.checkFiles(c)
		return
	}
	c.require("data.units", d.Units == "", "is for images in files: drawn images belong to nobody")
	c.require("data.transform", d.Transform.none(), "is for images in files: drawn images have the size that they have")
	c.require("data.public", d.Public, "must be true for drawn data, which anybody can draw")
	c.positive("data.train_images", d.TrainImages, maxImages)
	if d.Kind == KindDrawnPrivate {
		c.positive("data.test_images", d.TestImages, maxImages)
	} else {
		c.positive("data.classes", d.Classes, maxClasses)
	}
}

// Drawn says that the images are drawn and in no file.
func (d *Data) Drawn() bool {
	return d.Kind == KindDrawnPrivate || d.Kind == KindDrawnPublic || d.Kind == KindDrawnObjects
}

func (d *Data) checkFiles(c *checker) {
	c.require("data.class_names", d.Public || len(d.ClassNames) > 0, "must be given: which labels occur in private data is itself private")
	c.require("data.class_names", len(d.ClassNames) <= maxClasses, "holds %d names; at most %d are known", len(d.ClassNames), maxClasses)
	seen := map[string]bool{}
	for _, name := range d.ClassNames {
		// As data sets compare them: a name has one meaning however its accents
		// are stored.
		composed := norm.NFC.String(name)
		c.require("data.class_names", name != "" && !strings.ContainsFunc(name, unicode.IsControl), "holds %q; a name is text, not empty and without control characters", name)
		c.require("data.class_names", !seen[composed], "holds %q twice", composed)
		seen[composed] = true
	}
	named := d.Kind == KindIdx || d.Kind == KindStrip
	c.require("data.images", len(d.Images) == 0 || named || d.Kind == KindNPZ, "is for kinds idx, strip and npz; %s has names of its own", d.Kind)
	c.require("data.images", len(d.Images) <= 1 || d.Kind != KindNPZ, "must name one archive for kind npz, not %d", len(d.Images))
	c.require("data.labels", len(d.Labels) == 0 || named, "is for kinds idx and strip, not %s", d.Kind)
	c.require("data.labels", len(d.Labels) == len(d.Images) || !named, "has %d files and data.images %d; they must make pairs", len(d.Labels), len(d.Images))
	for i, name := range d.Images {
		c.require("data.images", !slices.Contains(d.Images[:i], name), "names %s twice: each image in it would count as two, each protected on its own", name)
	}
	c.require("data.corrupt", d.Corrupt == "" || d.Kind == KindFolder, "is for kind folder; %s has no files that could be left out", d.Kind)
	if d.Corrupt != "" {
		c.oneOf("data.corrupt", d.Corrupt, CorruptRefuse, CorruptLeaveOut)
	}
	d.Transform.check(c)
}

// maxSide bounds images, in pixels.
const maxSide = 256

func (t Transform) none() bool {
	return t.Channels == "" && len(t.Resize)+len(t.Crop)+len(t.Pad) == 0
}

func (t Transform) check(c *checker) {
	if t.Channels != "" {
		c.oneOf("data.transform.channels", t.Channels, "grey", "rgb")
	}
	var before []int // the size so far, if a step fixes it
	for _, step := range []struct {
		key  string
		size []int
		fits func(now, before int) bool
	}{
		{"data.transform.resize", t.Resize, nil},
		{"data.transform.crop", t.Crop, func(now, before int) bool { return now <= before }},
		{"data.transform.pad", t.Pad, func(now, before int) bool { return now >= before }},
	} {
		if step.size == nil {
			continue
		}
		good := len(step.size) == 2
		for _, n := range step.size {
			good = good && n >= 1 && n <= maxSide
		}
		c.require(step.key, good, "must be [HEIGHT, WIDTH], each 1 to %d pixels, not %v", maxSide, step.size)
		c.require(step.key, !good || before == nil || step.fits(step.size[0], before[0]) && step.fits(step.size[1], before[1]),
			"%v does not fit the %v before it; the order is resize, crop, pad", step.size, before)
		if good {
			before = step.size
		}
	}
}
