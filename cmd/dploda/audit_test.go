package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/dploda/dploda/audit"
)

// The quick audit passes, all parts of it, with a real process killed; the whole
// one does, too.
func TestAudit(t *testing.T) {
	args := []string{"audit", "--json"}
	if os.Getenv("DPLODA_TIER") != "full" {
		args = append(args, "--quick")
	}
	code, stdout, stderr := run(t, args...)
	if code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	var r audit.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in\n%s", err, stdout)
	}
	parts := ""
	for _, row := range r.Rows {
		if !strings.HasSuffix(parts, row.Part) {
			parts += row.Part
		}
	}
	if !r.Pass || parts != audit.Parts || len(r.Alarms) != len(audit.Parts) {
		t.Errorf("%+v", r)
	}
}

func TestAuditRefusesParts(t *testing.T) {
	for _, part := range []string{"", "D", "AX"} {
		if code, _, stderr := run(t, "audit", "--part", part); code != exitUsage || !strings.Contains(stderr, "--part is") {
			t.Errorf("--part %q: exit code %d, %s", part, code, stderr)
		}
	}
}
