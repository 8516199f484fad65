package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/internal/images"
)

// sampling is a folder into which images are drawn. They come in parts, each a
// file of the parts' folder as soon as it is whole; when none is missing they
// are joined into the formats that were asked for, and the parts go.
type sampling struct {
	*Sampled
	path     string
	complete bool
	lock     *os.File // nil when complete
	store    *checkpoint.Store
	parts    map[int]checkpoint.Ref
}

// partImages is how many images a part has, the last one aside: a death loses
// little more than one part for each thread.
const partImages = 256

func (f *sampling) close() {
	if f.lock != nil {
		f.lock.Close()
	}
}

// save writes sample.json.
func (f *sampling) save() error {
	content, err := json.MarshalIndent(f.Sampled, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(f.path, sampledFile), append(content, '\n'))
}

// sameAs refuses a folder where something else was drawn, and says what.
func (f *sampling) sameAs(known *Sampled) error {
	was, is := *known, *f.Sampled
	was.Complete, is.Complete = false, false
	key, a, b := difference(reflect.ValueOf(was), reflect.ValueOf(is))
	if key == "" {
		return nil
	}
	return fmt.Errorf("%s was begun with %s %s, not %s: give the command that began it, or choose another folder with --out", f.path, key, a, b)
}

// difference is the first key in which two structs differ, with its values as
// JSON; "" if they do not.
func difference(a, b reflect.Value) (key string, was, is []byte) {
	for i := range a.NumField() {
		x, y := a.Field(i), b.Field(i)
		switch {
		case reflect.DeepEqual(x.Interface(), y.Interface()):
		case x.Kind() == reflect.Struct:
			return difference(x, y)
		default:
			was, _ = json.Marshal(x.Interface()) // plain values: cannot fail
			is, _ = json.Marshal(y.Interface())
			return a.Type().Field(i).Tag.Get("json"), was, is
		}
	}
	return "", nil, nil
}

// fingerprint ties a part to what it is a part of.
func (f *sampling) fingerprint() []byte {
	content, _ := json.Marshal(f.Sampled) // plain values: cannot fail
	return []byte(sha256Hex(content))
}

// The sections of a part.
const (
	partOf     = "sample"
	partPixels = "images"
)

func (f *sampling) size() int { return f.Shape[0] * f.Shape[1] * f.Shape[2] }

// span is the images [from, to) of a part.
func (f *sampling) span(part int) (from, to int) {
	return part * partImages, min((part+1)*partImages, f.Sample.Images)
}

func (f *sampling) count() int { return (f.Sample.Images + partImages - 1) / partImages }

func partLabel(part int) string { return fmt.Sprintf("images-%09d", part) }

// find takes stock of the parts that are there. One that is damaged, or of
// something else, is removed: its images are drawn again.
func (f *sampling) find(obs Observer) error {
	var err error
	if f.store, err = checkpoint.OpenStore(filepath.Join(f.path, partsFolder)); err != nil {
		return err
	}
	refs, err := f.store.List()
	if err != nil {
		return err
	}
	known := map[string]checkpoint.Ref{}
	for _, ref := range refs {
		known[ref.Label] = ref
	}
	f.parts = map[int]checkpoint.Ref{}
	for part := range f.count() {
		ref, ok := known[partLabel(part)]
		if !ok {
			continue
		}
		if _, err := f.read(ref, part); err != nil {
			obs.Note(fmt.Sprintf("%s is damaged: its images are drawn again", f.store.Path(ref)))
			continue
		}
		f.parts[part] = ref
	}
	return f.store.Keep(func(ref checkpoint.Ref) bool {
		for _, ours := range f.parts {
			if ours == ref {
				return true
			}
		}
		return false
	})
}

// read returns the pixels of a part, images one after another in CHW order.
func (f *sampling) read(ref checkpoint.Ref, part int) ([]uint8, error) {
	sections, err := f.store.Get(ref)
	if err != nil {
		return nil, err
	}
	of, err := checkpoint.Find(sections, partOf)
	if err != nil {
		return nil, err
	}
	pixels, err := checkpoint.Find(sections, partPixels)
	if err != nil {
		return nil, err
	}
	from, to := f.span(part)
	if !bytes.Equal(of, f.fingerprint()) || len(pixels) != (to-from)*f.size() {
		return nil, fmt.Errorf("%s is no part of %s", f.store.Path(ref), f.path)
	}
	return pixels, nil
}

// draw draws what is missing and returns how many images that was.
func (f *sampling) draw(ctx context.Context, g *generator, obs Observer) (drawn int, err error) {
	before := 0
	for part := range f.parts {
		from, to := f.span(part)
		before += to - from
	}
	if before == f.Sample.Images {
		return 0, nil
	}
	d, err := g.compileAll()
	if err != nil {
		return 0, err
	}
	m := newMeter(time.Now, before)
	open := map[int]*openPart{}
	err = d.draw(ctx, f.missing(), func(i int, image []uint8) error {
		if err := f.add(open, i, image); err != nil {
			return err
		}
		drawn++
		p := Progress{Stage: "sample", Done: before + drawn, Total: f.Sample.Images, Unit: "images"}
		if perImage := m.advance(p.Done); perImage > 0 {
			p.Rate = 1 / perImage
			p.Left = time.Duration(float64(p.Total-p.Done) * perImage * float64(time.Second))
		}
		obs.Progress(p)
		return nil
	})
	return drawn, err
}

// missing yields the images of the parts that are not there when it begins.
func (f *sampling) missing() iter.Seq[int] {
	there := maps.Clone(f.parts)
	return func(yield func(int) bool) {
		for part := range f.count() {
			if _, ok := there[part]; ok {
				continue
			}
			for i, to := f.span(part); i < to; i++ {
				if !yield(i) {
					return
				}
			}
		}
	}
}

// openPart is a part of which images are missing.
type openPart struct {
	pixels  []uint8
	missing int
}

// add takes an image into its part and stores the part that it completes.
func (f *sampling) add(open map[int]*openPart, i int, image []uint8) error {
	part := i / partImages
	from, to := f.span(part)
	p := open[part]
	if p == nil {
		p = &openPart{pixels: make([]uint8, (to-from)*f.size()), missing: to - from}
		open[part] = p
	}
	copy(p.pixels[(i-from)*f.size():], image)
	if p.missing--; p.missing > 0 {
		return nil
	}
	delete(open, part)
	ref, err := f.store.Put(partLabel(part), []checkpoint.Section{{Name: partOf, Data: f.fingerprint()}, {Name: partPixels, Data: p.pixels}})
	if err != nil {
		return err
	}
	f.parts[part] = ref
	return nil
}

// join writes the formats from the parts and removes these.
func (f *sampling) join(ctx context.Context, g *generator, obs Observer) error {
	obs.Stage("write the images")
	for _, format := range []string{FormatNPZ, FormatFolder, FormatGrid} {
		if !slices.Contains(f.Formats, format) {
			continue
		}
		if err := f.joinInto(ctx, format, g); err != nil {
			return explainFull(err)
		}
	}
	f.Complete = true
	if err := f.save(); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(f.path, partsFolder))
}

func (f *sampling) joinInto(ctx context.Context, format string, g *generator) error {
	path := filepath.Join(f.path, formatFile[format])
	layout := images.Layout{
		Images: f.Sample.Images, C: f.Shape[0], H: f.Shape[1], W: f.Shape[2], Classes: f.Classes, Label: g.class,
	}
	var w images.Writer
	var err error
	switch format {
	case FormatNPZ:
		w, err = images.CreateNPZ(path, layout)
	case FormatFolder:
		w, err = images.CreateFolder(path, layout)
	case FormatGrid:
		w = &gridWriter{Sampled: f.Sampled, path: path, class: g.class, rows: make([][]images.Image, len(f.Classes))}
	}
	if err != nil {
		return err
	}
	defer w.Abort()
	for part := range f.count() {
		if err := ctx.Err(); err != nil {
			return err
		}
		pixels, err := f.read(f.parts[part], part)
		if err != nil {
			return fmt.Errorf("%w; give the same command again, and it is drawn again", err)
		}
		for image := range slices.Chunk(pixels, f.size()) {
			if err := w.Add(image); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

// gridWriter is an images.Writer that keeps the first images of each class.
type gridWriter struct {
	*Sampled
	path  string
	class func(i int) int
	added int
	rows  [][]images.Image
}

func (w *gridWriter) Add(image []uint8) error {
	k := w.class(w.added)
	if len(w.rows[k]) < gridColumns {
		w.rows[k] = append(w.rows[k], images.Image{C: w.Shape[0], H: w.Shape[1], W: w.Shape[2], Pix: slices.Clone(image)})
	}
	w.added++
	return nil
}

func (w *gridWriter) Close() error {
	panel := images.Panel{Title: fmt.Sprintf("%s, %d steps", w.Sample.Sampler, w.Sample.Steps)}
	var names []string
	for k, row := range w.rows { // classes that were not asked for have no row
		if len(row) > 0 {
			panel.Rows, names = append(panel.Rows, row), append(names, w.Classes[k])
		}
	}
	return images.Grid{Title: w.Run + ": synthetic images", RowLabels: names, Scale: 2, Panels: []images.Panel{panel}}.Write(w.path)
}

func (w *gridWriter) Abort() {}
