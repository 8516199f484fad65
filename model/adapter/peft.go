package adapter

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/dploda/dploda/model/unet"
)

// The files of a PEFT adapter's folder.
const (
	PEFTConfigFile  = "adapter_config.json"
	PEFTWeightsFile = "adapter_model.safetensors"
)

// SavePEFT writes a folder that PEFT's PeftModel.from_pretrained loads onto the
// base. A fresh class embedding needs the base loaded with
// num_class_embeds=Classes+1 and ignore_mismatched_sizes=True. Only adapters
// without a nonlinearity have a place in PEFT.
func (a *Adapter) SavePEFT(folder string) error {
	s := a.Spec
	if err := a.FitsPEFT(); err != nil {
		return err
	}
	config := map[string]any{
		"peft_type":      "LORA",
		"r":              s.Rank,
		"lora_alpha":     s.Alpha,
		"bias":           "none",
		"target_modules": a.adapted(),
		"inference_mode": true,
	}
	if s.Classes > 0 {
		config["modules_to_save"] = []string{unet.ClassEmbedding}
	}
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := a.Save(filepath.Join(folder, PEFTWeightsFile)); err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(folder, PEFTConfigFile), append(content, '\n'), 0o644)
}

// FitsPEFT says why PEFT has no place for the adapter; nil if it has one.
func (a *Adapter) FitsPEFT() error {
	s := a.Spec
	if s.Kind != LoRA && !(s.Kind == LoDA && s.Nonlinearity == Identity) {
		return fmt.Errorf("PEFT knows no adapter of kind %s with nonlinearity %q; only LoRA can be exported", s.Kind, s.Nonlinearity)
	}
	return nil
}

// adapted lists the modules with an adapter.
func (a *Adapter) adapted() []string {
	var modules []string
	for _, p := range a.params {
		if name, ok := strings.CutSuffix(p.Name, suffixA); ok {
			modules = append(modules, name)
		}
	}
	return modules
}
