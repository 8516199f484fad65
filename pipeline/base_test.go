package pipeline

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/unet"
)

func TestTraitsOfAFolderMadeElsewhere(t *testing.T) {
	network := &unet.Base{Config: unet.Config{OutChannels: 3, SampleHeight: 32, SampleWidth: 16}}
	place := location{network: "folder"}
	got, err := loadTraits(fstest.MapFS{}, place, network)
	if err != nil {
		t.Fatal(err)
	}
	want := Traits{
		Format: 1, Image: [3]int{3, 32, 16}, Unshuffle: 1, Prediction: diffusion.Epsilon, Schedule: diffusion.Linear,
		Timesteps: 1000, PublicData: "not recorded by the base",
	}
	if got != want {
		t.Errorf("%+v, want what diffusers' DDPM does: %+v", got, want)
	}
	if len(network.Notes) != 1 || !strings.Contains(network.Notes[0], "no scheduler_config.json: taken for a network that predicts epsilon") {
		t.Errorf("notes %q do not tell what was assumed", network.Notes)
	}
	for name, content := range map[string]string{"damaged": "{", "format 2": `{"format": 2}`} {
		if _, err := loadTraits(fstest.MapFS{traitsFile: {Data: []byte(content)}}, place, network); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v should say %q", err, name)
		}
	}
}

func TestABaseComesBackAsItWasSaved(t *testing.T) {
	folder := tinyBase(t, true)
	b, err := LoadBase(folder)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again")
	if err := b.Save(again); err != nil {
		t.Fatal(err)
	}
	c, err := LoadBase(again)
	if err != nil || c.Hash != b.Hash || c.Traits != b.Traits {
		t.Errorf("%+v came back as %+v (error %v)", b.Traits, c.Traits, err)
	}
	if !b.PrototypeChannel() || b.Config.InChannels != 2 || b.Traits.Image != [3]int{1, 8, 8} {
		t.Errorf("the base of 8x8 images with a prototype channel says %+v", b.Traits)
	}
}

func TestTraitsThatDoNotFitAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Traits){
		"another image size":       func(t *Traits) { t.Image = [3]int{1, 28, 28} },
		"another codec":            func(t *Traits) { t.Unshuffle = 2 },
		"a codec of nothing":       func(t *Traits) { t.Unshuffle = 0 },
		"no prototype channel":     func(t *Traits) { t.PrototypeChannel = false },
		"more channels than there": func(t *Traits) { t.Image[0] = 3 },
	} {
		folder := tinyBase(t, true)
		path := filepath.Join(folder, traitsFile)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var traits Traits
		if err := json.Unmarshal(content, &traits); err != nil {
			t.Fatal(err)
		}
		change(&traits)
		if content, err = json.Marshal(traits); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadBase(folder); err == nil || !strings.Contains(err.Error(), folder) {
			t.Errorf("%s: error %v should name the base", name, err)
		}
	}
	if _, err := LoadBase(t.TempDir()); err == nil || !strings.Contains(err.Error(), "builtin:demo") {
		t.Errorf("an empty folder: error %v should name the shipped bases", err)
	}
}
