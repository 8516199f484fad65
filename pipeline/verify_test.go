package pipeline

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/dp/ledger"
)

// statedLedger writes a statement and, in the folder beside its own, the ledger
// that it is made of.
func statedLedger(t *testing.T) (statement string, m *ledger.Machine, s *Statement) {
	t.Helper()
	m = inspectedLedger(t, ledger.Budget{EpsilonMicro: 2_500_000, DeltaNumerator: 1, DeltaExponent: 5})
	s, err := newStatement(m.View(), ledger.RunID{0xc0, 0xff, 0xee})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, name := range []string{"share", "private"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(folder, "private"), ledgerExport, ledger.Export(m.Events()), nil)
	content, err := s.JSON()
	return put(t, filepath.Join(folder, "share"), "privacy.json", content, err), m, s
}

func TestVerifyStatement(t *testing.T) {
	path, m, s := statedLedger(t)
	v, err := VerifyStatement(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if !v.Verified || v.LaterEntries != 0 || !strings.Contains(v.Text(), "verified: the statement says what the ledger says") {
		t.Errorf("got %+v", v)
	}
	if s.EpsilonSpent <= 0 || s.EpsilonSpent >= s.EpsilonGranted || s.LedgerEntries != len(m.Events()) {
		t.Errorf("the statement is of nothing: %+v", s)
	}
}

// Whatever a statement claims more or less than its ledger has is found.
// (Tried by taking single comparisons out of compare.)
func TestVerifyFindsEveryFalseClaim(t *testing.T) {
	path, m, s := statedLedger(t)
	for name, change := range map[string]func(s *Statement){
		"ε granted":              func(s *Statement) { s.EpsilonGranted *= 1 - 1e-6 },
		"ε spent":                func(s *Statement) { s.EpsilonSpent *= 1 - 1e-6 },
		"ε budget of the run":    func(s *Statement) { s.EpsilonBudget = 2 },
		"δ":                      func(s *Statement) { s.Delta /= 10 },
		"ε granted by Rényi DP":  func(s *Statement) { s.RDPEpsilonGranted /= 2 },
		"ε spent by Rényi DP":    func(s *Statement) { s.RDPEpsilonSpent = 0 },
		"adjacency":              func(s *Statement) { s.Adjacency = "replace one" },
		"images declared public": func(s *Statement) { s.DataPublic = !s.DataPublic },
		"unit":                   func(s *Statement) { s.Unit = "hospital" },
		"phases":                 func(s *Statement) { s.Mechanisms = append(s.Mechanisms, StatementPhase{Phase: "more"}) },
		phaseFinetune:            func(s *Statement) { s.Mechanisms[0].StepsCharged-- },
		"data domain": func(s *Statement) {
			d := *s.Domain
			d.Runs = nil
			s.Domain = &d
		},
		"nominal number of units": func(s *Statement) { s.NominalSize++ },
	} {
		c := *s
		c.Mechanisms = append([]StatementPhase(nil), s.Mechanisms...)
		change(&c)
		content, err := c.JSON()
		put(t, filepath.Dir(path), filepath.Base(path), content, err)
		v, err := VerifyStatement(path, "")
		if !errors.Is(err, ErrNotVerified) || v == nil || v.Verified {
			t.Errorf("%s: error %v", name, err)
			continue
		}
		for _, check := range v.Checks {
			if check.Holds == (check.What == name) {
				t.Errorf("%s: check %+v", name, check)
			}
		}
		if !strings.Contains(v.Text(), "NOT SO  "+name) {
			t.Errorf("%s: not said in\n%s", name, v.Text())
		}
	}
	for name, change := range map[string]func(s *Statement){
		"not the ledger of":  func(s *Statement) { s.LedgerEntries-- },
		"or was cut off":     func(s *Statement) { s.LedgerEntries = len(m.Events()) + 1 },
		"or edited: it has ": func(s *Statement) { s.LedgerHead = strings.Repeat("0", 64) },
		"does not know run":  func(s *Statement) { s.RunID = strings.Repeat("ab", 16) },
		"hexadecimal":        func(s *Statement) { s.RunID = "x" },
		"has format":         func(s *Statement) { s.Format++ },
	} {
		c := *s
		change(&c)
		content, err := c.JSON()
		put(t, filepath.Dir(path), filepath.Base(path), content, err)
		if v, err := VerifyStatement(path, ""); v != nil || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// A ledger may grow after a statement, by anything but charges of its run.
func TestVerifyWithALaterLedger(t *testing.T) {
	path, m, s := statedLedger(t)
	open, _ := m.Run(ledger.RunID{0xc0, 0xff, 0xee})
	entry := func(e ledger.Entry) {
		t.Helper()
		raw, err := ledger.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if a := m.Apply(raw); a.Err != nil {
			t.Fatal(a.Err)
		}
		put(t, filepath.Join(filepath.Dir(path), "..", "private"), ledgerExport, ledger.Export(m.Events()), nil)
	}
	entry(ledger.Commit{Run: open.Admit.Run, Prev: m.Head(), Plan: open.Open.ID, Charge: open.Open.Charge, PrevState: open.Open.Plan.State, NewState: ledger.Hash{2}})
	if v, err := VerifyStatement(path, ""); err != nil || v.LaterEntries != 1 {
		t.Errorf("a commit later: %+v, %v", v, err)
	}
	entry(ledger.Plan{Run: open.Admit.Run, Prev: m.Head(), Phase: phaseFinetune, Step: 2, Nonce: ledger.Nonce{9}, Arithmetic: "cpu-f32", State: ledger.Hash{2}})
	open, _ = m.Run(open.Admit.Run)
	entry(ledger.Charge{Run: open.Admit.Run, Prev: m.Head(), Plan: open.Open.ID, Charge: ledger.ChargeID{9}})
	if _, err := VerifyStatement(path, ""); !errors.Is(err, ErrNotVerified) {
		t.Errorf("a charge after the statement: %v", err)
	}
	// A ledger without the statement's last entries was cut off.
	short := put(t, t.TempDir(), "short.export", ledger.Export(m.Events()[:s.LedgerEntries-1]), nil)
	if _, err := VerifyStatement(path, short); err == nil || !strings.Contains(err.Error(), "was cut off") {
		t.Errorf("a ledger cut off: %v", err)
	}
}

func TestVerifyNeedsALedger(t *testing.T) {
	path, m, _ := statedLedger(t)
	alone := t.TempDir()
	content, err := os.ReadFile(path)
	path = put(t, alone, "privacy.json", content, err)
	if _, err := VerifyStatement(path, ""); err == nil || !strings.Contains(err.Error(), "give the exported ledger with --ledger") {
		t.Errorf("without a ledger: %v", err)
	}
	put(t, alone, ledgerExport, ledger.Export(m.Events()), nil)
	if _, err := VerifyStatement(path, ""); err != nil {
		t.Errorf("beside its ledger: %v", err)
	}
	edited := ledger.Export(m.Events())
	edited[len(edited)/2] ^= 1
	put(t, alone, ledgerExport, edited, nil)
	if _, err := VerifyStatement(path, ""); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("with an edited ledger: %v", err)
	}
}
