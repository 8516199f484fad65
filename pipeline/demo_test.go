package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestDemoIsARealTask runs the whole demo and holds what makes it worth
// showing: the task is not solved by class means or by public images, and the
// synthetic images train a classifier nearly as real ones do.
func TestDemoIsARealTask(t *testing.T) {
	if os.Getenv("DPLODA_TIER") != "full" {
		t.Skip("the whole demo takes minutes: set DPLODA_TIER=full")
	}
	spec, err := DemoSpec()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "demo")
	report, err := Run(context.Background(), spec, RunOptions{Out: out, Demo: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", report.Summary(out))
	ours, real := *report.ClassifierAccuracy, *report.RealAccuracy
	if ours < 0.8*real {
		t.Errorf("classifier accuracy %.3f, less than 0.8 of the %.3f that real images reach", ours, real)
	}
	if public := *report.PublicOnlyAccuracy; public > ours-0.15 {
		t.Errorf("public images alone reach %.3f, ours %.3f: the private data would hardly matter", public, ours)
	}
	if centroid := *report.NearestCentroidAccuracy; centroid >= 0.85 {
		t.Errorf("class means of real images reach %.3f: the task is too easy", centroid)
	}
	if spent := *report.EpsilonSpent; spent <= 0 || spent > report.EpsilonBudget {
		t.Errorf("ε %.4f of %g", spent, report.EpsilonBudget)
	}
	for _, name := range []string{"samples.png", "samples.npz", "images", adapterFile, prototypesFile, "privacy.json", "PRIVACY.md", "report.json"} {
		if _, err := os.Stat(filepath.Join(out, "share", name)); err != nil {
			t.Error(err)
		}
	}
}
