package config

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBadConfigs: every file of testdata/bad is refused with the exact message
// in the file beside it.
func TestBadConfigs(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".err")
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "pretrain-") {
			_, err = ParsePretrain("config.yaml", content, nil)
		} else {
			_, err = ParseRun("config.yaml", content, nil)
		}
		if err == nil || err.Error()+"\n" != string(want) {
			t.Errorf("%s: got\n%v\nwant\n%s", name, err, want)
		}
	}
}

// least is the shortest run.
const least = "data: {kind: drawn-private, public: true}\n"

func mustParse(t *testing.T, content string, env Lookup) *RunSpec {
	t.Helper()
	spec, err := ParseRun("config.yaml", []byte(content), env)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestDefaultsAreFilled(t *testing.T) {
	spec := mustParse(t, least, nil)
	want := defaultRun()
	want.Data = Data{Kind: KindDrawnPrivate, Public: true, TrainImages: 20_000, TestImages: 2_000, NominalSize: 20_000}
	if diff := cmp.Diff(&want, spec); diff != "" {
		t.Error(diff)
	}
	if spec.Prototypes != nil {
		t.Error("prototypes are on without their section")
	}
	spec = mustParse(t, least+"prototypes: {clusters: 1}\n", nil)
	if want := (Prototypes{Clusters: 1, Rounds: 3, NoiseMultiplier: 20, Size: 14}); *spec.Prototypes != want {
		t.Errorf("prototypes %+v, want %+v", *spec.Prototypes, want)
	}
	spec = mustParse(t, least+"adapter: {kind: lora}\n", nil)
	if spec.Adapter.Nonlinearity != "identity" {
		t.Errorf("LoRA with the nonlinearity %s", spec.Adapter.Nonlinearity)
	}
}

// TestAFileKeepsWhatItDoesNotName: one key of a section leaves the others.
func TestAFileKeepsWhatItDoesNotName(t *testing.T) {
	spec := mustParse(t, least+"finetune: {steps: 7}\nevaluate: {augment: false}\n", nil)
	want := defaultRun().Finetune
	want.Steps = 7
	if diff := cmp.Diff(want, spec.Finetune); diff != "" {
		t.Error(diff)
	}
	if spec.Evaluate.Augment || spec.Evaluate.Epochs != defaultRun().Evaluate.Epochs {
		t.Errorf("evaluate: %+v", spec.Evaluate)
	}
}

func TestNumbersAsYAMLWritesThem(t *testing.T) {
	spec := mustParse(t, least+"privacy: {epsilon: 8, delta: 1e-5}\nfinetune: {clip: 2.5E-3, learning_rate: 1.e-2, final_learning_rate: 0}\n", nil)
	f := spec.Finetune
	if spec.Privacy != (Privacy{Epsilon: 8, Delta: 1e-5, Adjacency: AddRemove}) || f.Clip != 2.5e-3 || f.LearningRate != 0.01 || f.FinalLearningRate != 0 {
		t.Errorf("%+v %+v", spec.Privacy, f)
	}
	spec = mustParse(t, "data: {kind: idx, class_names: [0, 1, two], nominal_size: 9}\nprivacy: {domain: d}\nfinetune: {batch: 3}\n", nil)
	if diff := cmp.Diff([]string{"0", "1", "two"}, spec.Data.ClassNames); diff != "" {
		t.Error(diff)
	}
}

func environment(vars map[string]string) Lookup {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestEnvironmentIsAboveTheFile(t *testing.T) {
	spec := mustParse(t, least+"privacy: {epsilon: 8}\nfinetune: {steps: 7}\n", environment(map[string]string{
		"DPLODA_PRIVACY_EPSILON":     "2.5",
		"DPLODA_ADAPTER_TARGETS":     "[attention, time]",
		"DPLODA_PROTOTYPES_CLUSTERS": "3",
		"DPLODA_BASE":                "other",
		"DPLODA_DATA":                "/not/a/key",
	}))
	if spec.Privacy.Epsilon != 2.5 || spec.Finetune.Steps != 7 || spec.Base != "other" {
		t.Errorf("ε %v, %d steps, base %s", spec.Privacy.Epsilon, spec.Finetune.Steps, spec.Base)
	}
	if diff := cmp.Diff([]string{"attention", "time"}, spec.Adapter.Targets); diff != "" {
		t.Error(diff)
	}
	if spec.Prototypes == nil || spec.Prototypes.Clusters != 3 || spec.Prototypes.Size != 14 {
		t.Errorf("prototypes %+v", spec.Prototypes)
	}
	for value, want := range map[string]string{
		"ten": `the environment's DPLODA_PRIVACY_EPSILON: privacy.epsilon must be a number, not "ten"`,
		"0":   `the environment's DPLODA_PRIVACY_EPSILON: privacy.epsilon must be more than 0 and at most 1000, not 0`,
	} {
		_, err := ParseRun("config.yaml", []byte(least), environment(map[string]string{"DPLODA_PRIVACY_EPSILON": value}))
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestResolvedGivesTheSameRun for the examples, which are thereby checked too.
func TestResolvedGivesTheSameRun(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(filepath.Base(path), "pretrain-") {
			spec, err := ParsePretrain(path, content, nil)
			if err != nil {
				t.Error(err)
				continue
			}
			again, err := ParsePretrain("resolved", spec.Resolved(), nil)
			if diff := cmp.Diff(spec, again); diff != "" || err != nil || spec.Hash() != again.Hash() {
				t.Errorf("%s: %v %s", path, err, diff)
			}
			continue
		}
		spec, err := ParseRun(path, content, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		again, err := ParseRun("resolved", spec.Resolved(), nil)
		if diff := cmp.Diff(spec, again); diff != "" || err != nil || spec.Hash() != again.Hash() {
			t.Errorf("%s: %v %s", path, err, diff)
		}
	}
}

func TestHashTellsWhatIsComputed(t *testing.T) {
	base := mustParse(t, least, nil).Hash()
	for change, differs := range map[string]bool{
		"workers: {count: 3, min: 2, processes: true, threads: 4, micro_batch: 1}": false,
		"checkpoint_every: 3":         false,
		"# a comment":                 false,
		"privacy: {epsilon: 9.99}":    true,
		"finetune: {steps: 201}":      true,
		"seed: 2":                     true,
		"prototypes: {}":              true,
		"adapter: {targets: [conv2]}": true,
	} {
		if got := mustParse(t, least+change+"\n", nil).Hash() != base; got != differs {
			t.Errorf("%s: another hash: %v, want %v", change, got, differs)
		}
	}
	if spec := mustParse(t, least, nil); spec.Hash() != base || spec.Workers.Count == 0 {
		t.Error("hashing changed the spec")
	}
}

// TestValidateAfterAFlag: flags are set on the spec, which validates again.
func TestValidateAfterAFlag(t *testing.T) {
	spec := mustParse(t, least, nil)
	spec.Workers.MicroBatch = 0
	if err := spec.Validate(); err == nil || err.Error() != "workers.micro_batch must be 1 to 16, not 0" {
		t.Errorf("got %v", err)
	}
	spec = mustParse(t, least, nil)
	spec.Finetune.LearningRate = math.NaN()
	if spec.Validate() == nil {
		t.Error("a learning rate that is no number passes")
	}
}

func TestLoadRefusesHugeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.yaml")
	if err := os.WriteFile(path, make([]byte, MaxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := LoadRun(path)
	if want := path + " is not a config file: it is larger than 1048576 bytes"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := LoadPretrain(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"rank", "rank", 0}, {"rnak", "rank", 1}, {"rak", "rank", 1}, {"kitten", "sitting", 3}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("edits(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// FuzzParseRun: no text makes the parser panic, and what is accepted is
// possible and resolves to itself.
func FuzzParseRun(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	examples, _ := filepath.Glob("../../examples/*.yaml")
	for _, path := range append(files, examples...) {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		spec, err := ParseRun("f.yaml", content, nil)
		if err != nil {
			return
		}
		again, err := ParseRun("resolved", spec.Resolved(), nil)
		if err != nil || again.Hash() != spec.Hash() {
			t.Fatalf("resolved differs: %v\n%s", err, spec.Resolved())
		}
	})
}

// TestTooManyClasses: more names than labels can tell apart are refused.
func TestTooManyClasses(t *testing.T) {
	text := []byte("data:\n  kind: folder\n  nominal_size: 500\n  class_names:\n")
	for i := range maxClasses + 1 {
		text = fmt.Appendf(text, "  - c%d\n", i)
	}
	_, err := ParseRun("config.yaml", text, nil)
	if want := "data.class_names holds 65537 names; at most 65536 are known"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestClassNamesStayText: names that look like something else come back as they
// were written, from the resolved config too.
func TestClassNamesStayText(t *testing.T) {
	want := []string{"001", "0x1", "null", "yes", "no", "~", "1e3", "a: b", "#x", "1", "e\u0301", "\u72ac", " a ", "-", "'", `"`}
	quoted := ""
	for _, name := range want {
		quoted += fmt.Sprintf(", %q", name)
	}
	spec := mustParse(t, "data: {kind: folder, nominal_size: 600, class_names: ["+quoted[2:]+"]}\nprivacy: {domain: d}\n", nil)
	again := mustParse(t, string(spec.Resolved()), nil)
	if diff := cmp.Diff(want, spec.Data.ClassNames); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, again.Data.ClassNames); diff != "" {
		t.Errorf("from the resolved config: %s", diff)
	}
}
