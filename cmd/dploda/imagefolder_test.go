package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
	"github.com/dploda/dploda/pipeline"
)

// oblongBase writes a small base for RGB images 40 high and 24 wide, with random
// weights.
func oblongBase(t *testing.T) string {
	t.Helper()
	c := unet.Defaults()
	c.SampleHeight, c.SampleWidth, c.InChannels, c.OutChannels, c.NumClassEmbeds = 20, 12, 12, 12, 5
	c.BlockOutChannels, c.LayersPerBlock, c.NormNumGroups = []int{8, 8}, 1, 4
	c.DownBlockTypes, c.UpBlockTypes = []string{"DownBlock2D", "DownBlock2D"}, []string{"UpBlock2D", "UpBlock2D"}
	b, err := unet.NewBase(c, draws.New(draws.SeedKey(1, "oblong base")))
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "base")
	if err := b.Save(folder); err != nil {
		t.Fatal(err)
	}
	traits := `{"format": 1, "image": [3, 40, 24], "unshuffle": 2, "prediction_type": "v_prediction",
		"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 1000, "public_data": "none"}`
	if err := os.WriteFile(filepath.Join(folder, "dploda.json"), []byte(traits), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// fileFamily is in the name of every file of the folder.
const fileFamily = "Klinkenbergh"

// oddFolder writes an image folder of 40x24 images in four classes with ten each:
// names in several scripts, one stored decomposed as macOS does; PNG and JPEG, a
// grey PNG among RGB ones, the litter of systems, and a corrupt file.
func oddFolder(t *testing.T) (folder, corrupt string) {
	t.Helper()
	folder = t.TempDir()
	s := draws.New(draws.SeedKey(2, "odd folder")).Stream(0, 0, draws.Noise)
	for _, class := range []string{"e\u0301clair", "Österreich", "犬", "عربى"} {
		if err := os.MkdirAll(filepath.Join(folder, class), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			m := image.NewRGBA(image.Rect(0, 0, 24, 40))
			for at := range m.Pix {
				m.Pix[at] = uint8(s.Intn(256))
				if at%4 == 3 {
					m.Pix[at] = 255
				}
			}
			name := fmt.Sprintf("%s %d.png", fileFamily, i)
			if i%3 == 2 {
				name = fmt.Sprintf("%s %d.JPG", fileFamily, i)
			}
			f, err := os.Create(filepath.Join(folder, class, name))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case i%3 == 2:
				err = jpeg.Encode(f, m, nil)
			case class == "犬" && i == 0:
				grey := image.NewGray(m.Rect)
				for y := range 40 {
					for x := range 24 {
						grey.Set(x, y, color.Gray{uint8(s.Intn(256))})
					}
				}
				err = png.Encode(f, grey)
			default:
				err = png.Encode(f, m)
			}
			if err != nil || f.Close() != nil {
				t.Fatal(err)
			}
		}
	}
	corrupt = filepath.Join("Österreich", fileFamily+" broken.png")
	whole := read(t, folder, "Österreich", fileFamily+" 0.png")
	for path, content := range map[string][]byte{
		corrupt: whole[:len(whole)/2], ".DS_Store": {0}, "犬/Thumbs.db": {0}, "犬/._" + fileFamily + " 0.png": {0}, "LICENCE.txt": {'x'},
	} {
		if err := os.WriteFile(filepath.Join(folder, path), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder, corrupt
}

// folderConfig writes the config of a run on oddFolder's images. Its class names
// are composed.
func folderConfig(t *testing.T, base string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "folder.yaml")
	text := fmt.Sprintf(`name: folder
data: {kind: folder, class_names: [éclair, Österreich, 犬, عربى], transform: {channels: rgb}, nominal_size: 40}
base: %s
privacy: {domain: patients}
adapter: {rank: 1}
finetune: {batch: 8, steps: 4, clip: 1e-3, learning_rate: 0.03, final_learning_rate: 0.003}
sample: {images: 8, sampler: ddim, steps: 2, guidance: 0}
workers: {count: 2, threads: 1}
`, base)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRunOnAnImageFolder: a corrupt file stops the run before anything is
// charged and is named on the terminal alone; left out, the run completes, with
// workers in processes of their own. The classes keep their names; no name of a
// file is in anything that was written.
//
// Tried: an error without its mask, which puts the name into run.log; classes
// compared byte for byte; no leaving out in the workers; tags of the transformed
// images.
func TestRunOnAnImageFolder(t *testing.T) {
	t.Parallel()
	folder, corrupt := oddFolder(t)
	state, out := t.TempDir(), t.TempDir()
	register(t, state, "patients")
	config := folderConfig(t, oblongBase(t))
	command := []string{"run", config, "--data", folder, "--state", state, "--out", out, "--worker-processes"}

	refused(t, exitFailed, pipeline.OwnersEyes+corrupt+" in "+folder+" is truncated: repair or remove it, or leave such files out with data.corrupt: leave_out; 'dploda inspect data "+folder+"' lists them", command...)
	var facts pipeline.DomainFacts
	if code, shown, stderr := run(t, "domain", "show", "patients", "--state", state, "--json"); code != 0 || json.Unmarshal([]byte(shown), &facts) != nil || len(facts.Runs) != 0 {
		t.Errorf("exit code %d\n%s%s\nthe refused run is in the ledger", code, shown, stderr)
	}
	if log := string(read(t, out, "run.log")); !strings.Contains(log, "said on the terminal alone") {
		t.Errorf("run.log says nothing of the failure:\n%s", log)
	}
	checkNoFileNames(t, out, state)

	out = t.TempDir()
	content := strings.Replace(string(read(t, config)), "kind: folder", "kind: folder, corrupt: leave_out", 1)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	command[len(command)-2] = out
	code, stdout, stderr := run(t, command...)
	if code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", code, stderr, read(t, out, "run.log"))
	}
	if want := "for the owner's eyes only: left out: " + corrupt + " is truncated\n"; strings.Count(stderr, fileFamily) != 1 || !strings.Contains(stderr, want) || strings.Contains(stdout, fileFamily) {
		t.Errorf("standard error lacks %q, or names more files:\n%s%s", want, stderr, stdout)
	}
	checkNoFileNames(t, out, state)
	entries, err := os.ReadDir(filepath.Join(out, "share", "images"))
	if err != nil {
		t.Fatal(err)
	}
	var classes []string
	for _, e := range entries {
		classes = append(classes, e.Name())
	}
	slices.Sort(classes)
	if want := []string{"Österreich", "éclair", "عربى", "犬"}; !slices.Equal(classes, want) {
		t.Errorf("the samples are in the folders %q, want %q", classes, want)
	}
	// The same images, brought to the same shape in another way, are known.
	register(t, state, "others")
	content = strings.NewReplacer("domain: patients", "domain: others", "channels: rgb", "channels: rgb, crop: [38, 22], pad: [40, 24]").Replace(content)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	command[len(command)-2] = t.TempDir()
	if code, _, stderr := run(t, command...); code != exitFailed || !strings.Contains(stderr, `some of the images belong to data domain "patients"`) {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	sample, err := filepath.Glob(filepath.Join(out, "share", "images", "犬", "*.png"))
	if err != nil || len(sample) != 2 {
		t.Fatalf("%q, %v", sample, err)
	}
	m, err := png.Decode(strings.NewReader(string(read(t, sample[0]))))
	if err != nil || m.Bounds() != image.Rect(0, 0, 24, 40) {
		t.Errorf("a sample of %v, %v", m.Bounds(), err)
	}
}

// checkNoFileNames looks for the names of the private files in all that was
// written, and holds that it would find them.
func checkNoFileNames(t *testing.T, written ...string) {
	t.Helper()
	for _, dir := range written {
		if found := holding(t, dir, fileFamily); len(found) > 0 {
			t.Errorf("names of files are in %s", found)
		}
	}
	trap := t.TempDir()
	if err := os.WriteFile(filepath.Join(trap, "log"), []byte("msg="+fileFamily), 0o600); err != nil || len(holding(t, trap, fileFamily)) != 1 {
		t.Errorf("the search finds no name where there is one, %v", err)
	}
}
