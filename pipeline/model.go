package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
)

// The files in share/ that are the fine-tuned model.
const (
	adapterFile    = "adapter.safetensors"
	prototypesFile = "prototypes.safetensors"
)

// model is what fine-tuning released.
type model struct {
	adapter *adapter.Adapter
	centers *prototype.Centers // nil without prototypes
}

// startAdapter is the adapter before any private step, a function of public
// things only.
func (r *run) startAdapter() (*adapter.Adapter, error) {
	a, err := adapter.Start(r.base.Base, r.adapter, draws.New(draws.SeedKey(r.spec.Seed, "adapter")))
	if err != nil {
		return nil, err
	}
	a.TestMode = r.opts.TestSeed != nil
	return a, nil
}

// saveModel writes what fine-tuning released into share/, and how to sample
// from it.
func (r *run) saveModel(m *model) error {
	how := r.recipe()
	if m.centers != nil {
		content, err := encodePrototypes(m.centers, r.base.Hash)
		if err != nil {
			return err
		}
		if err := r.folder.WriteFile(filepath.Join("share", prototypesFile), content); err != nil {
			return err
		}
		how.Prototypes = sha256Hex(content)
	}
	var err error
	if m.adapter.Sampling, err = how.encode(); err != nil {
		return err
	}
	return m.adapter.Save(r.folder.Share(adapterFile))
}

// loadModel reads what saveModel wrote.
func (r *run) loadModel() (*model, error) {
	a, err := adapter.Load(r.folder.Share(adapterFile), r.base.Base)
	if err != nil {
		return nil, err
	}
	m := &model{adapter: a}
	if r.prototypes == nil {
		return m, nil
	}
	path := r.folder.Share(prototypesFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if m.centers, err = decodePrototypes(content); err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	want := *r.prototypes
	want.Rounds = m.centers.Spec.Rounds // no part of the file
	if m.centers.Spec != want {
		return nil, fmt.Errorf("%s has prototypes of another shape than this run's", path)
	}
	return m, nil
}

// encodePrototypes is prototypes.safetensors: the centres
// [class][cluster][side][side] and their weights [class][cluster].
func encodePrototypes(c *prototype.Centers, base string) ([]byte, error) {
	s := c.Spec
	return safetensors.Encode([]safetensors.Tensor{
		{Name: "prototypes", Dims: []int{s.Classes, s.Clusters, s.Side, s.Side}, Data: c.Pixels},
		{Name: "weights", Dims: []int{s.Classes, s.Clusters}, Data: c.Weights},
	}, map[string]string{"base": base})
}

// decodePrototypes is the inverse of encodePrototypes. What it returns serves to
// sample: no more rounds can follow. The words of its errors follow a path.
func decodePrototypes(content []byte) (*prototype.Centers, error) {
	tensors, _, err := safetensors.Decode(content)
	if err != nil {
		return nil, fmt.Errorf("is not a readable safetensors file: %w", err)
	}
	var pixels, weights *safetensors.Tensor
	for i := range tensors {
		switch tensors[i].Name {
		case "prototypes":
			pixels = &tensors[i]
		case "weights":
			weights = &tensors[i]
		}
	}
	if pixels == nil || weights == nil || len(pixels.Dims) != 4 || pixels.Dims[2] != pixels.Dims[3] || !slices.Equal(weights.Dims, pixels.Dims[:2]) {
		return nil, errors.New("has no tensors prototypes [class, cluster, side, side] and weights [class, cluster]")
	}
	s := prototype.Spec{Classes: pixels.Dims[0], Clusters: pixels.Dims[1], Side: pixels.Dims[2], Rounds: 1}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("holds what cannot be: %w", err)
	}
	return &prototype.Centers{Spec: s, Round: s.Rounds, Pixels: pixels.Data, Weights: weights.Data}, nil
}
