package unet_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
)

func TestSaveAndLoad(t *testing.T) {
	base, _ := load(t, "ddpm")
	one, two := t.TempDir(), filepath.Join(t.TempDir(), "new", "folder")
	for _, folder := range []string{one, two} {
		if err := base.Save(folder); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{unet.ConfigFile, unet.WeightsFile} {
		if a, b := read(t, one, name), read(t, two, name); a != b {
			t.Errorf("%s has other bytes the second time", name)
		}
	}
	again, err := unet.LoadBase(two)
	if err != nil {
		t.Fatal(err)
	}
	if hash(t, again) != hash(t, base) || !slices.Equal(again.Flat(), base.Flat()) {
		t.Error("the base changed on its way through the folder")
	}
}

func read(t *testing.T, folder, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func hash(t *testing.T, b *unet.Base) string {
	t.Helper()
	h, err := b.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashSeesWeightsAndConfig(t *testing.T) {
	base, _ := load(t, "plain")
	before := hash(t, base)
	flat := base.Flat()
	flat[len(flat)/2] += 1e-3
	if err := base.SetFlat(flat); err != nil {
		t.Fatal(err)
	}
	if hash(t, base) == before {
		t.Error("another weight has the same hash")
	}
	base, _ = load(t, "plain")
	base.Config.NormEps = 2e-5
	if hash(t, base) == before {
		t.Error("another config has the same hash")
	}
}

// TestMisfits gives FromTensors tensors that are not the config's.
func TestMisfits(t *testing.T) {
	base, _ := load(t, "plain")
	weights := filepath.Join("testdata", "plain", unet.WeightsFile)
	for _, c := range []struct {
		name   string
		change func([]safetensors.Tensor) []safetensors.Tensor
		want   string
	}{
		{"missing", func(ts []safetensors.Tensor) []safetensors.Tensor {
			return slices.DeleteFunc(ts, func(t safetensors.Tensor) bool { return t.Name == "conv_in.bias" })
		}, `tensor "conv_in.bias" of dimensions [4] is missing; config and weights do not belong together`},
		{"extra", func(ts []safetensors.Tensor) []safetensors.Tensor {
			return append(ts, safetensors.Tensor{Name: "conv_in.gain", Dims: []int{1}, Data: []float32{1}})
		}, `tensor "conv_in.gain" has no place in the network of the config`},
		{"shape", func(ts []safetensors.Tensor) []safetensors.Tensor {
			ts[find(ts, "conv_in.weight")].Dims = []int{4, 2, 9, 1}
			return ts
		}, `tensor "conv_in.weight" has dimensions [4 2 9 1] where the config asks for [4 2 3 3]`},
		{"twice", func(ts []safetensors.Tensor) []safetensors.Tensor {
			old := ts[find(ts, "mid_block.attentions.0.to_q.bias")]
			old.Name = "mid_block.attentions.0.query.bias"
			return append(ts, old)
		}, `it holds tensor "mid_block.attentions.0.to_q.bias" twice, under an old and a new name`},
	} {
		tensors, _, err := safetensors.Read(weights)
		if err != nil {
			t.Fatal(err)
		}
		_, err = unet.FromTensors(base.Config, c.change(tensors))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
	}
}

func find(tensors []safetensors.Tensor, name string) int {
	return slices.IndexFunc(tensors, func(t safetensors.Tensor) bool { return t.Name == name })
}

// TestOldNames renames attention's layers to what diffusers once called them,
// with the 1x1 convolutions that some checkpoints have in their place.
func TestOldNames(t *testing.T) {
	base, _ := load(t, "plain")
	tensors, _, err := safetensors.Read(filepath.Join("testdata", "plain", unet.WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	renamed := 0
	old := strings.NewReplacer("to_q", "query", "to_k", "key", "to_v", "value", "to_out.0", "proj_attn")
	for i, tensor := range tensors {
		if name := old.Replace(tensor.Name); name != tensor.Name {
			renamed++
			tensors[i].Name = name
			if len(tensor.Dims) == 2 {
				tensors[i].Dims = append(slices.Clone(tensor.Dims), 1, 1)
			}
		}
	}
	again, err := unet.FromTensors(base.Config, tensors)
	if err != nil {
		t.Fatal(err)
	}
	if renamed != 4*8 || hash(t, again) != hash(t, base) {
		t.Errorf("%d tensors renamed; the base changed: %v", renamed, hash(t, again) != hash(t, base))
	}
}

func TestLoadBaseErrors(t *testing.T) {
	whole := func(t *testing.T) string {
		base, _ := load(t, "plain")
		folder := t.TempDir()
		if err := base.Save(folder); err != nil {
			t.Fatal(err)
		}
		return folder
	}
	for _, c := range []struct {
		name  string
		spoil func(folder string) error
		want  string
	}{
		{"no config", func(f string) error { return os.Remove(filepath.Join(f, unet.ConfigFile)) }, "config.json: no such file"},
		{"huge config", func(f string) error { return os.Truncate(filepath.Join(f, unet.ConfigFile), 1<<30) }, "is no regular file of at most 1048576 bytes"},
		{"bad config", func(f string) error { return os.WriteFile(filepath.Join(f, unet.ConfigFile), []byte("{}"), 0o644) }, "config.json: sample_size is missing"},
		{"no weights", func(f string) error { return os.Remove(filepath.Join(f, unet.WeightsFile)) }, "save a .bin checkpoint again with safe_serialization=True"},
		{"variant", func(f string) error {
			return os.Rename(filepath.Join(f, unet.WeightsFile), filepath.Join(f, "diffusion_pytorch_model.fp16.safetensors"))
		}, "there is diffusion_pytorch_model.fp16.safetensors: load that variant"},
		{"not finite", func(f string) error {
			path := filepath.Join(f, unet.WeightsFile)
			tensors, _, err := safetensors.Read(path)
			if err != nil {
				return err
			}
			tensors[1].Data[0] = float32(math.NaN())
			return safetensors.Write(path, tensors, nil)
		}, "holds values that are not finite numbers: the file is damaged"},
		{"truncated", func(f string) error { return os.Truncate(filepath.Join(f, unet.WeightsFile), 9000) }, "truncated"},
	} {
		folder := whole(t)
		if err := c.spoil(folder); err != nil {
			t.Fatal(err)
		}
		if _, err := unet.LoadBase(folder); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestStart holds the initial weights to PyTorch's distributions and to their
// seed.
func TestStart(t *testing.T) {
	c := unet.Config{
		SampleHeight: 8, SampleWidth: 8, InChannels: 3, OutChannels: 3,
		DownBlockTypes: []string{"DownBlock2D", "AttnDownBlock2D"}, UpBlockTypes: []string{"AttnUpBlock2D", "UpBlock2D"},
		BlockOutChannels: []int{32, 64}, LayersPerBlock: 1, DownsamplePadding: 1,
		AddAttention: true, NormNumGroups: 8, NormEps: 1e-5, NumClassEmbeds: 100,
	}
	fresh := func(seed uint64) *unet.Base {
		b, err := unet.NewBase(c, draws.New(draws.SeedKey(seed, "base")))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	base := fresh(1)
	for _, p := range base.Parameters() {
		values := base.Tensor(p.Name)
		switch p.Module.Role {
		case unet.RoleNorm:
			want := float32(0)
			if strings.HasSuffix(p.Name, ".weight") {
				want = 1
			}
			if slices.Min(values) != want || slices.Max(values) != want {
				t.Errorf("%s does not start at %g", p.Name, want)
			}
		case unet.RoleClass:
			checkVariance(t, p.Name, values, 1)
		default:
			// Uniform within 1/√fan_in has the variance 1/(3 fan_in).
			fanIn := float64(p.Module.In * p.Module.Kernel * p.Module.Kernel)
			checkVariance(t, p.Name, values, 1/(3*fanIn))
			if m := float64(slices.Max(values)); m*m*fanIn > 1+1e-6 {
				t.Errorf("%s holds %g, outside 1/√%g", p.Name, m, fanIn)
			}
		}
	}
	if hash(t, base) != hash(t, fresh(1)) {
		t.Error("the same seed gives other weights")
	}
	if hash(t, base) == hash(t, fresh(2)) {
		t.Error("another seed gives the same weights")
	}
}

// checkVariance holds the mean square of many values to within 20 %, more than
// six standard deviations for uniform and normal ones alike; few are skipped.
func checkVariance(t *testing.T, name string, values []float32, want float64) {
	t.Helper()
	if len(values) < 2048 {
		return
	}
	var sum float64
	for _, v := range values {
		sum += float64(v) * float64(v)
	}
	if got := sum / float64(len(values)); got < 0.8*want || got > 1.2*want {
		t.Errorf("%s has mean square %.3g, want %.3g", name, got, want)
	}
}
