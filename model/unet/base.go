package unet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/safetensors"
)

// The files of a base model's folder, as diffusers names them.
const (
	ConfigFile  = "config.json"
	WeightsFile = "diffusion_pytorch_model.safetensors"
)

// maxConfigBytes bounds config.json; real ones have 1 to 2 kB.
const maxConfigBytes = 1 << 20

// Base is a network with its weights, float32 in PyTorch's order.
type Base struct {
	Config  Config
	Notes   []string // what config.json asked for that has no effect here
	params  []Parameter
	tensors map[string][]float32
}

// LoadBase reads a diffusers UNet2DModel folder. Tensors that are missing,
// unknown or of other dimensions than the config asks for are errors. Old names
// of attention's layers (query, key, value, proj_attn) are accepted.
func LoadBase(folder string) (*Base, error) {
	path := filepath.Join(folder, ConfigFile)
	content, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	c, notes, err := ParseConfig(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	path = filepath.Join(folder, WeightsFile)
	tensors, _, err := safetensors.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missingWeights(folder, err)
	}
	if err != nil {
		return nil, err
	}
	base, err := FromTensors(c, tensors)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	base.Notes = notes
	return base, nil
}

// missingWeights says what to do about a folder without WeightsFile.
func missingWeights(folder string, err error) error {
	others, _ := filepath.Glob(filepath.Join(folder, "diffusion_pytorch_model*.safetensors*")) // the pattern is right
	if len(others) > 0 {
		return fmt.Errorf("%w; there is %s: load that variant or those shards in diffusers and save them again as one file with save_pretrained", err, filepath.Base(others[0]))
	}
	return fmt.Errorf("%w; dploda reads safetensors only, so save a .bin checkpoint again with safe_serialization=True", err)
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfigBytes {
		return nil, fmt.Errorf("%s is not a model's config: it is no regular file of at most %d bytes", path, maxConfigBytes)
	}
	return os.ReadFile(path)
}

// FromTensors returns the base of a config and its tensors, in any order.
func FromTensors(c Config, tensors []safetensors.Tensor) (*Base, error) {
	params, err := c.Parameters()
	if err != nil {
		return nil, err
	}
	b := &Base{Config: c, params: params, tensors: map[string][]float32{}}
	given := map[string]safetensors.Tensor{}
	for _, t := range tensors {
		name := modernName(t.Name)
		if _, twice := given[name]; twice {
			return nil, fmt.Errorf("it holds tensor %q twice, under an old and a new name", name)
		}
		given[name] = t
	}
	for _, p := range params {
		t, ok := given[p.Name]
		if !ok {
			return nil, fmt.Errorf("tensor %q of dimensions %v is missing; config and weights do not belong together", p.Name, p.Dims)
		}
		if !fits(t.Dims, p) || len(t.Data) != p.Len() {
			return nil, fmt.Errorf("tensor %q has dimensions %v where the config asks for %v", t.Name, t.Dims, p.Dims)
		}
		if slices.ContainsFunc(t.Data, notFinite) {
			return nil, fmt.Errorf("tensor %q holds values that are not finite numbers: the file is damaged, or the training diverged", t.Name)
		}
		b.tensors[p.Name] = t.Data
		delete(given, p.Name)
	}
	for _, t := range tensors {
		if _, extra := given[modernName(t.Name)]; extra {
			return nil, fmt.Errorf("tensor %q has no place in the network of the config", t.Name)
		}
	}
	return b, nil
}

func notFinite(v float32) bool { return v-v != 0 }

// Tensor returns the values of a tensor, shared with the base; nil if it has
// none of the name.
func (b *Base) Tensor(name string) []float32 { return b.tensors[name] }

// Parameters lists the base's tensors in the order of the flat vector.
func (b *Base) Parameters() []Parameter { return b.params }

// Flat returns all weights in one vector, in the order in which a network with
// everything trainable takes them.
func (b *Base) Flat() []float32 {
	var flat []float32
	for _, p := range b.params {
		flat = append(flat, b.tensors[p.Name]...)
	}
	return flat
}

// SetFlat is the inverse of Flat; it copies.
func (b *Base) SetFlat(flat []float32) error {
	n := 0
	for _, p := range b.params {
		n += p.Len()
	}
	if len(flat) != n {
		return fmt.Errorf("unet: a vector of %d weights for a base of %d", len(flat), n)
	}
	for _, p := range b.params {
		copy(b.tensors[p.Name], flat)
		flat = flat[p.Len():]
	}
	return nil
}

// SetParams gives an executable of list the base's weights.
func (b *Base) SetParams(exe device.Executable, list *device.OpList) error {
	return SetParams(exe, list, b.Tensor)
}

// SetParams sets every parameter of an executable of list from the first
// lookup that has values of its size under its name.
func SetParams(exe device.Executable, list *device.OpList, lookups ...func(name string) []float32) error {
	for _, p := range list.Params() {
		values := find(p, lookups)
		if values == nil {
			return fmt.Errorf("unet: no values for parameter %q of dimensions %v", p.Name, p.Dims)
		}
		if err := exe.SetParam(p.Name, values); err != nil {
			return err
		}
	}
	return nil
}

func find(p device.Param, lookups []func(string) []float32) []float32 {
	for _, lookup := range lookups {
		if values := lookup(p.Name); len(values) == p.Len() {
			return values
		}
	}
	return nil
}

func (b *Base) list() []safetensors.Tensor {
	tensors := make([]safetensors.Tensor, len(b.params))
	for i, p := range b.params {
		tensors[i] = safetensors.Tensor{Name: p.Name, Dims: p.Dims, Data: b.tensors[p.Name]}
	}
	return tensors
}

// Save writes the folder, which diffusers' from_pretrained reads. Equal bases
// give equal bytes.
func (b *Base) Save(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	content, err := b.configBytes()
	if err != nil {
		return err
	}
	// Weights first: a folder with a config is whole. The format key is what
	// diffusers and transformers ask for.
	path := filepath.Join(folder, WeightsFile)
	if err := safetensors.Write(path, b.list(), map[string]string{"format": "pt"}); err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(folder, ConfigFile), content, 0o644)
}

func (b *Base) configBytes() ([]byte, error) {
	content, err := json.MarshalIndent(b.Config, "", "  ")
	return append(content, '\n'), err
}

// Hash names the base: SHA-256, in hexadecimal, of its config and weights as
// Save writes them.
func (b *Base) Hash() (string, error) {
	config, err := b.configBytes()
	if err != nil {
		return "", err
	}
	weights, err := safetensors.Encode(b.list(), nil)
	if err != nil {
		return "", err
	}
	parts := append(digest(config), digest(weights)...)
	return hex.EncodeToString(digest(parts)), nil
}

func digest(content []byte) []byte {
	sum := sha256.Sum256(content)
	return sum[:]
}
