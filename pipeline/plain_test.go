package pipeline

import (
	"context"
	"testing"

	"github.com/dploda/dploda/internal/config"
)

// TestPlainRunOnABaseWithAPrototypeChannel: plain DP-LoDA leaves the channel
// empty; the section prototypes is a choice, not a need.
func TestPlainRunOnABaseWithAPrototypeChannel(t *testing.T) {
	spec, err := DemoSpec()
	if err != nil {
		t.Fatal(err)
	}
	spec.Prototypes = nil
	resolved, err := resolve(spec)
	if err != nil {
		t.Fatal(err)
	}
	if !resolved.base.PrototypeChannel() || len(resolved.mechanisms) != 1 {
		t.Fatalf("the demo's base has a prototype channel: %v; mechanisms: %d, want 1", resolved.base.PrototypeChannel(), len(resolved.mechanisms))
	}
	r := &run{resolved: resolved, obs: quiet{}, dev: NewDevice()}
	if err := r.probe(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestProbePassesEverySoundSetting: what a config may choose must not look
// like a device that does not train.
func TestProbePassesEverySoundSetting(t *testing.T) {
	for name, change := range map[string]func(*config.RunSpec){
		"full fine-tuning": func(s *config.RunSpec) { s.Adapter.Kind, s.Adapter.Targets = "full", []string{"all"} },
		"attention only":   func(s *config.RunSpec) { s.Adapter.Targets = []string{"attention"} },
		"lora":             func(s *config.RunSpec) { s.Adapter.Kind, s.Adapter.Nonlinearity = "lora", "identity" },
		"no adapter":       func(s *config.RunSpec) { s.Adapter.Kind, s.Adapter.Targets = "none", nil },
		"slow sgd": func(s *config.RunSpec) {
			s.Finetune.Optimizer, s.Finetune.LearningRate, s.Finetune.FinalLearningRate = "sgd", 1e-4, 1e-5
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := DemoSpec()
			if err != nil {
				t.Fatal(err)
			}
			change(spec)
			resolved, err := resolve(spec)
			if err != nil {
				t.Fatal(err)
			}
			r := &run{resolved: resolved, obs: quiet{}, dev: NewDevice()}
			if err := r.probe(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}
