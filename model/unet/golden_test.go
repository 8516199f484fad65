package unet_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/unet"
	"github.com/dploda/dploda/model/unet/unettest"
)

// variants are the folders that tools/golden_unet.py writes.
var variants = []string{"plain", "ddpm", "prototype", "levels"}

// load reads a variant's base and golden file.
func load(t testing.TB, variant string) (*unet.Base, unettest.Golden) {
	t.Helper()
	folder := filepath.Join("testdata", variant)
	return loadFolder(t, folder), unettest.Read(t, filepath.Join(folder, "golden.safetensors"))
}

func loadFolder(t testing.TB, folder string) *unet.Base {
	t.Helper()
	base, err := unet.LoadBase(folder)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func everything(unet.Module) bool { return true }

func compile(t testing.TB, base *unet.Base, mode device.GradMode) *unettest.Program {
	t.Helper()
	p := unettest.Compile(t, base.Config, mode, func(b *device.Builder) (*unet.Net, error) {
		return unet.Build(b, base.Config, unet.Options{Trainable: everything})
	})
	if err := base.SetParams(p.Exe, p.List); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestForwardAgreesWithDiffusers(t *testing.T) {
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			base, golden := load(t, variant)
			p := compile(t, base, device.NoGradient)
			s := p.Run(t, golden, golden)
			for n := range unettest.Lanes {
				unettest.Close(t, fmt.Sprintf("prediction %d", n), p.Prediction(t, s, n), golden.Example(t, "prediction", n))
			}
		})
	}
}

func TestSummedGradientAgreesWithTorch(t *testing.T) {
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			base, golden := load(t, variant)
			p := compile(t, base, device.Summed)
			s := p.Run(t, golden, golden)
			flat := make([]float32, p.List.Trainable())
			if err := s.AddGradient(flat); err != nil {
				t.Fatal(err)
			}
			unettest.CloseGradients(t, p.Split(flat), golden, "grad.")
			for n, lane := range unettest.Lanes {
				loss := make([]float32, 1)
				if err := s.Output("loss", lane, loss); err != nil {
					t.Fatal(err)
				}
				unettest.Close(t, fmt.Sprintf("loss %d", n), loss, golden.Example(t, "loss", n))
			}
		})
	}
}

func TestPerExampleGradientAgreesWithTorch(t *testing.T) {
	base, golden := load(t, "plain")
	p := compile(t, base, device.PerExample)
	s := p.Run(t, golden, golden)
	for n := range unettest.Lanes {
		unettest.CloseGradients(t, p.Gradient(t, s, n), golden, fmt.Sprintf("example.%d.", n))
	}
}

func TestTimeTableAgreesWithDiffusers(t *testing.T) {
	for _, variant := range variants {
		base, golden := load(t, variant)
		table := unet.TimeTable(base.Config, 1000)
		for n, step := range golden["time.steps"].Data {
			got, want := table[int(step)], golden.Example(t, "time.rows", n)
			for i := range want {
				if d := got[i] - want[i]; d > 2e-6 || d < -2e-6 {
					t.Errorf("%s, timestep %g, channel %d: %g, diffusers has %g", variant, step, i, got[i], want[i])
				}
			}
		}
	}
}

// TestFlatOrder holds the order of Base.Flat to that of a network with
// everything trainable.
func TestFlatOrder(t *testing.T) {
	base, _ := load(t, "ddpm")
	b := device.NewBuilder()
	if _, err := unet.Build(b, base.Config, unet.Options{Trainable: everything}); err != nil {
		t.Fatal(err)
	}
	list, err := b.Forward()
	if err != nil {
		t.Fatal(err)
	}
	flat := base.Flat()
	if len(flat) != list.Trainable() {
		t.Fatalf("%d weights, the network trains %d", len(flat), list.Trainable())
	}
	for _, p := range list.Params() {
		if !slices.Equal(flat[p.Offset:p.Offset+p.Len()], base.Tensor(p.Name)) {
			t.Errorf("%s lies elsewhere in the flat vector", p.Name)
		}
	}
	for i := range flat {
		flat[i] = float32(i)
	}
	if err := base.SetFlat(flat); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(base.Flat(), flat) {
		t.Error("SetFlat is not the inverse of Flat")
	}
	if err := base.SetFlat(flat[1:]); err == nil {
		t.Error("SetFlat took a vector of another length")
	}
}

func TestFreshClassEmbeddingTakesThePlaceOfTheBases(t *testing.T) {
	base, _ := load(t, "plain")
	b := device.NewBuilder()
	if _, err := unet.Build(b, base.Config, unet.Options{ClassRows: 8}); err != nil {
		t.Fatal(err)
	}
	list, err := b.Forward()
	if err != nil {
		t.Fatal(err)
	}
	if want := 8 * base.Config.TimeDim(); list.Trainable() != want {
		t.Errorf("%d trainable coordinates, want the class embedding's %d", list.Trainable(), want)
	}
	if err := base.SetParams(anyParam{}, list); err == nil {
		t.Error("the base's class embedding of other size was taken for the fresh one")
	}
}

// anyParam is an executable that takes every parameter.
type anyParam struct{ device.Executable }

func (anyParam) SetParam(string, []float32) error { return nil }
