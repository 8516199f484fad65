package adapter_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/unet"
)

func TestSaveAndLoad(t *testing.T) {
	specs := []adapter.Spec{cases[0].spec, cases[2].spec,
		{Kind: adapter.LoRA, Rank: 1, Alpha: 0.3, Nonlinearity: adapter.Identity, Targets: []string{"conv", "!conv_in"}},
		{Kind: adapter.Full, Targets: []string{"attention"}, Classes: 4},
		{Kind: adapter.None, Classes: 4},
	}
	base, _ := load(t, "prototype")
	for _, spec := range specs {
		a := start(t, base, spec, 3)
		a.TestMode = spec.Kind == adapter.LoDA
		if spec.Kind == adapter.None {
			a.Sampling = `{"steps": 2}`
		}
		path := filepath.Join(t.TempDir(), "adapter.safetensors")
		if err := a.Save(path); err != nil {
			t.Fatal(err)
		}
		b, err := adapter.Load(path, base)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a.Header, b.Header) || !slices.Equal(a.Flat(), b.Flat()) {
			t.Errorf("%+v read again is %+v", a.Header, b.Header)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.Encode()
		if err != nil || !bytes.Equal(content, again) {
			t.Errorf("%s: the bytes change on the way through a file (%v)", spec.Kind, err)
		}
	}
}

func TestStartDependsOnTheSeed(t *testing.T) {
	base, _ := load(t, "plain")
	one, same, other := start(t, base, cases[0].spec, 1), start(t, base, cases[0].spec, 1), start(t, base, cases[0].spec, 2)
	if !slices.Equal(one.Flat(), same.Flat()) {
		t.Error("the same seed gives another start")
	}
	for _, p := range one.Parameters() {
		equal := slices.Equal(one.Tensor(p.Name), other.Tensor(p.Name))
		if isA := strings.HasSuffix(p.Name, "lora_A.weight"); equal == isA {
			t.Errorf("%s is equal for two seeds: %v", p.Name, equal)
		}
	}
}

// TestStartOfUnconditionalBase: without classes in the base, the fresh class
// embedding is zero.
func TestStartOfUnconditionalBase(t *testing.T) {
	base, _ := load(t, "ddpm")
	table := start(t, base, cases[1].spec, 1).Tensor("class_embedding.weight")
	if len(table) != 3*base.Config.TimeDim() || slices.ContainsFunc(table, func(v float32) bool { return v != 0 }) {
		t.Errorf("the class embedding is not a table of zeros: %d values", len(table))
	}
}

func TestAnotherBaseIsRefused(t *testing.T) {
	base, _ := load(t, "plain")
	path := filepath.Join(t.TempDir(), "adapter.safetensors")
	if err := start(t, base, cases[0].spec, 1).Save(path); err != nil {
		t.Fatal(err)
	}
	flat := base.Flat()
	flat[0]++
	if err := base.SetFlat(flat); err != nil {
		t.Fatal(err)
	}
	_, err := adapter.Load(path, base)
	if err == nil || !strings.Contains(err.Error(), "belongs to another base model") {
		t.Errorf("a changed base: %v", err)
	}
}

// TestSpoiltFiles changes one thing of a good file.
func TestSpoiltFiles(t *testing.T) {
	base, _ := load(t, "plain")
	good := filepath.Join(t.TempDir(), "adapter.safetensors")
	if err := start(t, base, cases[0].spec, 1).Save(good); err != nil {
		t.Fatal(err)
	}
	tensors, metadata, err := safetensors.Read(good)
	if err != nil {
		t.Fatal(err)
	}
	const first = "base_model.model.class_embedding.weight"
	for _, c := range []struct {
		name, want string
		spoil      func(ts []safetensors.Tensor, m map[string]string) []safetensors.Tensor
	}{
		{"no metadata", "it is not a dploda adapter", func(ts []safetensors.Tensor, m map[string]string) []safetensors.Tensor {
			clear(m)
			return ts
		}},
		{"newer", `it has adapter format "2"; this dploda reads "1"`, func(ts []safetensors.Tensor, m map[string]string) []safetensors.Tensor {
			m["dploda.adapter"] = "2"
			return ts
		}},
		{"rank", `its metadata key dploda.rank is "two", which is not readable`, func(ts []safetensors.Tensor, m map[string]string) []safetensors.Tensor {
			m["dploda.rank"] = "two"
			return ts
		}},
		{"spec", "adapter rank 0 is outside 1 to 4096", func(ts []safetensors.Tensor, m map[string]string) []safetensors.Tensor {
			m["dploda.rank"] = "0"
			return ts
		}},
		{"missing", `tensor "` + first + `" is missing`, func(ts []safetensors.Tensor, m map[string]string) []safetensors.Tensor {
			return slices.DeleteFunc(ts, func(t safetensors.Tensor) bool { return t.Name == first })
		}},
		{"extra", `tensor "extra" has no place in the adapter`, func(ts []safetensors.Tensor, m map[string]string) []safetensors.Tensor {
			return append(ts, safetensors.Tensor{Name: "extra", Dims: []int{1}, Data: []float32{1}})
		}},
		{"shape", `tensor "` + first + `" has dimensions [16 4], not [4 16]`, func(ts []safetensors.Tensor, m map[string]string) []safetensors.Tensor {
			i := slices.IndexFunc(ts, func(t safetensors.Tensor) bool { return t.Name == first })
			ts[i].Dims = []int{16, 4}
			return ts
		}},
	} {
		m := maps.Clone(metadata)
		spoilt := c.spoil(slices.Clone(tensors), m)
		path := filepath.Join(t.TempDir(), "spoilt.safetensors")
		if err := safetensors.Write(path, spoilt, m); err != nil {
			t.Fatal(err)
		}
		_, err := adapter.Load(path, base)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
	}
}

// TestHeader reads what `dploda inspect` prints, without a base.
func TestHeader(t *testing.T) {
	base, _ := load(t, "plain")
	a := start(t, base, cases[0].spec, 1)
	a.TestMode = true
	path := filepath.Join(t.TempDir(), "adapter.safetensors")
	if err := a.Save(path); err != nil {
		t.Fatal(err)
	}
	h, tensors, err := adapter.ReadHeader(path)
	if err != nil || !reflect.DeepEqual(h, a.Header) || len(tensors) != len(a.Parameters()) {
		t.Errorf("%+v with %d tensors, %v", h, len(tensors), err)
	}
	if _, _, err := adapter.ReadHeader(filepath.Join("..", "unet", "testdata", "plain", unet.WeightsFile)); err == nil {
		t.Error("a base's weights were taken for an adapter")
	}
}
