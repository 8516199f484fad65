package pipeline

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/worker/task"
)

// pictureFolder writes grey PNG files of h x w pixels, all different, for each
// class, and returns their paths.
func pictureFolder(t *testing.T, dir string, h, w, each int, classes ...string) (paths []string) {
	t.Helper()
	for c, class := range classes {
		if err := os.MkdirAll(filepath.Join(dir, class), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range each {
			m := image.NewGray(image.Rect(0, 0, w, h))
			for at := range m.Pix {
				m.Pix[at] = uint8(at*at*7 + 31*i + 101*c)
			}
			m.Set(0, 0, color.Gray{uint8(i)})
			path := filepath.Join(class, fmt.Sprintf("Klinkenbergh-%02d.png", i))
			f, err := os.Create(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(png.Encode(f, m), f.Close()); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
	}
	return paths
}

// TestWorkersReadFolders: a worker process reads the image folder and its unit
// file as the coordinator does, transform included. What it says of a file that
// broke meanwhile names no file: its words go into a log and over the network.
// Tried: tasks without the transform; the error without its mask.
func TestWorkersReadFolders(t *testing.T) {
	r := tinyRun(t, "kind: idx", "kind: folder, transform: {resize: [6, 8], pad: [8, 8]}, units: people.csv", "nominal_size: 60", "nominal_size: 12", "batch: 16", "batch: 12")
	r.opts.Data = t.TempDir()
	paths := pictureFolder(t, r.opts.Data, 12, 16, 8, "a", "b", "c")
	units := "image,unit\n"
	for i, path := range slices.Backward(paths) {
		units += fmt.Sprintf("%s,Ottilie %d\n", filepath.ToSlash(path), i/2)
	}
	if err := os.WriteFile(filepath.Join(r.opts.Data, "people.csv"), []byte(units), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.train, err = openTrain(r.spec.Data, r.opts.Data); err != nil {
		t.Fatal(err)
	}
	if r.units, err = openUnits(r.spec.Data, r.opts.Data, r.train); err != nil {
		t.Fatal(err)
	}
	if r.units.Len() != 12 || !slices.Equal(r.units.Images(11), []uint32{22, 23}) {
		t.Errorf("%d units, the last of %v", r.units.Len(), r.units.Images(11))
	}
	r.identity.DataKey = []byte("a key of this run")
	print := dataset.Fingerprint(r.identity.DataKey, r.train, r.units)
	r.identity.Fingerprint = print[:]
	job, err := r.job()
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := newTasks(job)
	if err != nil {
		t.Fatal(err)
	}
	if c, h, w := tasks[phaseFinetune].(*task.Gradient).Data.Shape(); c != 1 || h != 8 || w != 8 {
		t.Errorf("the worker has images of %d x %d x %d", c, h, w)
	}
	if err := os.WriteFile(filepath.Join(r.opts.Data, paths[3]), []byte("\x89PNG"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = newTasks(job)
	if want := "the private images cannot be used as they are: what is wrong with them is said on the terminal alone"; err == nil || err.Error() != want || strings.Contains(fmt.Sprintf("%+v", err), "Klinkenbergh") {
		t.Errorf("a worker says %+v, want %s", err, want)
	}
	for _, err := range []error{err, fmt.Errorf("too few workers are left: %w", err)} {
		if said := ForOwner(err); !strings.HasPrefix(said, OwnersEyes+filepath.ToSlash(paths[3])+" in ") {
			t.Errorf("the owner reads %s", said)
		}
	}
}

// TestPublicFolders: held-out images are read for data declared public, and what
// is wrong with such data is no secret.
func TestPublicFolders(t *testing.T) {
	dir := t.TempDir()
	pictureFolder(t, filepath.Join(dir, "train"), 12, 16, 3, "a", "b")
	pictureFolder(t, filepath.Join(dir, "test"), 12, 16, 2, "a", "b")
	d := config.Data{Kind: config.KindFolder, Public: true, ClassNames: []string{"a", "b"}, Transform: config.Transform{Channels: "rgb", Crop: []int{10, 12}}}
	for open, want := range map[int]int{0: 6, 1: 4} {
		set, err := []func(config.Data, string) (dataset.Dataset, error){openTrain, openTest}[open](d, dir)
		if err != nil {
			t.Fatal(err)
		}
		if c, h, w := set.Shape(); set.Len() != want || c != 3 || h != 10 || w != 12 {
			t.Errorf("%d images of %d x %d x %d", set.Len(), c, h, w)
		}
	}
	d.ClassNames = []string{"a", "z"}
	if _, err := openTrain(d, dir); err == nil || !strings.Contains(err.Error(), `no folder for the class "z"`) || ForOwner(err) != err.Error() {
		t.Errorf("got %v", err)
	}
}
