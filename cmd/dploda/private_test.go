package main

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"html"
	"image/png"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dataset/drawn"
	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/ledger"
	pictures "github.com/dploda/dploda/internal/images"
	"github.com/dploda/dploda/pipeline"
)

// privateImages writes a small data set under MNIST's file names.
func privateImages(t *testing.T, seed uint64) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for i, split := range []dataset.Split{dataset.Train, dataset.Test} {
		if err := dataset.WriteIdx(folder, split, drawn.Shapes(seed+uint64(i), 300-200*i)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// register opens a data domain of ε 10.
func register(t *testing.T, state, name string, flags ...string) {
	t.Helper()
	args := append([]string{"domain", "register", name, "--epsilon", "10", "--delta", "1e-5", "--state", state}, flags...)
	if code, _, stderr := run(t, args...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
}

// TestPrivateRun kills a run on private images several times. It completes
// within its budget, its ledger never under-counts, and nothing of the images
// stays on disk.
func TestPrivateRun(t *testing.T) {
	t.Parallel()
	folder, state, out := privateImages(t, 11), t.TempDir(), t.TempDir()
	register(t, state, "patients")
	command := []string{"run", "testdata/private.yaml", "--data", folder, "--state", state, "--out", out}
	disturb(t, out, command, released(1), released(3), storedIn(state, "finetune", 2), finetuned)
	keys, err := filepath.Glob(filepath.Join(state, "[0-9a-f]*.key"))
	if len(keys) > 1 || err != nil {
		t.Errorf("%d keys of one run, %v", len(keys), err)
	}
	code, stdout, stderr := run(t, command...)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	checkMetrics(t, out)
	checkSpent(t, out)
	if keys, _ = filepath.Glob(filepath.Join(state, "[0-9a-f]*.key")); len(keys) > 0 {
		t.Errorf("the key of a complete run is not destroyed: %s", keys)
	}
	checkNoAccuracy(t, out, stdout, stderr)
	checkDomainIsFull(t, out, folder, state)
	for _, dir := range []string{out, state} {
		findImages(t, dir, drawn.Shapes(11, 300))
		findImages(t, dir, drawn.Shapes(12, 100))
	}
}

// checkDomainIsFull: the run has used its domain up, and nothing that is done to
// a second one's name, folders or data opens another budget for it.
//
// Tried: the name of the run as its domain; one version for all images.
func checkDomainIsFull(t *testing.T, out, folder, state string) {
	t.Helper()
	for _, args := range [][]string{{filepath.Join(out, "share", "privacy.json")}, {filepath.Join(out, "private", "ledger.export")}, {"--state", state}} {
		if code, stdout, stderr := run(t, append([]string{"ledger", "verify"}, args...)...); code != 0 || !strings.Contains(stdout, "verified") {
			t.Errorf("ledger verify %q: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	register(t, state, "others")
	longer := t.TempDir() // with one image more
	if err := dataset.WriteIdx(longer, dataset.Train, drawn.Shapes(11, 301)); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile("testdata/private.yaml")
	if err != nil {
		t.Fatal(err)
	}
	renamed := filepath.Join(t.TempDir(), "renamed.yaml")
	config = []byte(strings.NewReplacer("name: private", "name: renamed", "domain: patients", "domain: others").Replace(string(config)))
	if err := os.WriteFile(renamed, config, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ config, data, want string }{
		{"testdata/private.yaml", longer, "the budget of the data domain does not allow this run"},
		{renamed, longer, `some of the images belong to data domain "patients"`},
		{renamed, folder, `some of the images belong to data domain "patients"`},
	} {
		code, _, stderr := run(t, "run", c.config, "--data", c.data, "--state", state, "--out", t.TempDir())
		if code != exitFailed || !strings.Contains(stderr, c.want) {
			t.Errorf("%s on %s: exit code %d\n%s", c.config, c.data, code, stderr)
		}
	}
	_, plan, _ := run(t, "run", "testdata/private.yaml", "--dry-run", "--state", state)
	if !strings.Contains(plan, "this run would be refused") {
		t.Errorf("--dry-run says\n%s", plan)
	}
	code, shown, stderr := run(t, "domain", "show", "patients", "--state", state, "--json")
	var facts pipeline.DomainFacts
	if err := json.Unmarshal([]byte(shown), &facts); code != 0 || err != nil || len(facts.Runs) != 1 || facts.Versions != 1 || facts.Runs[0].Status != "complete" {
		t.Errorf("refused runs left something: exit code %d, %v\n%s%s", code, err, shown, stderr)
	}
}

// storedIn is stored for a run whose state folder is another one.
func storedIn(state, phase string, sums int) moment {
	return moment{"with sums of " + phase, func(string) bool {
		files, _ := filepath.Glob(filepath.Join(state, "runs", "*", phase, "sums", "*.dploda"))
		return len(files) >= sums
	}}
}

// checkSpent holds privacy.json and the report against the ledger.
func checkSpent(t *testing.T, out string) {
	t.Helper()
	events, err := ledger.Import(read(t, out, "private", "ledger.export"))
	if err != nil {
		t.Fatal(err)
	}
	machine, err := ledger.Replay(events)
	if err != nil {
		t.Fatal(err)
	}
	var s pipeline.Statement
	if err := json.Unmarshal(read(t, out, "share", "privacy.json"), &s); err != nil {
		t.Fatal(err)
	}
	view := machine.View()
	if len(view.Runs) != 1 || s.LedgerHead != view.Head.String() || len(s.Mechanisms) != len(view.Runs[0].Phases) {
		t.Fatalf("the statement is of another ledger: %+v", s)
	}
	var charged []account.Event
	for i, p := range view.Runs[0].Phases {
		m := p.Mechanism
		if p.Charges < p.Commits || p.Commits != m.Steps || p.Charges > m.Charges() || !p.Complete {
			t.Errorf("%s: %d charges, %d commits of %d steps", m.Phase, p.Charges, p.Commits, m.Steps)
		}
		if got := s.Mechanisms[i]; got.StepsCharged != p.Charges || got.Phase != m.Phase || got.SigmaGrid != m.SigmaInt {
			t.Errorf("%s: the statement says %+v, the ledger %d charges of σ %d", m.Phase, got, p.Charges, m.SigmaInt)
		}
		charged = append(charged, account.Event{SampleRate: m.SampleRate(), NoiseMultiplier: m.NoiseMultiplier(), Steps: p.Charges})
	}
	g, err := account.Epsilon(charged, s.Delta, account.AddRemove)
	if err != nil || g.Epsilon != s.EpsilonSpent || g.Epsilon > s.EpsilonGranted || s.EpsilonGranted > s.EpsilonBudget || s.EpsilonBudget != 10 {
		t.Errorf("the charges cost ε %v (%v), the statement says %v of %v of %v", g.Epsilon, err, s.EpsilonSpent, s.EpsilonGranted, s.EpsilonBudget)
	}
	var report pipeline.Report
	if err := json.Unmarshal(read(t, out, "share", "report.json"), &report); err != nil {
		t.Fatal(err)
	}
	if report.EpsilonSpent == nil || *report.EpsilonSpent != g.Epsilon {
		t.Errorf("the report says ε %v, the ledger %v", report.EpsilonSpent, g.Epsilon)
	}
}

// checkNoAccuracy: nothing was computed on real images that is not covered by
// the statement.
func checkNoAccuracy(t *testing.T, out, stdout, stderr string) {
	t.Helper()
	page := string(read(t, out, "share", "report.html"))
	for name, text := range map[string]string{"report": string(read(t, out, "share", "report.json")), "page": page, "summary": stdout} {
		if strings.Contains(text, "accuracy") || strings.Contains(text, "centroid") {
			t.Errorf("the %s of private data has accuracies:\n%s", name, text)
		}
	}
	if want := "the data are private: no exact accuracy on real images is computed\n"; !strings.Contains(stderr, want) {
		t.Errorf("not said: %s", want)
	}
	if want := "nothing was computed on real ones for this page"; !strings.Contains(page, want) {
		t.Errorf("the page does not say: %s", want)
	}
	if exists(out, "private", "compare.png") {
		t.Error("private/compare.png shows private images")
	}
}

// findImages looks for images in all files of a folder: as bytes and as floats
// of the usual scales, and in what pictures and archives unpack to.
func findImages(t *testing.T, folder string, images dataset.Dataset) {
	t.Helper()
	var needles [][]byte
	for i := range images.Len() {
		needles = append(needles, traces(images.Image(i))...)
	}
	search := newSearch(needles)
	eachPart(t, folder, func(path string, part []byte) {
		if search.in(part) {
			t.Errorf("%s holds one of the private images", path)
		}
	})
}

// eachPart visits the content of every file of a folder, and what it unpacks to.
func eachPart(t *testing.T, folder string, visit func(path string, part []byte)) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, part := range append(unpacked(t, path, content), content) {
			visit(path, part)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// traceLength is in pixels: of the part of an image that varies most.
const traceLength = 8

// traces are the forms in which a part of an image could lie in a file.
func traces(pixels []uint8) [][]byte {
	best, most := pixels[:traceLength], 0
	for i := range len(pixels) - traceLength {
		kinds := map[uint8]bool{}
		for _, p := range pixels[i : i+traceLength] {
			kinds[p] = true
		}
		if len(kinds) > most {
			best, most = pixels[i:i+traceLength], len(kinds)
		}
	}
	forms := [][]byte{best}
	for _, scale := range []func(float32) float32{
		func(p float32) float32 { return p },
		func(p float32) float32 { return p / 255 },
		func(p float32) float32 { return p/127.5 - 1 },
	} {
		var floats []byte
		for _, p := range best {
			floats = binary.LittleEndian.AppendUint32(floats, math.Float32bits(scale(float32(p))))
		}
		forms = append(forms, floats)
	}
	return forms
}

// search finds any of many byte strings by their first bytes.
type search map[[traceLength]byte][][]byte

func newSearch(needles [][]byte) search {
	s := search{}
	for _, n := range needles {
		first := [traceLength]byte(n)
		s[first] = append(s[first], n)
	}
	return s
}

func (s search) in(content []byte) bool {
	for i := range max(0, len(content)-traceLength+1) {
		for _, n := range s[[traceLength]byte(content[i:])] {
			if bytes.HasPrefix(content[i:], n) {
				return true
			}
		}
	}
	return false
}

// pictureInPage is a picture inside an HTML file.
var pictureInPage = regexp.MustCompile(`data:image/png;base64,([A-Za-z0-9+/=]+)`)

// unpacked is what a compressed file holds, and a page's pictures.
func unpacked(t *testing.T, path string, content []byte) (parts [][]byte) {
	t.Helper()
	switch filepath.Ext(path) {
	case ".html":
		for _, m := range pictureInPage.FindAllSubmatch([]byte(html.UnescapeString(string(content))), -1) {
			picture, err := base64.StdEncoding.DecodeString(string(m[1]))
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			parts = append(parts, unpacked(t, "in.png", picture)...)
		}
	case ".png":
		picture, err := png.Decode(bytes.NewReader(content))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		b := picture.Bounds()
		var grey []byte
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				red, _, _, _ := picture.At(x, y).RGBA()
				grey = append(grey, uint8(red>>8))
			}
		}
		return [][]byte{grey}
	case ".npz":
		archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		for _, f := range archive.File {
			r, err := f.Open()
			if err != nil {
				t.Error(err)
				continue
			}
			part, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			parts = append(parts, part)
		}
	}
	return parts
}

// TestSearchFindsImages: the search of TestPrivateRun can fail.
func TestSearchFindsImages(t *testing.T) {
	images := drawn.Shapes(3, 40)
	var needles [][]byte
	for i := range images.Len() {
		needles = append(needles, traces(images.Image(i))...)
	}
	found := newSearch(needles)
	for i := range images.Len() {
		floats := []byte("header!")
		for _, p := range images.Image(i) {
			floats = binary.LittleEndian.AppendUint32(floats, math.Float32bits(float32(p)/127.5-1))
		}
		if !found.in(append([]byte("xyz"), images.Image(i)...)) || !found.in(floats) {
			t.Errorf("image %d is not found", i)
		}
	}
	c, h, w := images.Shape()
	picture := filepath.Join(t.TempDir(), "x.png")
	if err := pictures.WritePNG(picture, pictures.Image{C: c, H: h, W: w, Pix: images.Image(3)}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	report := &pipeline.Report{}
	page, err := report.HTML(nil, map[string][]byte{"samples.png": content})
	if parts := unpacked(t, "report.html", page); err != nil || len(parts) != 1 || !found.in(parts[0]) {
		t.Errorf("an image in the report's page is not found: %v, %d pictures", err, len(parts))
	}
	others := drawn.Shapes(4, 40)
	for i := range others.Len() {
		if found.in(others.Image(i)) {
			t.Errorf("an image of another set is taken for one of this")
		}
	}
}
