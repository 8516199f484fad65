package imports

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/dploda/dploda"

// layers lists, for each package tree, the trees of this module that its
// non-test code may import. A tree may always import itself. What is missing
// here is forbidden: the reason stands on the line.
var layers = map[string][]string{
	// Leaves: one idea each, no knowledge of one another.
	"dp/plan":              {},
	"internal/safetensors": {},
	"internal/images":      {},
	"internal/wire":        {},
	"internal/floatbits":   {},
	"internal/rundir":      {},
	"internal/safeguard":   {},
	"checkpoint":           {}, // named sections and blobs; neither training nor ranks
	"dataset":              {}, // never which example is sampled
	"internal/config":      {},
	"internal/tags":        {"checkpoint"}, // keyed hashes on disk; not of what

	// The DP mathematics knows no model, network, clock or disk.
	"dp/ledger":  {"dp/plan"},
	"dp/sampler": {"dp/plan"},
	"dp/clip":    {"dp/plan"},
	"dp/noise":   {"dp/plan", "dp/ledger"},
	"dp/account": {},
	"dp/domain":  {"dp/plan", "dp/ledger", "dp/account"},

	// Devices execute op lists; they know no model and no DP.
	"internal/device": {},
	"internal/optim":  {"internal/device/cpu/kernel"}, // the steps are kernels on flat vectors

	// Benchmarks measure devices, and works that others describe to them.
	"internal/bench": {"internal/device", "internal/optim", "model/diffusion"},

	// Models are op lists and mathematics; no DP, ranks or files of a run.
	"model": {"internal/device", "internal/safetensors", "internal/optim", "internal/floatbits", "dataset"},

	// Transport knows no gradient, no DP, no model.
	"internal/bus":  {"internal/wire"},
	"ringallreduce": {"internal/wire", "internal/bus"},
	"worker":        {"internal/wire", "internal/bus", "internal/safeguard", "ringallreduce"}, // no ε, no noise
	"worker/task":   {"model", "internal/device", "internal/floatbits", "internal/safeguard", "dp/plan", "dp/clip", "dataset"},

	// The coordinator knows flat vectors; no layer, no image.
	"coordinator": {"dp", "checkpoint", "worker/fleet", "internal/wire", "internal/tags"},

	// The audit drives the coordinator and workers with contributions of its
	// own; what a model contributes is described to it.
	"audit": {"dp", "coordinator", "worker", "internal/bus", "internal/tags"},

	// The pipeline joins everything; the command knows flags and exit codes.
	"pipeline":         {"dp", "audit", "model", "internal", "checkpoint", "dataset", "coordinator", "worker", "ringallreduce"},
	"cmd/dploda":       {"pipeline", "audit", "internal", "dp/account", "dp/ledger", "checkpoint"},
	"internal/imports": {},
	"internal/outlets": {},
	"tools":            {},
}

// TestImportDirections reads every non-test Go file and checks its imports
// against layers, for every operating system and architecture at once.
func TestImportDirections(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		check(t, rel, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Fatalf("only %d Go files seen: the walk has lost its way", files)
	}
}

func check(t *testing.T, rel, path string) {
	pkg := filepath.ToSlash(filepath.Dir(rel))
	layer := layerOf(pkg)
	if layer == "" {
		t.Errorf("%s: package %s has no place in the layers; give it one", rel, pkg)
		return
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Errorf("%s: %v", rel, err)
		return
	}
	for _, spec := range f.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		target, ours := strings.CutPrefix(imported, module+"/")
		if ours && !allowed(layer, target) {
			t.Errorf("%s imports %s: %s may import only %v", rel, target, layer, layers[layer])
		}
		if !ours {
			checkOutside(t, rel, pkg, imported)
		}
	}
}

// checkOutside holds the bans on single libraries.
func checkOutside(t *testing.T, rel, pkg, imported string) {
	switch {
	case strings.HasPrefix(imported, "math/rand") && pkg != "internal/device/conformance": // which only makes test cases
		t.Errorf("%s imports %s: noise, samples and keys come from cryptographic generators, draws from counters", rel, imported)
	case imported == "C":
		t.Errorf("%s imports C: dploda builds without a C compiler", rel)
	case strings.HasPrefix(pkg, "dp/") && (imported == "os" || imported == "time" || strings.HasPrefix(imported, "net")):
		t.Errorf("%s imports %s: the DP mathematics knows no disk, clock or network", rel, imported)
	case pkg == "coordinator/core" && (imported == "os" || strings.HasPrefix(imported, "net") || strings.Contains(imported, "raft")):
		t.Errorf("%s imports %s: the core is a pure state machine", rel, imported)
	}
}

// layerOf is the longest layer that holds the package.
func layerOf(pkg string) string {
	best := ""
	for layer := range layers {
		if within(pkg, layer) && len(layer) > len(best) {
			best = layer
		}
	}
	return best
}

func allowed(layer, target string) bool {
	if within(target, layer) {
		return true
	}
	for _, tree := range layers[layer] {
		if within(target, tree) {
			return true
		}
	}
	return false
}

func within(pkg, tree string) bool { return pkg == tree || strings.HasPrefix(pkg, tree+"/") }

// TestLayersCanFail proves that the check refuses what it should.
func TestLayersCanFail(t *testing.T) {
	for _, c := range []struct {
		layer, target string
		want          bool
	}{
		{"dp/noise", "dp/ledger", true},
		{"dp/clip", "dp/ledger", false},
		{"worker", "dp/noise", false},
		{"coordinator", "model/unet", false},
		{"internal/device", "model/unet", false},
		{"internal/device", "internal/device/cpu", true},
	} {
		if got := allowed(c.layer, c.target); got != c.want {
			t.Errorf("allowed(%s, %s) = %v, want %v", c.layer, c.target, got, c.want)
		}
	}
}
