package unet_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/unet/unettest"
)

// roundTrip loads folders that dploda wrote, predicts on their golden batches
// and saves them again. Its arguments are triples of folders: dploda's, the
// golden file's, and where to save.
const roundTrip = `
import sys, torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
torch.set_num_threads(1)
for folder, golden, out in zip(*[iter(sys.argv[1:])] * 3):
    model, info = UNet2DModel.from_pretrained(folder, output_loading_info=True, low_cpu_mem_usage=False)
    assert not any(info.values()), info
    g = load_file(golden + "/golden.safetensors")
    kwargs = {"class_labels": g["label"].long()} if "label" in g else {}
    with torch.no_grad():
        y = model(g["sample"], g["timestep"].long(), return_dict=False, **kwargs)[0]
    model.save_pretrained(out)
    save_file({"prediction": y.contiguous()}, out + "/prediction.safetensors")
`

// TestDiffusersRoundTrip: dploda's folder loads in diffusers without a missing
// or unexpected key, predicts the same there, and what diffusers saves again is
// the same base here.
func TestDiffusersRoundTrip(t *testing.T) {
	python := os.Getenv("DPLODA_PYTHON")
	if python == "" {
		t.Skip("set DPLODA_PYTHON to a Python with diffusers, torch and safetensors to run this test")
	}
	args := []string{"-c", roundTrip}
	saved := map[string]string{}
	for _, variant := range variants {
		base, _ := load(t, variant)
		folder, out := t.TempDir(), t.TempDir()
		if err := base.Save(folder); err != nil {
			t.Fatal(err)
		}
		args = append(args, folder, filepath.Join("testdata", variant), out)
		saved[variant] = out
	}
	cmd := exec.Command(python, args...)
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, variant := range variants {
		base, golden := load(t, variant)
		theirs := unettest.Read(t, filepath.Join(saved[variant], "prediction.safetensors"))
		p := compile(t, base, device.NoGradient)
		s := p.Run(t, golden, golden)
		for n := range unettest.Lanes {
			unettest.Close(t, fmt.Sprintf("%s, prediction %d", variant, n), p.Prediction(t, s, n), theirs.Example(t, "prediction", n))
		}
		if again := loadFolder(t, saved[variant]); hash(t, again) != hash(t, base) {
			t.Errorf("%s: diffusers saved another base", variant)
		}
	}
}
