// Testsummary reads `go test -json` on standard input and prints what a person
// wants to know: every failure with its output, every skip with its reason,
// the ten slowest tests and the totals. It exits 1 when a test failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

type result struct {
	name    string
	seconds float64
	output  []string
}

type summary struct {
	passed, failed, skipped []result
	packages                []result // whole packages: build failures and panics have no test name
}

func main() {
	s, err := read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
	s.print(os.Stdout)
	if len(s.failed)+len(s.packages) > 0 {
		os.Exit(1)
	}
}

func read(r io.Reader) (*summary, error) {
	var s summary
	output := map[string][]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line %q is not an event of go test -json: %w", lines.Text(), err)
		}
		name := e.Package + e.ImportPath
		if e.Test != "" {
			name += "." + e.Test
		}
		res := result{name, e.Elapsed, output[name]}
		switch e.Action {
		case "output", "build-output":
			output[name] = append(output[name], e.Output)
		case "pass":
			if e.Test != "" {
				s.passed = append(s.passed, res)
			}
		case "skip":
			if e.Test != "" {
				s.skipped = append(s.skipped, res)
			}
		case "fail", "build-fail":
			if e.Test != "" {
				s.failed = append(s.failed, res)
			} else {
				s.packages = append(s.packages, res)
			}
		}
	}
	return &s, lines.Err()
}

func (s *summary) print(w io.Writer) {
	for _, r := range append(append([]result{}, s.packages...), s.failed...) {
		fmt.Fprintf(w, "FAIL %s (%.1fs)\n%s", r.name, r.seconds, strings.Join(r.output, ""))
	}
	for _, r := range s.skipped {
		fmt.Fprintf(w, "skip %s: %s\n", r.name, reason(r.output))
	}
	all := append(append([]result{}, s.passed...), s.failed...)
	sort.Slice(all, func(i, j int) bool { return all[i].seconds > all[j].seconds })
	fmt.Fprintln(w, "the ten slowest tests:")
	for _, r := range all[:min(10, len(all))] {
		fmt.Fprintf(w, "%8.2fs  %s\n", r.seconds, r.name)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", len(s.passed), len(s.failed), len(s.skipped))
}

// reason is the skipped test's own message: the lines that are not go test's
// framing.
func reason(output []string) string {
	var kept []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, " ")
}
