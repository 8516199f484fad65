package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
)

// DraftOptions are what `dploda init` is told besides the folder.
type DraftOptions struct {
	Name    string  // of run and data domain; "": the folder's
	Base    string  // "": the shipped one that fits best
	Epsilon float64 // of the run
	Delta   float64 // 0: chosen from the nominal size
	Public  bool    // the images may be seen by anybody
}

// Draft is a config for a folder of images, made without a question.
type Draft struct {
	Content []byte // of run.yaml, with comments; holds no count of images
	Spec    *config.RunSpec
	// Found and Problems are for the owner of the images alone.
	Found    *dataset.Found
	Problems []string
	// Forecast is for the config's own ε, not measured.
	Forecast *Forecast
}

// draft is one under way.
type draft struct {
	DraftOptions
	found *dataset.Found
	base  *Base
	// others are shipped bases of the same shape.
	others []*Base
	// nominal is public; all settings follow from it and never from the counts.
	nominal   int
	transform config.Transform
	fitting   []string // how the images come to the base's shape
	settings  settings
}

// NewDraft surveys a folder and writes a config for it.
func NewDraft(ctx context.Context, dir string, o DraftOptions) (*Draft, error) {
	if !(o.Epsilon > 0 && o.Epsilon <= 1000) {
		return nil, usage{fmt.Errorf("--epsilon must be more than 0 and at most 1000, not %v", o.Epsilon)}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	found, err := dataset.Survey(dir)
	if err != nil {
		return nil, usage{err}
	}
	d := &draft{DraftOptions: o, found: found}
	if err := d.choose(); err != nil {
		return nil, err
	}
	spec, err := d.parse()
	if err != nil {
		return nil, err
	}
	r, err := fit(spec)
	if err != nil {
		return nil, err
	}
	if err := d.lengthen(ctx, r); err != nil {
		return nil, err
	}
	out := &Draft{Found: found, Problems: d.problems()}
	if out.Spec, err = d.parse(); err != nil {
		return nil, err
	}
	out.Content = d.text()
	out.Forecast, err = PlanAhead(ctx, out.Spec, ForecastOptions{Epsilons: []float64{o.Epsilon}})
	return out, err
}

// choose decides everything but the number of steps.
func (d *draft) choose() (err error) {
	if d.found.Images == 0 {
		why := "its files hold none"
		if len(d.found.Unreadable) > 0 {
			why = d.found.Unreadable[0].File + " " + d.found.Unreadable[0].Reason
		}
		return usage{fmt.Errorf("%s has no image that can be read: %s", d.found.Folder, why)}
	}
	if d.nominal = nominalSize(d.found.Images); d.Public {
		d.nominal = d.found.Images
	}
	if d.Delta == 0 {
		d.Delta = deltaFor(d.nominal)
	}
	if d.Delta*float64(d.nominal) >= 1 {
		return usage{fmt.Errorf("--delta must be less than one over the number of images, not %v; 1e-5 or less is usual", d.Delta)}
	}
	if d.Name == "" {
		d.Name = nameOf(d.found.Folder)
	}
	if !config.ValidName(d.Name) {
		return usage{fmt.Errorf("--name must be 1 to 64 letters, digits, dots, dashes and underscores, not %q", d.Name)}
	}
	if d.base, err = d.chooseBase(); err != nil {
		return err
	}
	d.fitImages()
	d.settings, err = d.chooseSettings()
	return err
}

// parse reads the draft's own text back.
func (d *draft) parse() (*config.RunSpec, error) {
	text := d.text()
	if len(text) > config.MaxFile {
		return nil, usage{fmt.Errorf("the names of the %s in %s do not fit into a config file of %d bytes; join classes", countOf(len(d.found.Classes), "class", "classes"), d.found.Folder, config.MaxFile)}
	}
	spec, err := config.ParseRun("run.yaml", text, nil)
	if err != nil {
		return nil, usage{fmt.Errorf("no config can be written for %s: %w", d.found.Folder, err)}
	}
	return spec, nil
}

// nominalSize rounds a count down to what may be told: two digits of thousands, one
// of hundreds, below that 1, 2 or 5 times a power of ten.
func nominalSize(n int) int {
	unit := 1
	for n/unit >= 10 {
		unit *= 10
	}
	switch {
	case n >= 1000:
		return n / (unit / 10) * (unit / 10)
	case n >= 100:
		return n / unit * unit
	}
	for _, digit := range []int{5, 2} {
		if n >= digit*unit {
			return digit * unit
		}
	}
	return unit
}

// deltaFor is a power of ten of at most 1e-5 and half of 1/n.
func deltaFor(n int) float64 {
	exponent := 5
	for 2*float64(n) > math.Pow10(exponent) {
		exponent++
	}
	return math.Pow10(-exponent)
}

// nameOf makes a name of a folder's: letters and digits of ASCII, without their accents,
// and dashes for the rest.
func nameOf(folder string) string {
	var b strings.Builder
	for _, c := range norm.NFD.String(strings.ToLower(filepath.Base(folder))) {
		if unicode.Is(unicode.Mn, c) {
			continue
		}
		if c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			b.WriteRune(c)
		} else if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String()[:min(b.Len(), 64)], "-")
	return cmp.Or(name, "images")
}

// chooseBase takes the base that was named, or of the shipped ones whose images are
// the nearest the one that has seen the most.
func (d *draft) chooseBase() (*Base, error) {
	if d.Base != "" {
		b, err := LoadBase(d.Base)
		if err != nil {
			return nil, usage{err}
		}
		return b, nil
	}
	var all []*Base
	for _, name := range builtinNames() {
		b, err := LoadBase(name)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	slices.SortStableFunc(all, func(a, b *Base) int {
		return cmp.Or(cmp.Compare(d.distance(a), d.distance(b)), cmp.Compare(b.Traits.ImagesSeen, a.Traits.ImagesSeen))
	})
	for _, b := range all[1:] {
		if d.distance(b) == d.distance(all[0]) {
			d.others = append(d.others, b)
		}
	}
	return all[0], nil
}

// distance is how far a base's images are from those of the folder: channels first,
// then size.
func (d *draft) distance(b *Base) float64 {
	i, size := b.Traits.Image, d.found.Sizes[0]
	far := math.Abs(math.Log(float64(i[1])/float64(size.Height))) + math.Abs(math.Log(float64(i[2])/float64(size.Width)))
	if i[0] != d.channels() {
		far += 100
	}
	return far
}

// channels is 3 if any image is RGB.
func (d *draft) channels() int {
	if d.found.Channels[3] > 0 {
		return 3
	}
	return 1
}

// mostPadding is how many pixels a side may be too short to be padded only.
const mostPadding = 4

// fitImages chooses the transform to the base's shape. The proportions of the
// commonest size are kept.
func (d *draft) fitImages() {
	c, h, w := d.base.Traits.Image[0], d.base.Traits.Image[1], d.base.Traits.Image[2]
	say := func(format string, args ...any) { d.fitting = append(d.fitting, fmt.Sprintf(format, args...)) }
	if d.found.Channels[4-c] > 0 { // of 1 and 3, the other
		d.transform.Channels = map[int]string{1: dataset.Grey, 3: dataset.RGB}[c]
		if c == 1 {
			say("colours become grey, since the base is grey")
		} else {
			say("grey images become RGB, since the base is RGB")
		}
	}
	size := d.found.Sizes[0]
	one := len(d.found.Sizes) == 1
	switch ih, iw := size.Height, size.Width; {
	case one && ih == h && iw == w:
	case one && ih <= h && iw <= w && h-ih <= mostPadding && w-iw <= mostPadding:
		d.transform.Pad = []int{h, w}
		say("padded with black to %dx%d (height x width)", h, w)
	default:
		scale := min(float64(h)/float64(ih), float64(w)/float64(iw))
		rh, rw := rounded(float64(ih)*scale, h), rounded(float64(iw)*scale, w)
		d.transform.Resize = []int{rh, rw}
		say("scaled to %dx%d (height x width)", rh, rw)
		if rh != h || rw != w {
			d.transform.Pad = []int{h, w}
			say("then padded with black to %dx%d, so that the proportions are kept", h, w)
		}
	}
}

// rounded is x to the nearest, from 1 to limit.
func rounded(x float64, limit int) int { return min(max(int(math.Round(x)), 1), limit) }

// problems are for the owner alone.
func (d *draft) problems() []string {
	var all []string
	for _, p := range d.found.Problems() {
		// What the draft has settled is no problem any more.
		if len(d.found.Sizes) > 1 && strings.Contains(p, "different sizes") || len(d.found.Channels) > 1 && strings.Contains(p, "some RGB") {
			continue
		}
		all = append(all, p)
	}
	if least := slices.Min(d.found.Counts); least > 0 && least < fewPerClass {
		all = append(all, fmt.Sprintf("the smallest class has %s: too few for its synthetic images to look right", count(least, "image")))
	}
	if d.Public && d.found.TestImages == 0 {
		all = append(all, "there is no held-out split: a run on public images scores its classifiers on one, so add test images, or leave out --public")
	}
	if size := d.found.Sizes[0]; d.base.Traits.Image[0] != d.channels() || 2*d.base.Traits.Image[1] < size.Height || 2*d.base.Traits.Image[2] < size.Width {
		all = append(all, fmt.Sprintf("the base %s is for %s of %dx%d: much of your images is lost; pre-train one on public images of their kind (dploda pretrain, examples/), then give --base DIR",
			d.base.Source, map[int]string{1: "grey images", 3: "RGB images"}[d.base.Traits.Image[0]], d.base.Traits.Image[1], d.base.Traits.Image[2]))
	}
	return all
}
