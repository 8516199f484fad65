package pipeline

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/classifier"
	"github.com/dploda/dploda/model/unet"
)

// baseFacts is a base model's folder.
type baseFacts struct {
	header
	Parameters int      `json:"parameters"`
	Tensors    int      `json:"tensors"`
	Hash       string   `json:"sha256"`
	Channels   []int    `json:"block_out_channels"`
	Classes    int      `json:"class_embeddings"` // "no label" included
	Traits     Traits   `json:"traits"`
	Notes      []string `json:"notes,omitempty"`
}

func (f *baseFacts) title() string { return fmt.Sprintf("a base model of %d parameters", f.Parameters) }

func (f *baseFacts) rows(t *table) {
	t.row("sha256", "%s", f.Hash)
	t.row("tensors", "%d", f.Tensors)
	t.row("channels of the blocks", "%v", f.Channels)
	t.row("class embeddings", "%d", f.Classes)
	f.Traits.rows(t)
	for _, note := range f.Notes {
		t.row("note", "%s", note)
	}
}

func (t *Traits) rows(out *table) {
	out.row("images", "%d x %d x %d (channels, height, width)", t.Image[0], t.Image[1], t.Image[2])
	out.row("codec", "%s", codecName(t.Unshuffle))
	out.row("prototype channel", "%s", yesNo(t.PrototypeChannel))
	out.row("predicts", "%s, %s schedule of %d timesteps", t.Prediction, t.Schedule, t.Timesteps)
	out.row("trained on", "%s, %d images seen", t.PublicData, t.ImagesSeen)
	if t.ConfigHash != "" {
		out.row("pre-training config", "sha256 %s", t.ConfigHash)
	}
}

func codecName(factor int) string {
	if factor == 1 {
		return "none: images go in as they are"
	}
	return fmt.Sprintf("pixel-unshuffle by %d", factor)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func inspectBase(path string) (facts, error) {
	b, err := LoadBase(path)
	if err != nil {
		return nil, err
	}
	f := &baseFacts{
		header: header{"base-model", path}, Tensors: len(b.Parameters()), Hash: b.Hash,
		Channels: b.Config.BlockOutChannels, Classes: b.Config.NumClassEmbeds, Traits: b.Traits, Notes: b.Notes,
	}
	for _, p := range b.Parameters() {
		f.Parameters += p.Len()
	}
	return f, nil
}

// networkFacts is a base's config.json alone.
type networkFacts struct {
	header
	Parameters int      `json:"parameters"`
	Channels   []int    `json:"block_out_channels"`
	Classes    int      `json:"class_embeddings"`
	Notes      []string `json:"notes,omitempty"`
}

func (f *networkFacts) title() string {
	return fmt.Sprintf("the config of a UNet2DModel of %d parameters", f.Parameters)
}

func (f *networkFacts) rows(t *table) {
	t.row("channels of the blocks", "%v", f.Channels)
	t.row("class embeddings", "%d", f.Classes)
	for _, note := range f.Notes {
		t.row("note", "%s", note)
	}
}

func inspectNetwork(path string, content []byte) (facts, error) {
	c, notes, err := unet.ParseConfig(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	params, err := c.Parameters()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &networkFacts{header: header{"base-config", path}, Channels: c.BlockOutChannels, Classes: c.NumClassEmbeds, Notes: notes}
	for _, p := range params {
		f.Parameters += p.Len()
	}
	return f, nil
}

// traitsFacts is a base's dploda.json alone.
type traitsFacts struct {
	header
	Traits Traits `json:"traits"`
}

func (f *traitsFacts) title() string { return "what a base model predicts and how images go in" }
func (f *traitsFacts) rows(t *table) { f.Traits.rows(t) }

func inspectTraits(path string, content []byte) (facts, error) {
	f := &traitsFacts{header: header{"base-traits", path}}
	if err := json.Unmarshal(content, &f.Traits); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if f.Traits.Format != 1 {
		return nil, fmt.Errorf("%s has format %d; this version reads format 1", path, f.Traits.Format)
	}
	return f, nil
}

// tensorsFacts is a safetensors file.
type tensorsFacts struct {
	header
	Values   int               `json:"values"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Tensors  []tensorFacts     `json:"tensors"`
}

type tensorFacts struct {
	Name string `json:"name"`
	Dims []int  `json:"dims"`
}

func (f *tensorsFacts) title() string {
	return fmt.Sprintf("%d tensors of %d values", len(f.Tensors), f.Values)
}

func (f *tensorsFacts) rows(t *table) {
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		t.row(key, "%s", f.Metadata[key])
	}
	tensorRows(t, f.Tensors)
}

func tensorRows(t *table, tensors []tensorFacts) {
	for _, tensor := range tensors {
		t.row("tensor", "%s %v", tensor.Name, tensor.Dims)
	}
}

func describeTensors(tensors []safetensors.Tensor) (list []tensorFacts, values int) {
	for _, t := range tensors {
		list = append(list, tensorFacts{t.Name, t.Dims})
		values += len(t.Data)
	}
	return list, values
}

// adapterFacts is adapter.safetensors.
type adapterFacts struct {
	header
	Adapter      adapter.Kind  `json:"adapter"`
	Rank         int           `json:"rank"`
	Alpha        float64       `json:"alpha"`
	Nonlinearity string        `json:"nonlinearity"`
	Targets      []string      `json:"targets"`
	Classes      int           `json:"classes"`
	BaseHash     string        `json:"base_sha256"`
	TestMode     bool          `json:"test_mode"`
	Recipe       *recipe       `json:"sampling"` // null in files of earlier versions
	Parameters   int           `json:"parameters"`
	Tensors      []tensorFacts `json:"tensors"`
}

func (f *adapterFacts) title() string {
	return fmt.Sprintf("an adapter (%s) of %d parameters", f.Adapter, f.Parameters)
}

func (f *adapterFacts) rows(t *table) {
	if f.TestMode {
		t.row("test mode", "trained with predictable noise: NOT private")
	}
	if f.Adapter == adapter.LoDA || f.Adapter == adapter.LoRA {
		t.row("rank, alpha", "%d, %g", f.Rank, f.Alpha)
		t.row("nonlinearity", "%s", f.Nonlinearity)
	}
	t.row("targets", "%s", strings.Join(f.Targets, ", "))
	t.row("classes", "%d", f.Classes)
	t.row("base sha256", "%s", f.BaseHash)
	if r := f.Recipe; r != nil {
		t.row("run", "%s, %s", r.Name, r.RunID)
		t.row("class names", "%s", strings.Join(r.Classes, ", "))
		t.row("on at timesteps", "%d to %d", r.TimeRange[0], r.TimeRange[1]-1)
		t.row("prototypes", "%s", yesNo(r.Prototypes != ""))
		t.row("sampled with", "%s, %d steps, guidance %g", r.Sample.Sampler, r.Sample.Steps, r.Sample.Guidance)
	}
	tensorRows(t, f.Tensors)
}

// looksLikeSafetensors: the length of a header and the brace that opens it.
func looksLikeSafetensors(head []byte) bool {
	return len(head) > 8 && head[8] == '{' && binary.LittleEndian.Uint64(head) < 1<<32
}

func inspectSafetensors(path string) (facts, error) {
	tensors, metadata, err := safetensors.Read(path)
	if err != nil {
		return nil, err
	}
	if classifier.IsFeatures(metadata) {
		return inspectFeatures(path)
	}
	list, values := describeTensors(tensors)
	if _, ours := metadata["dploda.adapter"]; !ours {
		return &tensorsFacts{header{"safetensors", path}, values, metadata, list}, nil
	}
	h, _, err := adapter.ReadHeader(path)
	if err != nil {
		return nil, err
	}
	s := h.Spec
	var how *recipe
	if h.Sampling != "" {
		if how, err = parseRecipe(h.Sampling); err != nil {
			return nil, fmt.Errorf("%s %w", path, err)
		}
	}
	return &adapterFacts{
		header: header{"adapter", path}, Adapter: s.Kind, Rank: s.Rank, Alpha: s.Alpha, Nonlinearity: s.Nonlinearity,
		Targets: s.Targets, Classes: s.Classes, BaseHash: h.BaseHash, TestMode: h.TestMode, Recipe: how, Parameters: values, Tensors: list,
	}, nil
}

// featuresFacts is a features file.
type featuresFacts struct {
	header
	Trained    string `json:"public_data"`
	Image      [3]int `json:"image"`
	Dimensions int    `json:"dimensions"`
}

func (f *featuresFacts) title() string {
	return fmt.Sprintf("the %d features of a CNN trained on %s", f.Dimensions, f.Trained)
}

func (f *featuresFacts) rows(t *table) {
	t.row("images", "%d x %d x %d (channels, height, width)", f.Image[0], f.Image[1], f.Image[2])
}

func inspectFeatures(path string) (facts, error) {
	content, err := readAtMost(path, maxFeatures)
	if err != nil {
		return nil, err
	}
	f, err := classifier.ParseFeatures(content)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return &featuresFacts{header{"features", path}, f.PublicData, [3]int{f.Shape.C, f.Shape.H, f.Shape.W}, f.Dimensions()}, nil
}

// sectionsFacts is a checkpoint or a noised sum of the coordinator. Its values
// are state that only the coordinator has: they are not shown.
type sectionsFacts struct {
	header
	Label    string         `json:"label"`
	Hash     string         `json:"sha256"` // verified
	Sections []sectionFacts `json:"sections"`
}

type sectionFacts struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
}

func (f *sectionsFacts) title() string {
	return fmt.Sprintf("a stored %s, whole", strings.ReplaceAll(f.Kind, "-", " "))
}

func (f *sectionsFacts) rows(t *table) {
	t.row("label", "%s", f.Label)
	t.row("sha256", "%s (verified)", f.Hash)
	for _, s := range f.Sections {
		t.row("section "+s.Name, "%d bytes", s.Bytes)
	}
}

// maxSectionsBytes bounds a checkpoint that is read into memory.
const maxSectionsBytes = 1 << 33

// inspectSections reads a checkpoint, a noised sum or a pre-training's state.
func inspectSections(path string) (facts, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSectionsBytes {
		return nil, fmt.Errorf("%s is larger than the %d bytes that a file of its kind may have", path, int64(maxSectionsBytes))
	}
	name := filepath.Base(path)
	if filepath.Ext(name) != ".dploda" {
		return inspectPretraining(path)
	}
	sections, err := checkpoint.ReadFile(path)
	if err != nil {
		return nil, err
	}
	label, rest, _ := strings.Cut(name, ".")
	hash, _, _ := strings.Cut(rest, ".")
	f := &sectionsFacts{header: header{"checkpoint", path}, Label: label, Hash: hash, Sections: describeSections(sections)}
	if _, err := checkpoint.Find(sections, "noised sum"); err == nil {
		f.Kind = "noised-sum"
	}
	return f, nil
}

func describeSections(sections []checkpoint.Section) (list []sectionFacts) {
	for _, s := range sections {
		list = append(list, sectionFacts{s.Name, len(s.Data)})
	}
	return list
}

// pretrainingFacts is the state of a pre-training that is not finished.
type pretrainingFacts struct {
	header
	Step       uint64         `json:"next_step"`
	Config     string         `json:"config_sha256"`
	Parameters int            `json:"parameters"`
	Sections   []sectionFacts `json:"sections"`
}

func (f *pretrainingFacts) title() string {
	return fmt.Sprintf("the state of a pre-training of %d parameters before step %d", f.Parameters, f.Step)
}

func (f *pretrainingFacts) rows(t *table) {
	t.row("config", "sha256 %s", f.Config)
	for _, s := range f.Sections {
		t.row("section "+s.Name, "%d bytes", s.Bytes)
	}
}

func inspectPretraining(path string) (facts, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sections, err := checkpoint.Decode(content)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	config, err1 := checkpoint.Find(sections, "config")
	step, err2 := checkpoint.Find(sections, "step")
	weights, err3 := checkpoint.Find(sections, "weights")
	if err1 != nil || err2 != nil || err3 != nil || len(step) != 8 || len(weights)%4 != 0 || len(bytes.Trim(config, "0123456789abcdef")) > 0 {
		return nil, fmt.Errorf("%s is not the state of a pre-training; the name of a checkpoint ends in its hash and .dploda", path)
	}
	return &pretrainingFacts{
		header: header{"pretraining-state", path}, Step: binary.LittleEndian.Uint64(step), Config: string(config),
		Parameters: len(weights) / 4, Sections: describeSections(sections),
	}, nil
}
