package adapter_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
	"github.com/dploda/dploda/model/unet/unettest"
)

// cases are the adapters of tools/golden_unet.py, on its base models.
var cases = []struct {
	base string
	spec adapter.Spec
}{
	{"plain", adapter.Spec{Kind: adapter.LoDA, Rank: 2, Alpha: 4, Nonlinearity: "silu", Targets: []string{"conv"}, Classes: 3}},
	{"ddpm", adapter.Spec{Kind: adapter.LoRA, Rank: 2, Alpha: 2, Targets: []string{"conv", "attention"}, Classes: 2}},
	{"prototype", adapter.Spec{Kind: adapter.LoDA, Rank: 3, Alpha: 1.5, Nonlinearity: "relu", Targets: []string{"all"}, Classes: 5}},
	{"levels", adapter.Spec{Kind: adapter.LoRA, Rank: 1, Alpha: 1, Targets: []string{"attention"}}},
}

func load(t testing.TB, variant string) (*unet.Base, unettest.Golden) {
	t.Helper()
	folder := filepath.Join("..", "unet", "testdata", variant)
	base, err := unet.LoadBase(folder)
	if err != nil {
		t.Fatal(err)
	}
	return base, unettest.Read(t, filepath.Join(folder, "golden.safetensors"))
}

func start(t testing.TB, base *unet.Base, spec adapter.Spec, seed uint64) *adapter.Adapter {
	t.Helper()
	a, err := adapter.Start(base, spec, draws.New(draws.SeedKey(seed, "adapter")))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func compile(t testing.TB, base *unet.Base, spec adapter.Spec, mode device.GradMode) *unettest.Program {
	t.Helper()
	return unettest.Compile(t, base.Config, mode, func(b *device.Builder) (*unet.Net, error) {
		return adapter.Build(b, base.Config, spec)
	})
}

// TestAgreesWithTorch holds prediction and per-example gradients to torch with
// hand-made adapters, and for LoRA to PEFT itself.
func TestAgreesWithTorch(t *testing.T) {
	for _, c := range cases {
		t.Run(c.base, func(t *testing.T) {
			base, batch := load(t, c.base)
			golden := unettest.Read(t, filepath.Join("testdata", c.base+".safetensors"))
			a := start(t, base, c.spec, 1)
			setGolden(t, a, golden)
			p := compile(t, base, c.spec, device.PerExample)
			if err := a.SetParams(p.Exe, p.List, base); err != nil {
				t.Fatal(err)
			}
			s := p.Run(t, batch, golden)
			for n := range unettest.Lanes {
				unettest.Close(t, fmt.Sprintf("prediction %d", n), p.Prediction(t, s, n), golden.Example(t, "prediction", n))
				unettest.CloseGradients(t, p.Gradient(t, s, n), golden, fmt.Sprintf("example.%d.", n))
			}
		})
	}
}

// setGolden gives the adapter the golden values; both must have the same
// tensors.
func setGolden(t *testing.T, a *adapter.Adapter, golden unettest.Golden) {
	t.Helper()
	var flat []float32
	for _, p := range a.Parameters() {
		tensor, ok := golden["adapter."+p.Name]
		if !ok || !slices.Equal(tensor.Dims, p.Dims) {
			t.Fatalf("%s %v: torch has %v", p.Name, p.Dims, tensor.Dims)
		}
		flat = append(flat, tensor.Data...)
	}
	if err := a.SetFlat(flat); err != nil {
		t.Fatal(err)
	}
}

// TestPEFTNames holds the file's tensors to those that PEFT saves for the same
// targets; the class embedding is dploda's own addition.
func TestPEFTNames(t *testing.T) {
	base, _ := load(t, "ddpm")
	path := filepath.Join(t.TempDir(), "adapter.safetensors")
	if err := start(t, base, cases[1].spec, 1).Save(path); err != nil {
		t.Fatal(err)
	}
	ours, theirs := unettest.Read(t, path), unettest.Read(t, filepath.Join("testdata", "ddpm_peft.safetensors"))
	delete(ours, "base_model.model.class_embedding.weight")
	if a, b := shapes(ours), shapes(theirs); a != b {
		t.Errorf("dploda writes\n%s\nPEFT writes\n%s", a, b)
	}
}

func shapes(g unettest.Golden) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(g)) {
		lines = append(lines, fmt.Sprint(name, g[name].Dims))
	}
	return strings.Join(lines, "\n")
}

// TestStartLeavesTheBaseUnchanged: with B zero and every class row the base's
// last one, the prediction for any class is the base's without a label, bit
// for bit.
func TestStartLeavesTheBaseUnchanged(t *testing.T) {
	base, batch := load(t, "plain")
	spec := cases[0].spec
	a := start(t, base, spec, 1)
	with := compile(t, base, spec, device.NoGradient)
	if err := a.SetParams(with.Exe, with.List, base); err != nil {
		t.Fatal(err)
	}
	alone := compile(t, base, adapter.Spec{Kind: adapter.None}, device.NoGradient)
	if err := base.SetParams(alone.Exe, alone.List); err != nil {
		t.Fatal(err)
	}
	noLabel, classes := labels(4, 4, 4), labels(0, 1, 3)
	x, y := with.Run(t, batch, classes), alone.Run(t, batch, noLabel)
	for n := range unettest.Lanes {
		if !slices.Equal(with.Prediction(t, x, n), alone.Prediction(t, y, n)) {
			t.Errorf("example %d: the fresh adapter changes the prediction", n)
		}
	}
}

func labels(values ...float32) unettest.Golden {
	return unettest.Golden{"label": {Dims: []int{len(values)}, Data: values}}
}

// TestAdaptersSwitchedOff: a list of Kind None with the same classes takes the
// adapter's class embedding and nothing else of it.
func TestAdaptersSwitchedOff(t *testing.T) {
	base, batch := load(t, "plain")
	a := start(t, base, cases[0].spec, 1)
	flat := a.Flat()
	for i := range flat {
		flat[i] += 0.1
	}
	if err := a.SetFlat(flat); err != nil {
		t.Fatal(err)
	}
	off := adapter.Spec{Kind: adapter.None, Classes: cases[0].spec.Classes}
	p := compile(t, base, off, device.NoGradient)
	if err := a.SetParams(p.Exe, p.List, base); err != nil {
		t.Fatal(err)
	}
	q := compile(t, base, off, device.NoGradient)
	b := start(t, base, off, 1)
	if err := b.SetFlat(a.Tensor("class_embedding.weight")); err != nil {
		t.Fatal(err)
	}
	if err := b.SetParams(q.Exe, q.List, base); err != nil {
		t.Fatal(err)
	}
	x, y := p.Run(t, batch, labels(0, 1, 3)), q.Run(t, batch, labels(0, 1, 3))
	for n := range unettest.Lanes {
		if !slices.Equal(p.Prediction(t, x, n), q.Prediction(t, y, n)) {
			t.Errorf("example %d: the adapters are not off", n)
		}
	}
}

// TestFirstGradients: at the start B has a gradient and A, behind a zero B,
// has none; after one step along it A has one too.
func TestFirstGradients(t *testing.T) {
	base, batch := load(t, "plain")
	spec := cases[0].spec
	a := start(t, base, spec, 1)
	p := compile(t, base, spec, device.Summed)
	gradient := func() map[string][]float32 {
		if err := a.SetParams(p.Exe, p.List, base); err != nil {
			t.Fatal(err)
		}
		g := make([]float32, p.List.Trainable())
		if err := p.Run(t, batch, labels(0, 1, 3)).AddGradient(g); err != nil {
			t.Fatal(err)
		}
		return p.Split(g)
	}
	first := gradient()
	flat := a.Flat()
	for _, q := range a.Parameters() {
		for i, v := range first[q.Name] {
			flat[q.Offset+i] -= 0.1 * v
		}
	}
	if err := a.SetFlat(flat); err != nil {
		t.Fatal(err)
	}
	second := gradient()
	for _, q := range a.Parameters() {
		zero := !slices.ContainsFunc(first[q.Name], func(v float32) bool { return v != 0 })
		if isA := strings.HasSuffix(q.Name, "lora_A.weight"); zero != isA {
			t.Errorf("%s: first gradient zero: %v", q.Name, zero)
		}
		if !slices.ContainsFunc(second[q.Name], func(v float32) bool { return v != 0 }) {
			t.Errorf("%s has no gradient in the second step", q.Name)
		}
	}
}
