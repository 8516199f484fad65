package adapter_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/unet/unettest"
)

// loadInPEFT predicts on a golden batch with dploda's base and LoRA folders.
const loadInPEFT = `
import sys, torch
from diffusers import UNet2DModel
from peft import PeftModel
from safetensors.torch import load_file, save_file
base, lora, batch, golden, rows, out = sys.argv[1:]
torch.set_num_threads(1)
model = UNet2DModel.from_pretrained(base, num_class_embeds=int(rows), ignore_mismatched_sizes=True, low_cpu_mem_usage=False)
model = PeftModel.from_pretrained(model, lora)
b, g = load_file(batch), load_file(golden)
with torch.no_grad():
    y = model(b["sample"], b["timestep"].long(), g["label"].long(), return_dict=False)[0]
save_file({"prediction": y.contiguous()}, out)
`

// TestPEFTLoadsTheFolder: PEFT, given the exported folder, predicts what the
// golden file says for these adapters and this class embedding.
func TestPEFTLoadsTheFolder(t *testing.T) {
	python := os.Getenv("DPLODA_PYTHON")
	if python == "" {
		t.Skip("set DPLODA_PYTHON to a Python with diffusers, peft, torch and safetensors to run this test")
	}
	base, _ := load(t, "ddpm")
	golden := unettest.Read(t, filepath.Join("testdata", "ddpm.safetensors"))
	a := start(t, base, cases[1].spec, 1)
	setGolden(t, a, golden)
	baseFolder, loraFolder, out := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "out.safetensors")
	if err := base.Save(baseFolder); err != nil {
		t.Fatal(err)
	}
	if err := a.SavePEFT(loraFolder); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", loadInPEFT, baseFolder, loraFolder,
		filepath.Join("..", "unet", "testdata", "ddpm", "golden.safetensors"),
		filepath.Join("testdata", "ddpm.safetensors"), fmt.Sprint(cases[1].spec.Classes+1), out)
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	theirs := unettest.Read(t, out)
	for n := range unettest.Lanes {
		unettest.Close(t, fmt.Sprintf("prediction %d", n), theirs.Example(t, "prediction", n), golden.Example(t, "prediction", n))
	}
}

func TestPEFTTakesLoRAOnly(t *testing.T) {
	base, _ := load(t, "plain")
	folder := t.TempDir()
	err := start(t, base, cases[0].spec, 1).SavePEFT(folder)
	if err == nil || !strings.Contains(err.Error(), `no adapter of kind loda with nonlinearity "silu"`) {
		t.Errorf("a nonlinear adapter: %v", err)
	}
	spec := cases[0].spec
	spec.Nonlinearity = adapter.Identity
	if err := start(t, base, spec, 1).SavePEFT(folder); err != nil {
		t.Errorf("LoDA with the identity is LoRA: %v", err)
	}
	content, err := os.ReadFile(filepath.Join(folder, adapter.PEFTConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"r": 2`, `"lora_alpha": 4`, `"conv_in"`, `"mid_block.resnets.0.conv1"`, `"modules_to_save"`} {
		if !strings.Contains(string(content), part) {
			t.Errorf("%s lacks %s:\n%s", adapter.PEFTConfigFile, part, content)
		}
	}
}
