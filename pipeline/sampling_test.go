package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/internal/images"
	"github.com/dploda/dploda/internal/rundir"
)

// tinyShare is the share/ of a run whose model is not trained but random, and
// that run.
func tinyShare(t testing.TB, changes ...string) (share string, r *run, m *model) {
	t.Helper()
	r = tinyRun(t, append([]string{"batch: 16", everyone}, changes...)...)
	r.identity.RunID = [16]byte{1, 2, 3}
	m = trained(t, r)
	var err error
	if r.folder, err = rundir.Open(filepath.Join(t.TempDir(), "run"), "hash", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.folder.Close() })
	if err := r.saveModel(m); err != nil {
		t.Fatal(err)
	}
	return r.folder.Share(), r, m
}

// tinyOptions draw n images from a tiny run.
func tinyOptions(t testing.TB, share string, r *run, n int) SampleOptions {
	t.Helper()
	base := filepath.Join(t.TempDir(), "base")
	if err := r.base.Save(base); err != nil {
		t.Fatal(err)
	}
	return SampleOptions{
		Files: SharedFiles{Run: share, Base: base}, Out: filepath.Join(t.TempDir(), "out"), Images: &n,
		Formats: []string{FormatFolder, FormatNPZ, FormatGrid},
	}
}

// TestSampleIsTheRunsOwn: from the shared files alone come the images that the
// run itself draws, whatever the threads, and another seed gives others.
//
// Tried: the time range or the prototypes left out; the seed left out of the key.
func TestSampleIsTheRunsOwn(t *testing.T) {
	share, r, m := tinyShare(t)
	const n = partImages + 20 // more than a part
	own, err := r.generator(m.adapter, m).sample(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	opts := tinyOptions(t, share, r, n)
	for _, threads := range []int{1, 3} {
		opts.Threads, opts.Out = threads, filepath.Join(t.TempDir(), "out")
		report, err := Sample(context.Background(), opts, nil)
		if err != nil {
			t.Fatal(err)
		}
		if report.Drawn != n || !report.Complete || report.Sample.Images != n {
			t.Errorf("the report says %+v", report)
		}
		for _, i := range []int{0, 1, 2, 3, partImages - 1, partImages, n - 1} {
			got := readImage(t, opts.Out, r, i)
			if !bytes.Equal(got, own.Image(i)) {
				t.Fatalf("%d threads: image %d is not the run's", threads, i)
			}
		}
	}
	seed := uint64(2)
	opts.Seed, opts.Out = &seed, filepath.Join(t.TempDir(), "out")
	if _, err := Sample(context.Background(), opts, nil); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(readImage(t, opts.Out, r, 0), own.Image(0)) {
		t.Error("another seed draws the same image")
	}
}

// readImage is image i of a folder of all classes in turn.
func readImage(t *testing.T, out string, r *run, i int) []uint8 {
	t.Helper()
	classes := r.train.Classes()
	m, err := images.ReadPNG(filepath.Join(out, imagesFolder, classes[i%len(classes)], fmt.Sprintf("%06d.png", i)))
	if err != nil {
		t.Fatal(err)
	}
	return m.Pix
}

// TestSampleGoesOn: stopped after any number of parts, with one of them damaged
// and one of another sampling, the same options give the bytes of an undisturbed
// call.
//
// Tried: the missing images numbered among themselves; a part's fingerprint not
// compared.
func TestSampleGoesOn(t *testing.T) {
	share, r, _ := tinyShare(t)
	const n = 3*partImages + 7
	opts := tinyOptions(t, share, r, n)
	if _, err := Sample(context.Background(), opts, nil); err != nil {
		t.Fatal(err)
	}
	want := contents(t, opts.Out)

	opts.Out = filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Sample(ctx, opts, &stopper{parts: filepath.Join(opts.Out, partsFolder), after: 2, cancel: cancel}); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped, it ends with %v", err)
	}
	parts, err := filepath.Glob(filepath.Join(opts.Out, partsFolder, "*.dploda"))
	if err != nil || len(parts) < 2 {
		t.Fatalf("%d parts after two were stored: %v", len(parts), err)
	}
	content, err := os.ReadFile(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1]++
	must(t, os.WriteFile(parts[0], content, 0o644))
	store, err := checkpoint.OpenStore(filepath.Join(opts.Out, partsFolder))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(partLabel(3), []checkpoint.Section{{Name: partOf, Data: []byte("another")}, {Name: partPixels, Data: make([]uint8, 7*64)}}); err != nil {
		t.Fatal(err)
	}
	var seen noted
	report, err := Sample(context.Background(), opts, &seen)
	if err != nil {
		t.Fatal(err)
	}
	if report.Drawn == 0 || report.Drawn > n-partImages {
		t.Errorf("%d of %d images were drawn again", report.Drawn, n)
	}
	if len(seen.notes) != 2 || !strings.HasSuffix(seen.notes[0], "is damaged: its images are drawn again") {
		t.Errorf("the notes are %q", seen.notes)
	}
	if !maps.Equal(want, contents(t, opts.Out)) {
		t.Error("another folder came out")
	}

	report, err = Sample(context.Background(), opts, nil)
	if err != nil || report.Drawn != 0 {
		t.Errorf("a folder that is complete: %+v, %v", report, err)
	}
	must(t, os.Remove(filepath.Join(opts.Out, npzFile)))
	if _, err = Sample(context.Background(), opts, nil); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(want, contents(t, opts.Out)) {
		t.Error("another folder came out")
	}
}

// TestSampleOnAFullDisk: the sentence of the store, and the parts before remain.
func TestSampleOnAFullDisk(t *testing.T) {
	share, r, _ := tinyShare(t)
	opts := tinyOptions(t, share, r, 2*partImages)
	m, err := openShared(opts.Files)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.plan(opts, r.dev)
	if err != nil {
		t.Fatal(err)
	}
	f, err := openSampling(opts.Out, s)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	g, err := m.generator(s, r.dev, 1)
	if err != nil {
		t.Fatal(err)
	}
	must(t, f.find(quiet{}))
	if _, err := Sample(context.Background(), opts, nil); err == nil || !strings.HasPrefix(err.Error(), "another dploda works in "+opts.Out) {
		t.Errorf("two at a time: %v", err)
	}
	writes := 0
	f.store.InjectFaults(func(op string) (int, error) {
		if op == "write" {
			if writes++; writes == 2 {
				return 100, syscall.ENOSPC
			}
		}
		return -1, nil
	})
	_, err = f.draw(context.Background(), g, quiet{})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full: free some space and run the same command again") {
		t.Fatalf("a full disk: %v", err)
	}
	must(t, f.find(quiet{}))
	if len(f.parts) != 1 {
		t.Errorf("%d parts after the second could not be written", len(f.parts))
	}
	if drawn, err := f.draw(context.Background(), g, quiet{}); drawn != partImages || err != nil {
		t.Errorf("%d images drawn with space again: %v", drawn, err)
	}
}

// TestSampleOfSomeClasses draws them in turn, under the labels of the run.
func TestSampleOfSomeClasses(t *testing.T) {
	share, r, _ := tinyShare(t)
	opts := tinyOptions(t, share, r, 5)
	opts.Classes = []string{"c", "a"}
	if _, err := Sample(context.Background(), opts, nil); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range contents(t, filepath.Join(opts.Out, imagesFolder)) {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"a/000001.png", "a/000003.png", "c/000000.png", "c/000002.png", "c/000004.png"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

// TestSampleWithoutPrototypes: a run that had none needs no file of them.
func TestSampleWithoutPrototypes(t *testing.T) {
	share, r, _ := tinyShare(t, "prototypes: {clusters: 2, rounds: 2, noise_multiplier: 20, size: 8}", "")
	opts := tinyOptions(t, share, r, 3)
	if _, err := Sample(context.Background(), opts, nil); err != nil {
		t.Fatal(err)
	}
}

// TestSharedFilesThatDoNotBelong are refused in one sentence.
func TestSharedFilesThatDoNotBelong(t *testing.T) {
	share, r, _ := tinyShare(t)
	opts := tinyOptions(t, share, r, 3)
	other, _, _ := tinyShare(t, "rank: 2", "rank: 1")
	bare := SharedFiles{Base: opts.Files.Base, Adapter: filepath.Join(share, adapterFile)}
	for _, c := range []struct {
		change func(*SharedFiles)
		want   string
	}{
		{func(f *SharedFiles) {}, "had prototypes: give its prototypes.safetensors with --prototypes"},
		{func(f *SharedFiles) { f.Prototypes = "nothing" }, "there are no prototypes nothing, which belong to"},
		{func(f *SharedFiles) { f.Prototypes = filepath.Join(share, adapterFile) }, "it is damaged, or another run's"},
		{func(f *SharedFiles) { f.Run = other }, "--run says where adapter and prototypes are"},
		{func(f *SharedFiles) { f.Adapter = "" }, "no fine-tuned model is given"},
		{func(f *SharedFiles) { f.Adapter = "nothing" }, "there is no adapter nothing"},
		{func(f *SharedFiles) { f.Base = "" }, "belongs to a base that is not shipped with dploda"},
		{func(f *SharedFiles) { f.Base = tinyBase(t, false) }, "belongs to another base model"},
	} {
		files := bare
		c.change(&files)
		if _, err := openShared(files); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: error %v, want one with %q", files, err, c.want)
		}
	}
}

// FuzzRecipe: whatever an adapter's metadata say, they are refused or can be
// sampled by.
func FuzzRecipe(f *testing.F) {
	_, r, _ := tinyShare(f)
	text, err := r.recipe().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(`{"format":1,"classes":[""],"time_range":[9,3]}`)
	f.Add(`{"format":1,"more":0}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecipe(text)
		if err != nil {
			return
		}
		if len(r.Classes) == 0 || r.TimeRange[0] > r.TimeRange[1] || r.Sample.Validate() != nil || len(r.RunID) != 32 {
			t.Errorf("accepted: %+v", r)
		}
	})
}

// FuzzPrototypes: a file of prototypes is refused or comes back as it was.
func FuzzPrototypes(f *testing.F) {
	_, _, m := tinyShare(f)
	content, err := encodePrototypes(m.centers, "b00")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(content[:len(content)-4])
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := decodePrototypes(content)
		if err != nil {
			return
		}
		if len(c.Pixels) != c.Spec.Classes*c.Spec.Clusters*c.Spec.Pixels() || len(c.Weights) != c.Spec.Classes*c.Spec.Clusters {
			t.Fatalf("%d pixels and %d weights for %+v", len(c.Pixels), len(c.Weights), c.Spec)
		}
		for class := range c.Spec.Classes {
			if k := chooseCluster(c, class, 0.5); k < 0 || k >= c.Spec.Clusters {
				t.Fatalf("cluster %d of %d", k, c.Spec.Clusters)
			}
		}
	})
}

// stopper is an observer that ends a sampling when so many parts are stored.
type stopper struct {
	quiet
	parts  string
	after  int
	cancel context.CancelFunc
}

func (s *stopper) Progress(Progress) {
	if found, err := filepath.Glob(filepath.Join(s.parts, "*.dploda")); err == nil && len(found) >= s.after {
		s.cancel()
	}
}

// noted is an observer that keeps the notes.
type noted struct {
	quiet
	notes []string
}

func (n *noted) Note(text string) { n.notes = append(n.notes, text) }

// contents are the files of a folder by their paths in it.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, fs.WalkDir(os.DirFS(folder), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(folder, path))
		files[path] = string(content)
		return err
	}))
	return files
}
