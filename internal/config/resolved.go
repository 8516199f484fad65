package config

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/goccy/go-yaml"
)

// Resolved is the run as a config file that names every key: it gives the same
// run, whatever the defaults become.
func (r *RunSpec) Resolved() []byte { return marshal(r) }

// Shareable is the part of the resolved config that may leave with the results:
// how the run trained, sampled and was evaluated. It names no folder, no domain
// and no file.
func (r *RunSpec) Shareable() []byte {
	part := struct {
		Seed       uint64      `yaml:"seed"`
		Privacy    Privacy     `yaml:"privacy"`
		Prototypes *Prototypes `yaml:"prototypes,omitempty"`
		Adapter    Adapter     `yaml:"adapter"`
		Finetune   Finetune    `yaml:"finetune"`
		Sample     Sample      `yaml:"sample"`
		Evaluate   Evaluate    `yaml:"evaluate"`
	}{r.Seed, r.Privacy, r.Prototypes, r.Adapter, r.Finetune, r.Sample, r.Evaluate}
	part.Privacy.Domain, part.Evaluate.Features = "", ""
	return marshal(part)
}

// Resolved is the pre-training as a config file that names every key.
func (p *PretrainSpec) Resolved() []byte { return marshal(p) }

// Hash identifies what the run computes: all keys but those that say how
// (workers, checkpoint_every), which may change when it is resumed.
func (r *RunSpec) Hash() string {
	what := *r
	what.Workers, what.CheckpointEvery = Workers{}, 0
	return hash(what.Resolved())
}

// Hash identifies what the pre-training computes: all keys but that of the
// pictures on its way.
func (p *PretrainSpec) Hash() string {
	what := struct { // the keys without grids
		PretrainSpec `yaml:",inline"`
		Grids        int `yaml:"grids,omitempty"`
	}{PretrainSpec: *p}
	return hash(marshal(what))
}

func marshal(spec any) []byte {
	b, err := yaml.Marshal(spec)
	if err != nil {
		panic(err) // plain structs always encode
	}
	return b
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
