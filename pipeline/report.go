package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Report is share/report.json: what the run reached and what it spent. Exact
// accuracies on real images are there only where the data are declared public;
// otherwise their fields are absent.
type Report struct {
	Name     string `json:"name"`
	TestMode bool   `json:"test_mode"`

	// EpsilonSpent is null in test mode, where nothing is private (ε = ∞).
	EpsilonSpent  *float64 `json:"epsilon_spent"`
	EpsilonBudget float64  `json:"epsilon_budget"`
	Delta         float64  `json:"delta"`

	// ClassifierAccuracy is that of the first of Classifiers: trained on the
	// synthetic images alone, tested on real held-out images.
	ClassifierAccuracy *float64 `json:"classifier_accuracy,omitempty"`
	// BaseAccuracy is the same with images sampled before any private step:
	// the base under the fresh class embedding.
	BaseAccuracy *float64 `json:"base_accuracy,omitempty"`
	// PublicOnlyAccuracy trains on images of the base's own public classes and
	// maps each to the private class that it is best for, chosen on the test
	// labels: an upper bound of what the base gives without private data.
	PublicOnlyAccuracy *float64 `json:"public_only_accuracy,omitempty"`
	// NoPublicClasses says that the base is unconditional, so that there is
	// nothing to train a classifier on without private data.
	NoPublicClasses bool `json:"no_public_classes,omitempty"`
	// RealAccuracy is the same classifier trained on as many real images.
	RealAccuracy *float64 `json:"real_accuracy,omitempty"`
	// NearestCentroidAccuracy is the nearest class mean of the real images.
	NearestCentroidAccuracy *float64 `json:"nearest_centroid_accuracy,omitempty"`

	Prototypes *PrototypesReport `json:"prototypes,omitempty"`

	// Frechet compares the synthetic images with real ones; for data declared
	// public only.
	Frechet *FrechetReport `json:"frechet,omitempty"`

	// BaselineImages is the number of images that each row beside ours is made of,
	// but for the real ones.
	BaselineImages int `json:"baseline_images"`
	// Classifiers are those of evaluate.classifiers, each trained on the synthetic
	// images.
	Classifiers []*ClassifierReport `json:"classifiers"`

	ImagesPerSecond float64 `json:"images_per_second"` // fine-tuning: nominal batch over time; a unit counts as one
	SamplesPerSec   float64 `json:"samples_per_second"`
	Workers         int     `json:"workers"`
	Steps           int     `json:"steps"`
	Parameters      int     `json:"trained_parameters"`
	SyntheticImages int     `json:"synthetic_images"`
	Device          string  `json:"device"`
	Version         string  `json:"version"`

	Seconds map[string]float64 `json:"seconds"` // wall time of each stage
	// Base is what the base was trained on, BaseHash its sha256.
	Base     string `json:"base"`
	BaseHash string `json:"base_sha256"`
	// Settings are the parts of the config that say how the run trained, sampled
	// and was evaluated, as YAML.
	Settings string `json:"settings"`
}

// ClassifierReport is one classifier trained on the synthetic images alone.
type ClassifierReport struct {
	Name          string `json:"name"`    // as in evaluate.classifiers
	Network       string `json:"network"` // in words
	Parameters    int    `json:"parameters"`
	TrainedImages int    `json:"trained_images"`
	Epochs        int    `json:"epochs"`
	// ChosenEpoch, from 1, is the one whose weights were taken: the best on the
	// held-out synthetic images or, by evaluate.choose, the last.
	ChosenEpoch int `json:"chosen_epoch"`
	// HeldOut is on the synthetic images that it was not trained on: a figure of
	// released images alone, which tells how well they agree with themselves.
	HeldOut *Scores `json:"held_out_synthetic,omitempty"`
	// Test is on real held-out images, for data declared public only.
	Test *Scores `json:"test_real,omitempty"`
}

// FrechetReport is a squared Fréchet distance, as FID is, in the features of a
// classifier trained on public images, which it names: it compares with no FID.
type FrechetReport struct {
	Distance float64 `json:"distance"` // synthetic against held-out real images
	// RealDistance is that of as many real training images.
	RealDistance    float64 `json:"real_distance"`
	SyntheticImages int     `json:"synthetic_images"`
	RealImages      int     `json:"real_images"` // held out
	TrainingImages  int     `json:"training_images"`
	Features        string  `json:"features"`
	FeaturesHash    string  `json:"features_sha256"` // of the file
	Dimensions      int     `json:"dimensions"`
}

// PrototypesReport shows the private prototypes apart from DP-LoDA.
type PrototypesReport struct {
	// EpsilonAlone is what the prototypes would cost by themselves.
	EpsilonAlone *float64 `json:"epsilon_alone"`
	// The ablation, each of BaselineImages images: sampled with the prototypes and
	// no gradient step, by the fine-tuned adapter without its prototypes, and with
	// both, as the run samples.
	Accuracy        *float64 `json:"accuracy,omitempty"`
	AdapterAccuracy *float64 `json:"adapter_alone_accuracy,omitempty"`
	BothAccuracy    *float64 `json:"both_accuracy,omitempty"`
	Clusters        int      `json:"clusters"`
	Rounds          int      `json:"rounds"`
}

// JSON is the report as indented JSON.
func (r *Report) JSON() ([]byte, error) {
	out, err := json.MarshalIndent(r, "", "  ")
	return append(oneLine(out), '\n'), err
}

// numbers is a list of integers over several lines; no JSON string holds one,
// as line breaks are escaped there.
var numbers = regexp.MustCompile(`\[\n[\d,\s]+\]`)

// oneLine writes each row of a matrix in one line.
func oneLine(indented []byte) []byte {
	return numbers.ReplaceAllFunc(indented, func(list []byte) []byte {
		return bytes.ReplaceAll(bytes.Join(bytes.Fields(list), nil), []byte(","), []byte(", "))
	})
}

// Summary is the report for a terminal.
func (r *Report) Summary(runDir string) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-26s %s\n", label, fmt.Sprintf(format, args...))
	}
	accuracy := func(label string, a *float64) {
		if a != nil {
			line(label, "%.1f %%", 100**a)
		}
	}
	fmt.Fprintf(&b, "%s: done\n", r.Name)
	if r.EpsilonSpent != nil {
		line("privacy spent", "ε %.3f of %g at δ %g", *r.EpsilonSpent, r.EpsilonBudget, r.Delta)
	} else {
		line("privacy spent", "test mode: nothing here is private (ε = ∞)")
	}
	accuracy("classifier accuracy", r.ClassifierAccuracy)
	for _, c := range r.Classifiers[min(1, len(r.Classifiers)):] {
		if c.Test != nil {
			accuracy("  "+c.Name, &c.Test.Right)
		}
	}
	accuracy("  trained on real images", r.RealAccuracy)
	if p := r.Prototypes; p != nil {
		accuracy("  prototypes, no fine-tuning", p.Accuracy)
		accuracy("  adapter, no prototypes", p.AdapterAccuracy)
	}
	accuracy("  public images only", r.PublicOnlyAccuracy)
	if r.NoPublicClasses {
		line("  public images only", "the base has no public classes")
	}
	accuracy("  before any private step", r.BaseAccuracy)
	accuracy("  nearest centroid (real)", r.NearestCentroidAccuracy)
	tuning := fmt.Sprintf("%.0f images/s fine-tuning, ", r.ImagesPerSecond)
	if r.ImagesPerSecond == 0 { // of a few private steps no rate is told
		tuning = ""
	}
	line("speed", "%s%.0f images/s sampling, %d workers", tuning, r.SamplesPerSec, r.Workers)
	line("to share", "%s", runDir+"/share")
	if f := r.Frechet; f != nil {
		line("Fréchet distance", "%.4g, of real images %.4g, in the features of %s", f.Distance, f.RealDistance, f.Features)
	}
	for _, c := range r.Classifiers {
		if c.HeldOut != nil && c.Test == nil {
			line("held-out synthetic", "%.1f %% classified rightly (%s)", 100*c.HeldOut.Right, c.Name)
		}
	}
	line("look at", "%s", runDir+"/share/report.html")
	if r.TestMode {
		line("keep to yourself", "%s", runDir+"/private")
	} else {
		line("privacy statement", "%s", runDir+"/share/PRIVACY.md")
		line("keep to yourself", "%s", runDir+"/private")
	}
	return b.String()
}
