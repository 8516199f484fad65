package imports

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreatModelNamesTestsThatExist: each test that docs/threat-model.md names
// for a claim is in one of the packages that its line names. (Tried with a name
// misspelled and with one moved to another package.)
func TestThreatModelNamesTestsThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	content, err := os.ReadFile(filepath.Join(root, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	cell := regexp.MustCompile("`([a-z/]+)`(?: and `([a-z/]+)`)?: ([^;|`]+)")
	name := regexp.MustCompile(`(?:Test|Fuzz)[A-Z]\w*`)
	named := 0
	for line := range strings.Lines(string(content)) {
		for _, m := range cell.FindAllStringSubmatch(line, -1) {
			for _, test := range name.FindAllString(m[3], -1) {
				named++
				for _, pkg := range m[1:3] {
					if pkg != "" && !strings.Contains(testsOf(t, filepath.Join(root, pkg)), "func "+test+"(") {
						t.Errorf("docs/threat-model.md names %s of %s, which is not there", test, pkg)
					}
				}
			}
		}
	}
	if named < 50 {
		t.Errorf("%d tests were found in docs/threat-model.md: the test sees nothing", named)
	}
}

var testSources = map[string]string{}

// testsOf returns the test files of a package's folder, one after another.
func testsOf(t *testing.T, folder string) string {
	t.Helper()
	if text, ok := testSources[folder]; ok {
		return text
	}
	files, err := fs.Glob(os.DirFS(folder), "*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(folder, f))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(content)
	}
	testSources[folder] = text.String()
	return testSources[folder]
}
