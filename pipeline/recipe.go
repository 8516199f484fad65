package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
)

// recipe is what whoever has the shared files alone needs to know, besides
// their tensors, to sample as the run did. It travels in the metadata of
// adapter.safetensors. Everything in it is a public setting or was released.
type recipe struct {
	Format  int      `json:"format"` // 1
	Name    string   `json:"name"`   // of the run
	RunID   string   `json:"run_id"` // as in privacy.json; the run's images follow from it
	Classes []string `json:"classes"`
	// TimeRange are the timesteps [from, to) at which the adapters are on.
	TimeRange  [2]int        `json:"time_range"`
	Prototypes string        `json:"prototypes_sha256,omitempty"` // of prototypes.safetensors
	Sample     config.Sample `json:"sample"`                      // of the run's own images
}

const recipeFormat = 1

func (r *run) recipe() *recipe {
	return &recipe{
		Format: recipeFormat, Name: r.spec.Name, RunID: hexID(r.identity.RunID), Classes: r.train.Classes(),
		TimeRange: [2]int{r.times.From, r.times.To}, Sample: r.spec.Sample,
	}
}

func (r *recipe) encode() (string, error) {
	content, err := json.Marshal(r)
	return string(content), err
}

// parseRecipe reads what encode wrote; the words of its errors follow a path.
func parseRecipe(text string) (*recipe, error) {
	if text == "" {
		return nil, errors.New("does not say how to sample from it: an earlier dploda wrote it; run that run again")
	}
	var r recipe
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("does not say how to sample from it: its metadata are damaged: %w", err)
	}
	if r.Format != recipeFormat {
		return nil, fmt.Errorf("says how to sample from it in format %d; this dploda reads format %d", r.Format, recipeFormat)
	}
	return &r, r.validate()
}

func (r *recipe) validate() error {
	id, err := hex.DecodeString(r.RunID)
	switch {
	case err != nil || len(id) != 16:
		return fmt.Errorf("has the run id %q, which is none", r.RunID)
	case len(r.Classes) == 0:
		return errors.New("names no classes")
	case r.TimeRange[0] < 0 || r.TimeRange[0] > r.TimeRange[1]:
		return fmt.Errorf("has the time range %v, which is none", r.TimeRange)
	}
	if err := r.Sample.Validate(); err != nil {
		return fmt.Errorf("asks for what cannot be: %w", err)
	}
	return nil
}

// samplerKind is a config's sampler as package diffusion names it.
func samplerKind(name string) diffusion.Kind {
	if name == "dpm++" {
		return diffusion.DPM
	}
	return diffusion.Kind(name)
}

// times is the time range.
func (r *recipe) times() diffusion.Range {
	return diffusion.Range{From: r.TimeRange[0], To: r.TimeRange[1]}
}

// sampleKey gives each run its own images, and with a seed others of the same
// model. It is no secret: what it is applied to was released.
func sampleKey(runID [16]byte, seed *uint64) draws.Key {
	message := append([]byte("sample "), runID[:]...)
	if seed != nil {
		message = binary.LittleEndian.AppendUint64(message, *seed)
	}
	return draws.Key(sha256.Sum256(message))
}

func sha256Hex(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
