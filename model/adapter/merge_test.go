package adapter_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/unet"
	"github.com/dploda/dploda/model/unet/unettest"
)

// TestMergedPredictsTheSame: a plain network of the merged weights predicts what
// torch and PEFT say of base and adapter.
//
// Tried: the ranks of B in another order than A's; the base's own class embedding
// kept.
func TestMergedPredictsTheSame(t *testing.T) {
	for _, c := range cases {
		if c.spec.Nonlinearity != "" {
			continue
		}
		base, batch := load(t, c.base)
		golden := unettest.Read(t, filepath.Join("testdata", c.base+".safetensors"))
		a := start(t, base, c.spec, 1)
		setGolden(t, a, golden)
		merged, err := a.Merge(base)
		if err != nil {
			t.Fatal(err)
		}
		plain := adapter.Spec{Kind: adapter.None}
		p := compile(t, merged, plain, device.NoGradient)
		if err := merged.SetParams(p.Exe, p.List); err != nil {
			t.Fatal(err)
		}
		s := p.Run(t, batch, golden)
		for n := range unettest.Lanes {
			unettest.Close(t, fmt.Sprintf("%s, prediction %d", c.base, n), p.Prediction(t, s, n), golden.Example(t, "prediction", n))
		}
		if again, _ := load(t, c.base); hash(t, base) != hash(t, again) {
			t.Error("merging changes the base")
		}
	}
}

// TestMergeScales: an adapter of twice the alpha changes each weight by twice as
// much. (The golden ones have alpha = rank.)
//
// Tried: the scale left out.
func TestMergeScales(t *testing.T) {
	base, _ := load(t, "ddpm")
	golden := unettest.Read(t, filepath.Join("testdata", "ddpm.safetensors"))
	change := func(alpha float64) []float32 {
		spec := cases[1].spec
		spec.Alpha = alpha
		a := start(t, base, spec, 1)
		setGolden(t, a, golden)
		merged, err := a.Merge(base)
		if err != nil {
			t.Fatal(err)
		}
		values := append([]float32(nil), merged.Tensor("conv_in.weight")...)
		for i, v := range base.Tensor("conv_in.weight") {
			values[i] -= v
		}
		return values
	}
	once, twice := change(2), change(4)
	for i := range once {
		once[i] *= 2
	}
	unettest.Close(t, "twice the change", twice, once)
}

func hash(t *testing.T, b *unet.Base) string {
	t.Helper()
	h, err := b.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestMergeOfWeights: what full fine-tuning trained takes the place of the
// base's, the rest stays.
func TestMergeOfWeights(t *testing.T) {
	base, _ := load(t, "plain")
	a := start(t, base, adapter.Spec{Kind: adapter.Full, Targets: []string{"conv_in"}, Classes: 2}, 1)
	flat := a.Flat()
	for i := range flat {
		flat[i] = float32(i)
	}
	if err := a.SetFlat(flat); err != nil {
		t.Fatal(err)
	}
	merged, err := a.Merge(base)
	if err != nil {
		t.Fatal(err)
	}
	if merged.Config.NumClassEmbeds != 3 {
		t.Errorf("%d class rows, want 3", merged.Config.NumClassEmbeds)
	}
	for _, p := range merged.Parameters() {
		want := a.Tensor(p.Name)
		if want == nil {
			want = base.Tensor(p.Name)
		}
		for i, v := range merged.Tensor(p.Name) {
			if v != want[i] {
				t.Fatalf("%s is not the trained one, or else the base's", p.Name)
			}
		}
	}
}

func TestMergeNeedsALinearAdapter(t *testing.T) {
	base, _ := load(t, "plain")
	_, err := start(t, base, cases[0].spec, 1).Merge(base)
	if err == nil || !strings.Contains(err.Error(), "nonlinearity silu is not linear") {
		t.Errorf("error %v", err)
	}
}
