package pipeline

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
	"github.com/dploda/dploda/model/unet/unettest"
)

// TestAPipelineMadeElsewhere takes a folder that tools/golden_base.py made with
// diffusers as a base.
func TestAPipelineMadeElsewhere(t *testing.T) {
	agreesWithDiffusers(t, filepath.Join("testdata", "elsewhere"))
}

// TestPipelinesMadeNow is the same for folders that diffusers makes here.
func TestPipelinesMadeNow(t *testing.T) {
	python := os.Getenv("DPLODA_PYTHON")
	if python == "" {
		t.Skip("set DPLODA_PYTHON to a Python with diffusers, torch and safetensors to run this test")
	}
	names, out := []string{"elsewhere", "classes", "levels"}, t.TempDir()
	cmd := exec.Command(python, append([]string{filepath.Join("..", "tools", "golden_base.py"), out}, names...)...)
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { agreesWithDiffusers(t, filepath.Join(out, name)) })
	}
}

// agreesWithDiffusers holds a base's predictions and its noise to the golden
// file beside it. With the old names left unknown, or the scheduler unread, it
// was seen to fail.
func agreesWithDiffusers(t *testing.T, folder string) {
	base, err := LoadBase(folder)
	if err != nil {
		t.Fatal(err)
	}
	golden := unettest.Read(t, filepath.Join(folder, "golden.safetensors"))
	p := unettest.Compile(t, base.Config, device.NoGradient, func(b *device.Builder) (*unet.Net, error) {
		return unet.Build(b, base.Config, unet.Options{})
	})
	if err := base.SetParams(p.Exe, p.List); err != nil {
		t.Fatal(err)
	}
	s := p.Run(t, golden, golden)
	for n := range unettest.Lanes {
		unettest.Close(t, fmt.Sprintf("prediction %d", n), p.Prediction(t, s, n), golden.Example(t, "prediction", n))
	}
	tables, times, err := base.Schedule()
	if err != nil {
		t.Fatal(err)
	}
	if len(times) != tables.Timesteps() {
		t.Errorf("%d time inputs for %d timesteps", len(times), tables.Timesteps())
	}
	for i, step := range golden["steps"].Data {
		got, want := tables.AlphaBar[int(step)], float64(golden["alpha_bar"].Data[i])
		if math.Abs(got-want) > 1e-6 { // diffusers multiplies in float32
			t.Errorf("ᾱ at %g is %v, diffusers has %v", step, got, want)
		}
	}
}

// TestARunOnABaseMadeElsewhere takes images that are not square through a whole
// run on an unconditional base: it gets a class embedding of the run's own, and
// the report says that there are no public classes.
func TestARunOnABaseMadeElsewhere(t *testing.T) {
	data := t.TempDir()
	for i, split := range []dataset.Split{dataset.Train, dataset.Test} {
		s := draws.New(draws.SeedKey(uint64(i), "elsewhere")).Stream(0, 0, draws.Noise)
		pixels, labels := make([]uint8, 60*8*12), make([]uint16, 60)
		for i := range pixels {
			pixels[i] = uint8(s.Intn(256))
		}
		for i := range labels {
			labels[i] = uint16(i % 3)
		}
		d, err := dataset.NewMemory(1, 8, 12, []string{"a", "b", "c"}, pixels, labels)
		if err == nil {
			err = dataset.WriteIdx(data, split, d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	spec, err := config.ParseRun("elsewhere.yaml", []byte(`
data: {kind: idx, public: true, class_names: [a, b, c], nominal_size: 60}
base: testdata/elsewhere
adapter: {rank: 1, alpha: 1}
finetune: {batch: 60, steps: 2, clip: 0.1}
sample: {images: 6, steps: 2, guidance: 1}
evaluate: {epochs: 1}
workers: {count: 2, threads: 1}
`), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	seed, out := uint64(1), filepath.Join(t.TempDir(), "run")
	report, err := Run(context.Background(), spec, RunOptions{Out: out, Data: data, TestSeed: &seed}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !report.NoPublicClasses || report.PublicOnlyAccuracy != nil {
		t.Errorf("no public classes: %v; their accuracy: %v", report.NoPublicClasses, report.PublicOnlyAccuracy)
	}
	if !strings.Contains(report.Summary(out), "the base has no public classes") {
		t.Errorf("the summary does not tell:\n%s", report.Summary(out))
	}
}
