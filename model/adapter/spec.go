// Package adapter attaches low-dimensional adapters (LoDA; Liu et al., MERL
// TR2023-150) to a U-Net's layers. A layer W gets
//
//	y = W(x) + (alpha/rank) · B(g(A(x)))
//
// where A is a layer of W's kind, kernel, stride and padding onto rank
// channels, g an element-wise nonlinearity and B a 1x1 layer onto W's outputs,
// zero at the start. With g the identity that is LoRA (Hu et al. 2021, arXiv
// 2106.09685), in PEFT's names. Full fine-tuning and training of chosen modules
// are settings of the same code, and so is the fresh class embedding.
package adapter

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/dploda/dploda/model/unet"
)

// Kind is what is trained.
type Kind string

const (
	LoDA Kind = "loda" // adapters with a nonlinearity
	LoRA Kind = "lora" // adapters without
	Full Kind = "full" // the targets' own weights
	None Kind = "none" // nothing but the class embedding
)

// The nonlinearities g.
const (
	Identity = "identity"
	SiLU     = "silu"
	ReLU     = "relu"
)

// The presets of Targets.
const (
	TargetConv      = "conv"      // every convolution
	TargetAttention = "attention" // attention's linear layers (and, for Full, its norm)
	TargetTime      = "time"      // linear layers of the time embedding and its projections
	TargetAll       = "all"
)

// Spec says what is trained on top of a base model.
type Spec struct {
	Kind         Kind
	Rank         int     // LoDA, LoRA: channels between A and B
	Alpha        float64 // LoDA, LoRA: B's output is scaled by Alpha/Rank
	Nonlinearity string  // LoDA: identity, silu or relu; LoRA: identity or empty

	// Targets are presets or module names of diffusers with * for any
	// characters, such as "up_blocks.*.conv1"; one with a leading ! excludes.
	Targets []string

	// Classes > 0 gives the network a fresh trainable class embedding of
	// Classes+1 rows, the last for "no label". 0 keeps the base's own.
	Classes int
}

const (
	maxRank    = 1 << 12
	maxClasses = 1 << 16
)

// Validate checks what can be checked without a base.
func (s Spec) Validate() error {
	switch s.Kind {
	case LoDA, LoRA:
		if err := s.validateAdapter(); err != nil {
			return err
		}
	case Full, None:
	default:
		return fmt.Errorf("adapter kind %q is not known; choose loda, lora, full or none", s.Kind)
	}
	if s.Classes < 0 || s.Classes > maxClasses {
		return fmt.Errorf("%d classes are outside 0 to %d", s.Classes, maxClasses)
	}
	return s.validateTargets()
}

func (s Spec) validateAdapter() error {
	if s.Rank < 1 || s.Rank > maxRank {
		return fmt.Errorf("adapter rank %d is outside 1 to %d", s.Rank, maxRank)
	}
	if !(s.Alpha > 0) || math.IsInf(s.Alpha, 1) {
		return fmt.Errorf("adapter alpha %g is not a positive number", s.Alpha)
	}
	known := []string{Identity, SiLU, ReLU}
	if s.Kind == LoRA {
		known = []string{Identity, ""}
	}
	if !slices.Contains(known, s.Nonlinearity) {
		if s.Kind == LoRA {
			return fmt.Errorf("adapter kind lora has no nonlinearity %q; choose identity, or kind loda", s.Nonlinearity)
		}
		return fmt.Errorf("adapter nonlinearity %q is not known; choose identity, silu or relu", s.Nonlinearity)
	}
	return nil
}

func (s Spec) validateTargets() error {
	if s.Kind == None {
		if len(s.Targets) > 0 {
			return fmt.Errorf("adapter kind none takes no targets, but has %q", s.Targets)
		}
		return nil
	}
	if !slices.ContainsFunc(s.Targets, func(t string) bool { return !strings.HasPrefix(t, "!") }) {
		return fmt.Errorf("adapter kind %s needs targets: conv, attention, time, all or module names", s.Kind)
	}
	for _, t := range s.Targets {
		if _, err := path.Match(strings.TrimPrefix(t, "!"), ""); err != nil || strings.TrimPrefix(t, "!") == "" {
			return fmt.Errorf("adapter target %q is not a module pattern", t)
		}
	}
	return nil
}

// scale is alpha/rank as the network applies it.
func (s Spec) scale() float32 { return float32(s.Alpha / float64(s.Rank)) }

// targeted says whether a module is among the targets.
func (s Spec) targeted(m unet.Module) bool {
	in := false
	for _, t := range s.Targets {
		if pattern, exclude := strings.CutPrefix(t, "!"); !exclude {
			in = in || matches(t, m)
		} else if matches(pattern, m) {
			return false
		}
	}
	return in
}

func matches(target string, m unet.Module) bool {
	switch target {
	case TargetConv:
		return m.Role == unet.RoleConv
	case TargetAttention:
		return strings.Contains(m.Name, ".attentions.")
	case TargetTime:
		return m.Role == unet.RoleTime
	case TargetAll:
		return true
	}
	ok, _ := path.Match(target, m.Name) // validated; names hold no slash, so * spans dots
	return ok
}

// adaptable says whether an adapter can be attached to a module.
func adaptable(m unet.Module) bool {
	return m.Role == unet.RoleConv || m.Role == unet.RoleAttention || m.Role == unet.RoleTime
}

// checkTargets refuses a target that no module of the base answers to.
func (s Spec) checkTargets(modules []unet.Module) error {
	for _, t := range s.Targets {
		pattern := strings.TrimPrefix(t, "!")
		answers := func(m unet.Module) bool {
			return matches(pattern, m) && (s.Kind == Full || adaptable(m))
		}
		if !slices.ContainsFunc(modules, answers) {
			return fmt.Errorf("adapter target %q matches no layer of the base model", t)
		}
	}
	return nil
}
