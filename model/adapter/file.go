package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/unet"
)

// Header is what an adapter file says about itself.
type Header struct {
	Spec     Spec
	BaseHash string // unet.Base.Hash of the base that it belongs to
	TestMode bool   // trained with a test seed: without privacy
	// Sampling says how to sample with the adapter, in the words of whoever
	// trained it; "" if nothing does.
	Sampling string
}

// formatVersion is that of the metadata and the tensors' names.
const formatVersion = "1"

// The keys of the file's metadata.
const (
	keyFormat       = "dploda.adapter"
	keyKind         = "dploda.kind"
	keyRank         = "dploda.rank"
	keyAlpha        = "dploda.alpha"
	keyNonlinearity = "dploda.nonlinearity"
	keyTargets      = "dploda.targets" // JSON
	keyClasses      = "dploda.classes"
	keyBase         = "dploda.base_sha256"
	keyTestMode     = "dploda.test_mode"
	keySampling     = "dploda.sampling"
)

// filePrefix stands before every name in PEFT's files.
const filePrefix = "base_model.model."

// Save writes adapter.safetensors: PEFT's names (for LoRA its whole layout),
// the class embedding beside them, and the header as metadata. Equal adapters
// give equal bytes.
func (a *Adapter) Save(path string) error {
	metadata, err := a.metadata()
	if err != nil {
		return err
	}
	return safetensors.Write(path, a.tensors(), metadata)
}

// Encode returns the bytes that Save writes.
func (a *Adapter) Encode() ([]byte, error) {
	metadata, err := a.metadata()
	if err != nil {
		return nil, err
	}
	return safetensors.Encode(a.tensors(), metadata)
}

func (a *Adapter) tensors() []safetensors.Tensor {
	tensors := make([]safetensors.Tensor, len(a.params))
	for i, p := range a.params {
		tensors[i] = safetensors.Tensor{Name: filePrefix + p.Name, Dims: p.Dims, Data: a.values(p)}
	}
	return tensors
}

func (h Header) metadata() (map[string]string, error) {
	targets, err := json.Marshal(h.Spec.Targets)
	if err != nil {
		return nil, err
	}
	m := map[string]string{
		"format":        "pt", // what PEFT writes
		keyFormat:       formatVersion,
		keyKind:         string(h.Spec.Kind),
		keyRank:         strconv.Itoa(h.Spec.Rank),
		keyAlpha:        strconv.FormatFloat(h.Spec.Alpha, 'g', -1, 64),
		keyNonlinearity: h.Spec.Nonlinearity,
		keyTargets:      string(targets),
		keyClasses:      strconv.Itoa(h.Spec.Classes),
		keyBase:         h.BaseHash,
		keyTestMode:     strconv.FormatBool(h.TestMode),
	}
	if h.Sampling != "" {
		m[keySampling] = h.Sampling
	}
	return m, nil
}

func parseHeader(metadata map[string]string) (h Header, err error) {
	switch version, ok := metadata[keyFormat]; {
	case !ok:
		return h, errors.New("it is not a dploda adapter: its metadata do not say so")
	case version != formatVersion:
		return h, fmt.Errorf("it has adapter format %q; this dploda reads %q", version, formatVersion)
	}
	s := &h.Spec
	s.Kind, s.Nonlinearity, h.BaseHash = Kind(metadata[keyKind]), metadata[keyNonlinearity], metadata[keyBase]
	h.Sampling = metadata[keySampling]
	for _, field := range []struct {
		key  string
		read func(string) error
	}{
		{keyRank, func(v string) (err error) { s.Rank, err = strconv.Atoi(v); return }},
		{keyAlpha, func(v string) (err error) { s.Alpha, err = strconv.ParseFloat(v, 64); return }},
		{keyTargets, func(v string) error { return json.Unmarshal([]byte(v), &s.Targets) }},
		{keyClasses, func(v string) (err error) { s.Classes, err = strconv.Atoi(v); return }},
		{keyTestMode, func(v string) (err error) { h.TestMode, err = strconv.ParseBool(v); return }},
	} {
		if err := field.read(metadata[field.key]); err != nil {
			return h, fmt.Errorf("its metadata key %s is %q, which is not readable", field.key, metadata[field.key])
		}
	}
	return h, s.Validate()
}

// ReadHeader reads what a file says about itself, with its tensors.
func ReadHeader(path string) (Header, []safetensors.Tensor, error) {
	tensors, metadata, err := safetensors.Read(path)
	if err != nil {
		return Header{}, nil, err
	}
	h, err := parseHeader(metadata)
	if err != nil {
		return Header{}, nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, tensors, nil
}

// Load reads an adapter of the given base. One of another base is refused.
func Load(path string, base *unet.Base) (*Adapter, error) {
	h, tensors, err := ReadHeader(path)
	if err != nil {
		return nil, err
	}
	hash, err := base.Hash()
	if err != nil {
		return nil, err
	}
	if h.BaseHash != hash {
		return nil, fmt.Errorf("%s belongs to another base model (sha256 %.12s…; the one given is %.12s…); use the base that it was trained on", path, h.BaseHash, hash)
	}
	params, err := h.Spec.Parameters(base.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	a := &Adapter{Header: h, params: params, flat: make([]float32, size(params))}
	if err := a.fill(tensors); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// fill copies a file's tensors in; they must be exactly the adapter's.
func (a *Adapter) fill(tensors []safetensors.Tensor) error {
	for _, p := range a.params {
		i := slices.IndexFunc(tensors, func(t safetensors.Tensor) bool { return t.Name == filePrefix+p.Name })
		if i < 0 {
			return fmt.Errorf("tensor %q is missing", filePrefix+p.Name)
		}
		if !slices.Equal(tensors[i].Dims, p.Dims) {
			return fmt.Errorf("tensor %q has dimensions %v, not %v", tensors[i].Name, tensors[i].Dims, p.Dims)
		}
		copy(a.values(p), tensors[i].Data)
	}
	for _, t := range tensors {
		known := func(p device.Param) bool { return filePrefix+p.Name == t.Name }
		if !slices.ContainsFunc(a.params, known) {
			return fmt.Errorf("tensor %q has no place in the adapter", t.Name)
		}
	}
	return nil
}
