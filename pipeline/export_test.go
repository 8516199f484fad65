package pipeline

import (
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/safetensors"
)

// The pairs of text that make a tiny run's adapter one of another kind.
var (
	asLoRA  = []string{"adapter: {kind: loda, rank: 2, alpha: 2}", "adapter: {kind: lora, rank: 2, alpha: 3}", "time_range: [0.2, 0.8]", "time_range: [0, 1]"}
	asFull  = []string{"adapter: {kind: loda, rank: 2, alpha: 2}", "adapter: {kind: full, targets: [conv_in, time]}"}
	asNone  = []string{"adapter: {kind: loda, rank: 2, alpha: 2}", "adapter: {kind: none}"}
	asLoDA  = []string(nil)
	asPlain = []string{"rank: 2, alpha: 2}", "rank: 2, alpha: 1, nonlinearity: identity}"}
)

// export writes a tiny run, or its base, in a format.
func export(t *testing.T, format string, files SharedFiles) (folder string, report *ExportReport) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), format)
	report, err := Export(context.Background(), ExportOptions{Files: files, Format: format, Out: folder}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return folder, report
}

// filesOf are the shared files of a run and the folder of its base.
func filesOf(t *testing.T, share string, r *run) SharedFiles {
	return tinyOptions(t, share, r, 1).Files
}

func readTensors(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	tensors, _, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]float32{}
	for _, tensor := range tensors {
		values[tensor.Name] = tensor.Data
	}
	return values
}

// closeTo compares with an absolute tolerance; values are of size 1.
func closeTo(t *testing.T, what string, got, want []float32) {
	t.Helper()
	const tolerance = 1e-4
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tolerance) {
			t.Fatalf("%s: value %d is %g, want %g", what, i, got[i], want[i])
		}
	}
}

// TestGoldenAdapter: an adapter file with a recipe, made in Python, predicts here
// what examples/python/load_adapter.py predicted with it in torch on the shipped
// base, and can be sampled from.
//
// Tried: the nonlinearity in the file changed to relu.
func TestGoldenAdapter(t *testing.T) {
	golden := filepath.Join("..", "examples", "python", "golden")
	m, err := openShared(SharedFiles{Run: golden})
	if err != nil {
		t.Fatal(err)
	}
	check := readTensors(t, filepath.Join(golden, CheckFile))
	c := &checkBatch{sample: check["sample"], timestep: check["timestep"], label: check["label"]}
	if err := c.predict(m.base, m.adapter); err != nil {
		t.Fatal(err)
	}
	closeTo(t, "prediction", c.prediction, check["prediction"])
	if m.Name != "golden" || m.base.Source != "builtin:demo" || len(m.Classes) != 3 || !m.adapter.TestMode {
		t.Errorf("it says %+v", m.recipe)
	}
	if _, err := Sample(context.Background(), SampleOptions{Files: SharedFiles{Run: golden}, Out: t.TempDir(), Formats: []string{FormatGrid}}, nil); err != nil {
		t.Error(err)
	}
}

// TestExportMerges: the exported network without adapters predicts what base and
// adapter do, and the folder says that it is not public.
func TestExportMerges(t *testing.T) {
	for name, changes := range map[string][]string{"lora": asLoRA, "full": asFull, "none": asNone, "identity": asPlain} {
		share, r, m := tinyShare(t, changes...)
		folder, report := export(t, ExportDiffusers, filesOf(t, share, r))
		if hasNote := len(report.Notes) > 0; hasNote == (name == "lora") {
			t.Errorf("%s: the notes are %q; only lora's adapters are on at all times", name, report.Notes)
		}
		merged, err := LoadBase(folder)
		if err != nil {
			t.Fatal(err)
		}
		if merged.Config.NumClassEmbeds != 4 || !strings.HasPrefix(merged.Traits.PublicData, "NOT public: ") {
			t.Errorf("%s: %d class rows, trained on %q", name, merged.Config.NumClassEmbeds, merged.Traits.PublicData)
		}
		want := newCheck(r.base, m.adapter, r.times)
		must(t, want.predict(r.base, m.adapter))
		got := newCheck(r.base, m.adapter, r.times)
		must(t, got.predict(merged, nil))
		closeTo(t, name, got.prediction, want.prediction)
		plain := newCheck(r.base, nil, r.times)
		must(t, plain.predict(r.base, nil))
		if plain.prediction[0] == want.prediction[0] {
			t.Errorf("%s: the adapter changes nothing", name)
		}
	}
}

// TestExportOfTheRunsImages gives the bytes of share/samples.npz.
func TestExportOfTheRunsImages(t *testing.T) {
	share, r, _ := tinyShare(t)
	files := filesOf(t, share, r)
	folder, _ := export(t, ExportNPZ, files)
	opts := tinyOptions(t, share, r, 9) // as many as the config has
	if _, err := Sample(context.Background(), opts, nil); err != nil {
		t.Fatal(err)
	}
	if contents(t, folder)[npzFile] != contents(t, opts.Out)[npzFile] {
		t.Error("other images")
	}
}

func TestExportOfABase(t *testing.T) {
	files := SharedFiles{Base: tinyBase(t, true)}
	folder, _ := export(t, ExportDiffusers, files)
	want, err := LoadBase(files.Base)
	must(t, err)
	got, err := LoadBase(folder)
	must(t, err)
	if got.Hash != want.Hash || got.Traits != want.Traits {
		t.Error("another base came out")
	}
	folder, _ = export(t, ExportCheck, files)
	check := readTensors(t, filepath.Join(folder, CheckFile))
	c := &checkBatch{sample: check["sample"], timestep: check["timestep"], label: check["label"]}
	must(t, c.predict(want, nil))
	closeTo(t, "prediction", check["prediction"], c.prediction)
}

func TestExportsThatCannotBe(t *testing.T) {
	share, r, _ := tinyShare(t)
	loda := filesOf(t, share, r)
	fullShare, full, _ := tinyShare(t, asFull...)
	base := SharedFiles{Base: loda.Base}
	occupied := t.TempDir()
	must(t, os.WriteFile(filepath.Join(occupied, "thesis.tex"), nil, 0o644))
	for _, c := range []struct {
		files            SharedFiles
		format, out, say string
	}{
		{loda, ExportDiffusers, "", "nonlinearity silu is not linear and cannot be merged into the base's weights: export the base with --base and attach the adapter with examples/python/load_adapter.py"},
		{loda, ExportPEFT, "", `PEFT knows no adapter of kind loda with nonlinearity "silu"; only LoRA can be exported: attach this one with examples/python/load_adapter.py`},
		{filesOf(t, fullShare, full), ExportPEFT, "", "the run trained no adapter, but weights of the network itself (kind full): give --format diffusers"},
		{base, ExportPEFT, "", "a base is no adapter: --format peft needs --run or --adapter"},
		{base, ExportNPZ, "", "no fine-tuned model is given: give --run RUN"},
		{base, "onnx", "", `--format "onnx" is not known; choose diffusers, peft, npz or check`},
		{loda, "onnx", "", `--format "onnx" is not known; choose diffusers, peft, npz or check`},
		{SharedFiles{}, ExportDiffusers, "", "no fine-tuned model is given: give --run RUN"},
		{base, ExportDiffusers, occupied, "thesis holds other files"},
	} {
		if c.out == "" {
			c.out = filepath.Join(t.TempDir(), "out")
		} else {
			c.say = c.out + " holds other files; choose an empty or new folder with --out"
		}
		_, err := Export(context.Background(), ExportOptions{Files: c.files, Format: c.format, Out: c.out}, nil)
		if err == nil || !strings.Contains(err.Error(), c.say) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s of %+v: error %v, want %s", c.format, c.files, err, c.say)
		}
		if entries, _ := os.ReadDir(filepath.Dir(c.out)); c.out != occupied && len(entries) > 0 {
			t.Errorf("%s of %+v left something", c.format, c.files)
		}
	}
}

// runAll runs programs one after another in one Python. Its arguments are
// command lines, each ended by "--end".
const runAll = `
import runpy, sys
line = []
for word in sys.argv[1:]:
    if word != "--end":
        line.append(word)
        continue
    print("$", *line, flush=True)
    sys.argv = line
    sys.path[0] = "examples/python"
    runpy.run_path(line[0], run_name="__main__")
    line = []
`

// TestPythonExamples: the programs in examples/python open what dploda writes,
// and predict what dploda does, in real torch, diffusers and PEFT.
//
// Tried: A's padding or the scale left out in Python; the base exported without
// what was trained.
func TestPythonExamples(t *testing.T) {
	python := os.Getenv("DPLODA_PYTHON")
	if python == "" {
		t.Skip("set DPLODA_PYTHON to a Python with diffusers, peft, torch, numpy and Pillow to run this test")
	}
	var args []string
	program := func(name string, more ...string) {
		args = append(append(append(args, filepath.Join("examples", "python", name)), more...), "--end")
	}
	program("load_base.py", "pipeline/bases/demo")
	program("load_adapter.py", "examples/python/golden", "--base", "pipeline/bases/demo", "--check", "examples/python/golden/check.safetensors")
	for _, changes := range [][]string{asLoDA, asLoRA, asFull} {
		share, r, _ := tinyShare(t, changes...)
		files := filesOf(t, share, r)
		checked, _ := export(t, ExportCheck, files)
		check := filepath.Join(checked, CheckFile)
		program("load_adapter.py", share, "--base", files.Base, "--check", check)
		program("sample.py", share, "--base", files.Base, "--check", check)
		if changes == nil {
			program("sample.py", share, "--base", files.Base, "--n", "5", "--out", filepath.Join(t.TempDir(), "x.npz"))
			opts := tinyOptions(t, share, r, 6)
			if _, err := Sample(context.Background(), opts, nil); err != nil {
				t.Fatal(err)
			}
			program("load_samples.py", opts.Out)
			continue
		}
		merged, _ := export(t, ExportDiffusers, files)
		program("load_base.py", merged, "--check", check)
		if r.adapter.Kind == "lora" {
			peft, _ := export(t, ExportPEFT, files)
			program("load_adapter.py", peft, "--base", files.Base, "--check", check)
		}
	}
	cmd := exec.Command(python, append([]string{"-c", runAll}, args...)...)
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "OMP_NUM_THREADS=1")
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, want := range []string{
		"samples.npz: 6 images of (1, 8, 8)", "a: 2, b: 2, c: 2", "loda of rank 1, run golden, classes ['a', 'b', 'c']", "lora of rank 2", "5 images of (1, 8, 8)",
	} {
		if !strings.Contains(string(output), want) {
			t.Errorf("no %q in\n%s", want, output)
		}
	}
	for text, want := range map[string]int{"largest difference to dploda's predictions": 7, "largest difference to dploda's images": 3} {
		if n := strings.Count(string(output), text); n != want {
			t.Errorf("%d times %q, want %d:\n%s", n, text, want, output)
		}
	}
}
