package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/pipeline"
)

// family is in the name of every person whose images the tests on units use.
const family = "Wildermuth"

// unitFile writes a unit file for the images of a folder.
func unitFile(t *testing.T, folder, name string, unit func(image int) string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("image,unit\n")
	for i := range 300 {
		fmt.Fprintf(&b, "%d,%s\n", i, unit(i))
	}
	if err := os.WriteFile(filepath.Join(folder, name), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func person(image int) string { return fmt.Sprintf("Ottilie %s the %dth", family, image%60) }

// TestPrivateRunOfUnits kills a run on 60 people with five images each, whose
// workers are processes. It does not go on with other units; with its own it
// completes, says what it protects, and no name of a person is in anything that
// it wrote or said. Tried: a fingerprint without units; a coin for each image; a
// name in an error and in the log.
func TestPrivateRunOfUnits(t *testing.T) {
	t.Parallel()
	folder, state, out := privateImages(t, 13), t.TempDir(), t.TempDir()
	unitFile(t, folder, "people.csv", person)
	register(t, state, "people", "--unit", "group")
	command := []string{"run", "testdata/units.yaml", "--data", folder, "--state", state, "--out", out, "--worker-processes"}
	disturb(t, out, command, released(3))

	// Two people exchange an image: the same images in groups of the same sizes.
	unitFile(t, folder, "people.csv", func(i int) string { return person(exchanged(i)) })
	refused(t, exitFailed, "the images, or their units, are not those that this run began with; restore the data folder, or begin a new run with another --out", command...)
	unitFile(t, folder, "people.csv", func(i int) string { return person(i) + " " })
	refused(t, exitFailed, filepath.Join(folder, "people.csv")+":2: the unit has spaces around it, and another spelling would be another unit; remove them on all lines", command...)

	unitFile(t, folder, "people.csv", person)
	code, stdout, stderr := run(t, command...)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	checkMetrics(t, out)
	checkSpent(t, out)
	var s pipeline.Statement
	if err := json.Unmarshal(read(t, out, "share", "privacy.json"), &s); err != nil {
		t.Fatal(err)
	}
	if s.Unit != "group" || s.NominalSize != 60 {
		t.Errorf("the statement is of the unit %s and %d of them", s.Unit, s.NominalSize)
	}
	if text := string(read(t, out, "share", "PRIVACY.md")); !strings.Contains(text, "one unit of the unit file") || strings.Contains(text, "one image") {
		t.Errorf("PRIVACY.md names the wrong unit:\n%s", text)
	}
	for _, dir := range []string{out, state} {
		if found := holding(t, dir, family); len(found) > 0 {
			t.Errorf("names of people are in %s", found)
		}
	}
	if strings.Contains(stdout+stderr, family) {
		t.Errorf("the program names people:\n%s%s", stdout, stderr)
	}
	if found := holding(t, folder, family); len(found) != 1 {
		t.Errorf("the search for names finds them in %q, want the unit file", found)
	}
}

// exchanged gives images 60 and 61 to each other's people.
func exchanged(image int) int {
	switch image {
	case 60:
		return 61
	case 61:
		return 60
	}
	return image
}

// holding lists the files of a folder that hold a text, packed or not.
func holding(t *testing.T, folder, text string) (found []string) {
	t.Helper()
	eachPart(t, folder, func(path string, part []byte) {
		if bytes.Contains(part, []byte(text)) {
			found = append(found, path)
		}
	})
	return found
}

// TestSameBitsOfUnits: a run on units gives the same bytes whatever disturbs it
// and however it is divided; and where every image is a unit of its own, a unit
// file gives the very model that none gives.
func TestSameBitsOfUnits(t *testing.T) {
	t.Setenv("DPLODA_DATA_PUBLIC", "true") // for --test-seed
	t.Setenv("DPLODA_PRIVACY_DOMAIN", "")
	folder := privateImages(t, 13)
	unitFile(t, folder, "people.csv", person)
	unitFile(t, folder, "each.csv", func(i int) string { return fmt.Sprintf("%d%s", i*7%300, family) })
	command := func(config, out string, flags ...string) []string {
		return append([]string{"run", "testdata/" + config, "--data", folder, "--out", out, "--test-seed", "1"}, flags...)
	}
	out := t.TempDir()
	golden := finish(t, out, command("units.yaml", out, "--workers=1", "--micro-batch=5"))
	out = t.TempDir()
	disturb(t, out, command("units.yaml", out), stored("prototypes", 1), released(5))
	if finish(t, out, command("units.yaml", out, "--worker-processes")) != golden {
		t.Error("killed and divided among processes: another model")
	}
	out = t.TempDir()
	none := finish(t, out, command("private.yaml", out))
	t.Setenv("DPLODA_DATA_UNITS", "each.csv")
	out = t.TempDir()
	if finish(t, out, command("private.yaml", out)) != none {
		t.Error("units of one image each give another model than no unit file")
	}
	t.Setenv("DPLODA_DATA_UNITS", filepath.Join(folder, "people.csv"))
	out = t.TempDir()
	if finish(t, out, command("private.yaml", out)) == none {
		t.Error("units of five images give the model of single images: the test sees nothing")
	}
}
