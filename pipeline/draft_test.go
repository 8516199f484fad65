package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dataset/drawn"
	"github.com/dploda/dploda/internal/config"
)

// writePNG writes a picture of one colour.
func writePNG(t rapid.TB, path string, h, w int, rgb bool, shade uint8) {
	t.Helper()
	var picture image.Image
	if rgb {
		m := image.NewRGBA(image.Rect(0, 0, w, h))
		for i := range m.Pix {
			m.Pix[i] = 255
		}
		m.Set(0, 0, color.RGBA{shade, 7, 100, 255})
		picture = m
	} else {
		m := image.NewGray(image.Rect(0, 0, w, h))
		m.Set(0, 0, color.Gray{shade})
		picture = m
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// oddNames are names of folders that YAML could take for something else.
var oddNames = []string{
	"0", "007", "yes", "null", "~", "- a", "a: b", "a #b", "#", "'", `"`, `\`, "[x]", "{y}", "&z", "*z", "!t", "%", "@", "`", "1e5", "0x1f", "2001-01-01",
	" leading", "trailing ", "été", "ラーメン", "кот", "عربي", "👩‍🔬", "a\u2028b", "\ufeffbom", "\u00a0", "<<", "=", "?", "|", ">", "---", "...", "train ing",
}

// A draft for any folder is a config that loads and passes its checks, names the
// classes as the survey does, and brings the images to the base's shape. (Tried with
// names not escaped, with a resize that forgets the pad, and with δ of 1/N.)
func TestDraftsLoadAndFit(t *testing.T) {
	base := tinyBase(t, true)
	parent := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		dir := filepath.Join(parent, fmt.Sprint(n), rapid.SampledFrom([]string{"Patients 2024", "été", "x", strings.Repeat("long", 30)}).Draw(rt, "folder"))
		name := rapid.OneOf(rapid.SampledFrom(oddNames), rapid.StringMatching(`[^/\x00.\pC][^/\x00\pC]{0,12}`))
		classes := rapid.SliceOfNDistinct(name, 1, 5, func(s string) string { return strings.ToLower(s) }).Draw(rt, "classes")
		sides := rapid.SliceOfN(rapid.IntRange(2, 40), 2, 4).Draw(rt, "sides")
		for i, class := range classes {
			for j := range rapid.IntRange(1, 4).Draw(rt, "images") {
				h, w := sides[(i+j)%len(sides)], sides[j%len(sides)]
				writePNG(rt, filepath.Join(dir, class, fmt.Sprintf("%d.png", j)), h, w, rapid.Bool().Draw(rt, "rgb"), uint8(16*i+j))
			}
		}
		found, err := dataset.Survey(dir)
		if err != nil {
			rt.Skip(err.Error()) // names that the survey refuses
		}
		d := &draft{DraftOptions: DraftOptions{Epsilon: rapid.Float64Range(0.1, 50).Draw(rt, "ε"), Public: rapid.Bool().Draw(rt, "public")}, found: found}
		if rapid.Bool().Draw(rt, "tiny") {
			d.Base = base
		}
		if err := d.choose(); err != nil {
			rt.Fatal(err)
		}
		spec, err := d.parse()
		if err != nil {
			rt.Fatalf("%v in\n%s", err, d.text())
		}
		if !slices.Equal(spec.Data.ClassNames, found.Classes) || spec.Data.Folder != dir {
			rt.Errorf("classes %q became %q, folder %q", found.Classes, spec.Data.ClassNames, spec.Data.Folder)
		}
		if !spec.Data.Public && spec.Data.NominalSize > found.Images || spec.Privacy.Delta > 0.5/float64(spec.Data.NominalSize) {
			rt.Errorf("nominal %d of %d, δ %v", spec.Data.NominalSize, found.Images, spec.Privacy.Delta)
		}
		data, err := openTrain(spec.Data, "")
		if err != nil {
			rt.Fatalf("the images of the draft cannot be opened: %v", ForOwner(err))
		}
		c, h, w := data.Shape()
		if got := [3]int{c, h, w}; got != d.base.Traits.Image {
			rt.Errorf("the images become %v, the base takes %v", got, d.base.Traits.Image)
		}
	})
}

// A config tells no count of images: folders with other numbers of them, as a whole and
// in each class, that round to the same number have the same config to the byte.
// (Tried with settings that follow from found.Images and with the number itself declared.)
func TestDraftTellsNoCounts(t *testing.T) {
	var texts [][]byte
	for _, n := range []int{1210, 1299} {
		dir := filepath.Join(t.TempDir(), "images")
		full := drawn.Shapes(3, n)
		pixels, labels := make([]uint8, 0, n*28*28), make([]uint16, n)
		for i := range n {
			pixels = append(pixels, full.Image(i)...)
			labels[i] = uint16(full.Label(i))
			if n > 1250 && i%3 == 0 {
				labels[i] = 2 // other sizes of classes
			}
		}
		m, err := dataset.NewMemory(1, 28, 28, full.Classes(), pixels, labels)
		if err != nil {
			t.Fatal(err)
		}
		if err := dataset.WriteIdx(dir, dataset.Train, m); err != nil {
			t.Fatal(err)
		}
		d, err := NewDraft(context.Background(), dir, DraftOptions{Epsilon: 8})
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, bytes.ReplaceAll(d.Content, []byte(dir), []byte("DIR")))
		if !strings.Contains(d.Owner(), fmt.Sprint(n)) {
			t.Errorf("the owner is not told of %d images:\n%s", n, d.Owner())
		}
		if strings.Contains(d.Next("run.yaml"), fmt.Sprint(n)) {
			t.Errorf("what to type next tells %d:\n%s", n, d.Next("run.yaml"))
		}
		if _, err := resolve(d.Spec); err != nil {
			t.Errorf("the draft has no plan: %v", err)
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Errorf("the configs differ:\n%s\n%s", texts[0], texts[1])
	}
}

func TestNominalSizeRoundsDown(t *testing.T) {
	for n, want := range map[int]int{1: 1, 3: 2, 9: 5, 57: 50, 99: 50, 100: 100, 873: 800, 1000: 1000, 1299: 1200, 12345: 12000, 60000: 60000, 69_999: 69_000} {
		if got := nominalSize(n); got != want {
			t.Errorf("%d is declared as %d, want %d", n, got, want)
		}
	}
	for n := 1; n < 20_000; n++ {
		got, delta := nominalSize(n), deltaFor(n)
		if got > n || got < nominalSize(n-1) && n > 1 || 5*got < 2*n {
			t.Fatalf("%d is declared as %d", n, got)
		}
		if delta > 1e-5 || 2*delta*float64(n) > 1 {
			t.Fatalf("δ for %d is %v", n, delta)
		}
	}
	for n, want := range map[int]float64{1: 1e-5, 50_000: 1e-5, 50_001: 1e-6, 60_000: 1e-6, 499_999: 1e-6, 1_000_000: 1e-7} {
		if got := deltaFor(n); got != want {
			t.Errorf("δ for %d is %v, want %v", n, got, want)
		}
	}
}

// What follows from the nominal size: MNIST's gets the recorded run's settings, few
// images get a large share in each batch, and prototypes only where their means stand
// clear of the noise.
func TestSettingsFollowTheNominalSize(t *testing.T) {
	base, err := LoadBase("builtin:demo")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		n, classes int
		epsilon    float64
		batch      int
		clusters   int
	}{
		{60_000, 10, 10, 512, 8}, {60_000, 10, 1, 1024, 6}, {3000, 10, 8, 512, 1}, {300, 2, 8, 100, 0}, {1_000_000, 1000, 8, 512, 2}, {1, 1, 8, 1, 0},
	} {
		d := &draft{DraftOptions: DraftOptions{Epsilon: tc.epsilon, Delta: deltaFor(tc.n)}, base: base, nominal: tc.n, found: &dataset.Found{Classes: make([]string, tc.classes)}}
		s, err := d.chooseSettings()
		if err != nil {
			t.Fatal(err)
		}
		clusters := 0
		if s.prototypes != nil {
			clusters = s.prototypes.Clusters
		}
		if s.batch != tc.batch || clusters != tc.clusters || (clusters == 0) != (s.noPrototypes != "") {
			t.Errorf("%d images of %d classes at ε %v: batch %d, prototypes %+v (%s)", tc.n, tc.classes, tc.epsilon, s.batch, s.prototypes, s.noPrototypes)
		}
	}
}

func TestDraftRefuses(t *testing.T) {
	many := filepath.Join(t.TempDir(), "many")
	for i := range 40 {
		writePNG(t, filepath.Join(many, fmt.Sprintf("%d%s", i, strings.Repeat("x", 200)), "1.png"), 4, 4, false, 0)
	}
	d := &draft{found: &dataset.Found{Folder: many, Classes: make([]string, 60_000), Counts: make([]int, 60_000)}, nominal: 100}
	for i := range d.found.Classes {
		d.found.Classes[i] = fmt.Sprintf("class number %d", i)
	}
	base, err := LoadBase("builtin:demo")
	if err != nil {
		t.Fatal(err)
	}
	d.base, d.Name, d.Epsilon, d.Delta = base, "x", 8, 1e-5
	if _, err := d.parse(); err == nil || !strings.Contains(err.Error(), "the names of the 60,000 classes in") || !strings.Contains(err.Error(), "join classes") {
		t.Errorf("60,000 classes: %v", err)
	}
	if _, err := NewDraft(context.Background(), many, DraftOptions{Epsilon: 8, Name: "two words"}); err == nil || !strings.Contains(err.Error(), "--name must be") {
		t.Errorf("a name of two words: %v", err)
	}
	if _, err := NewDraft(context.Background(), many, DraftOptions{Epsilon: 0}); err == nil || !strings.Contains(err.Error(), "--epsilon must be") {
		t.Errorf("ε 0: %v", err)
	}
}

// yamlQuote is read back as what it was, whatever it is.
func TestYAMLQuoteRoundTrips(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringMatching(`[^\pC]{1,20}`).Draw(rt, "name")
		text := fmt.Sprintf("data: {kind: idx, public: true, nominal_size: 600, folder: %s, class_names: [%s]}", yamlQuote(name), yamlQuote(name))
		spec, err := config.ParseRun("x.yaml", []byte(text), nil)
		if err != nil {
			rt.Fatalf("%q: %v", name, err)
		}
		if spec.Data.Folder != name || spec.Data.ClassNames[0] != name {
			rt.Errorf("%q became %q", name, spec.Data.Folder)
		}
	})
}

// Drafts of published data sets name their kinds and fit them to the shipped base.
func TestDraftsOfRealFolders(t *testing.T) {
	data := os.Getenv("DPLODA_DATA")
	if data == "" {
		t.Skip("DPLODA_DATA names no folder with mnist/ and cifar10/")
	}
	for folder, want := range map[string]config.Data{
		"mnist":   {Kind: config.KindIdx, NominalSize: 60_000},
		"cifar10": {Kind: config.KindStrip, NominalSize: 20_000, Transform: config.Transform{Channels: "grey", Resize: []int{28, 28}}},
	} {
		found, err := dataset.Survey(filepath.Join(data, folder))
		if err != nil {
			t.Fatal(err)
		}
		d := &draft{DraftOptions: DraftOptions{Epsilon: 8}, found: found}
		if err := d.choose(); err != nil {
			t.Fatal(err)
		}
		spec, err := d.parse()
		if err != nil {
			t.Fatal(err)
		}
		got := spec.Data
		if got.Kind != want.Kind || got.NominalSize != want.NominalSize || got.Transform.Channels != want.Transform.Channels || !slices.Equal(got.Transform.Resize, want.Transform.Resize) || len(got.ClassNames) != 10 {
			t.Errorf("%s: %+v", folder, got)
		}
		images, err := openTrain(got, "")
		if err != nil {
			t.Fatal(err)
		}
		if c, h, w := images.Shape(); [3]int{c, h, w} != d.base.Traits.Image {
			t.Errorf("%s becomes %d channels of %dx%d", folder, c, h, w)
		}
	}
}
