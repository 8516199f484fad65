package pipeline

import (
	"fmt"
	"path/filepath"

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

// saveModel writes what fine-tuning released into share/.
func (r *run) saveModel(m *model) error {
	if m.centers != nil {
		s := m.centers.Spec
		tensors := []safetensors.Tensor{
			{Name: "prototypes", Dims: []int{s.Classes, s.Clusters, s.Side, s.Side}, Data: m.centers.Pixels},
			{Name: "weights", Dims: []int{s.Classes, s.Clusters}, Data: m.centers.Weights},
		}
		if err := safetensors.Write(r.folder.Share(prototypesFile), tensors, map[string]string{"base": r.base.Hash}); err != nil {
			return err
		}
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
	tensors, _, err := safetensors.Read(path)
	if err != nil {
		return nil, err
	}
	m.centers = prototype.New(*r.prototypes)
	m.centers.Round = r.prototypes.Rounds
	for _, want := range []struct {
		name string
		into []float32
	}{{"prototypes", m.centers.Pixels}, {"weights", m.centers.Weights}} {
		found := false
		for _, t := range tensors {
			if t.Name == want.name && len(t.Data) == len(want.into) {
				copy(want.into, t.Data)
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s has no tensor %q of this run's shape", filepath.Base(path), want.name)
		}
	}
	return m, nil
}
