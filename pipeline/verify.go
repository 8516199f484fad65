package pipeline

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
)

// Verification is a privacy statement held against the ledger that it names.
type Verification struct {
	Statement string `json:"statement"` // paths
	Ledger    string `json:"ledger"`
	Run       string `json:"run_id"`
	// LaterEntries is by how many entries the ledger has grown since.
	LaterEntries int     `json:"later_entries"`
	Verified     bool    `json:"verified"` // every check holds
	Checks       []Check `json:"checks"`
}

// Check is one figure of a statement beside the same figure from the ledger.
type Check struct {
	What   string `json:"what"`
	Stated string `json:"stated"`
	Ledger string `json:"ledger"` // computed from the ledger alone
	Holds  bool   `json:"holds"`
}

// ErrNotVerified is VerifyStatement's error where a statement and its ledger
// disagree; the Verification comes with it.
var ErrNotVerified = errors.New("the statement does not hold")

// sameEpsilon is the relative difference that other machines' logarithms may
// make.
const sameEpsilon = 1e-9

// VerifyStatement computes everything that a privacy.json claims again, from an
// exported ledger and nothing else. An empty ledgerPath means ledger.export
// beside the statement, or in the private folder beside its own.
func VerifyStatement(path, ledgerPath string) (*Verification, error) {
	stated, err := readStatement(path)
	if err != nil {
		return nil, err
	}
	if ledgerPath == "" {
		if ledgerPath, err = findExport(path); err != nil {
			return nil, err
		}
	}
	events, err := readExport(ledgerPath)
	if err != nil {
		return nil, err
	}
	now, err := domain.Verify(events)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged or was edited: %w", ledgerPath, err)
	}
	id, err := parseRunID(stated.RunID)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if n := stated.LedgerEntries; n < 1 || n > len(events) || ledger.HashOf(events[n-1]).String() != stated.LedgerHead {
		return nil, fmt.Errorf("%s is not the ledger of %s, or was cut off or edited: it has no entry %d with the hash %s", ledgerPath, path, n, stated.LedgerHead)
	}
	then, err := domain.Verify(events[:stated.LedgerEntries])
	if err != nil {
		return nil, err
	}
	found, err := newStatement(then, id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ledgerPath, err)
	}
	v := &Verification{Statement: path, Ledger: ledgerPath, Run: stated.RunID, LaterEntries: now.Entries - then.Entries}
	v.compare(stated, found)
	v.compareLater(then, now, id)
	v.Verified = true
	for _, c := range v.Checks {
		v.Verified = v.Verified && c.Holds
	}
	if !v.Verified {
		return v, fmt.Errorf("%w: %s does not say what the ledger %s says", ErrNotVerified, path, ledgerPath)
	}
	return v, nil
}

func readStatement(path string) (*Statement, error) {
	content, err := readAtMost(path, maxJSON)
	if err != nil {
		return nil, err
	}
	var s Statement
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("%s is not a privacy statement: %w", path, err)
	}
	if s.Format != statementFormat {
		return nil, fmt.Errorf("%s has format %d; this version reads format %d", path, s.Format, statementFormat)
	}
	return &s, nil
}

// findExport looks where a run folder keeps its copy of the ledger.
func findExport(statement string) (string, error) {
	folder := filepath.Dir(statement)
	for _, path := range []string{filepath.Join(folder, ledgerExport), filepath.Join(folder, "..", "private", ledgerExport)} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("there is no %s beside %s: give the exported ledger with --ledger", ledgerExport, statement)
}

func readExport(path string) ([][]byte, error) {
	content, err := readAtMost(path, maxLedgerBytes)
	if err != nil {
		return nil, err
	}
	events, err := ledger.Import(content)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return events, nil
}

func parseRunID(text string) (id ledger.RunID, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("run id %q does not have %d hexadecimal digits", text, 2*len(id))
	}
	return ledger.RunID(b), nil
}

// compare holds what is stated against what the ledger gives.
func (v *Verification) compare(stated, found *Statement) {
	for _, e := range []struct {
		what          string
		stated, found float64
	}{
		{"ε granted", stated.EpsilonGranted, found.EpsilonGranted},
		{"ε spent", stated.EpsilonSpent, found.EpsilonSpent},
		{"ε budget of the run", stated.EpsilonBudget, found.EpsilonBudget},
		{"δ", stated.Delta, found.Delta},
		{"ε granted by Rényi DP", stated.RDPEpsilonGranted, found.RDPEpsilonGranted},
		{"ε spent by Rényi DP", stated.RDPEpsilonSpent, found.RDPEpsilonSpent},
	} {
		v.Checks = append(v.Checks, Check{e.what, fmt.Sprintf("%.9g", e.stated), fmt.Sprintf("%.9g", e.found),
			math.Abs(e.stated-e.found) <= sameEpsilon*math.Abs(e.found)})
	}
	v.words("adjacency", stated.Adjacency, found.Adjacency)
	v.words("unit", stated.Unit, found.Unit)
	v.words("images declared public", fmt.Sprint(stated.DataPublic), fmt.Sprint(found.DataPublic))
	v.words("phases", phaseNames(stated.Mechanisms), phaseNames(found.Mechanisms))
	for i := range min(len(stated.Mechanisms), len(found.Mechanisms)) {
		s, f := stated.Mechanisms[i], found.Mechanisms[i]
		v.words(f.Phase, s.figures(), f.figures())
	}
	v.words("data domain", domainFigures(stated.Domain), domainFigures(found.Domain))
	v.words("nominal number of units", fmt.Sprint(stated.NominalSize), fmt.Sprint(found.NominalSize))
}

func (v *Verification) words(what, stated, found string) {
	v.Checks = append(v.Checks, Check{what, stated, found, stated == found})
}

// compareLater finds charges of the run after its statement.
func (v *Verification) compareLater(then, now ledger.View, id ledger.RunID) {
	before, _ := then.Run(id)
	after, _ := now.Run(id)
	v.words("charges up to the ledger's end", fmt.Sprint(charges(before)), fmt.Sprint(charges(after)))
}

func charges(run ledger.RunView) int {
	n := 0
	for _, p := range run.Phases {
		n += p.Charges
	}
	return n
}

func phaseNames(phases []StatementPhase) string {
	var names []string
	for _, p := range phases {
		names = append(names, p.Phase)
	}
	return strings.Join(names, ", ")
}

// figures is the phase in one line, every digit of it.
func (p StatementPhase) figures() string {
	side := ""
	if p.SideCoordinates() != "" {
		side = fmt.Sprintf(" (gradient %d, loss %d up to %v, clip indicator %d)", p.GradientDeltaGrid, p.LossDeltaGrid, p.LossBound, p.ClipDeltaGrid)
	}
	return fmt.Sprintf("%s: q %v, σ/Δ %v = %d/%d%s, clip norm %v, %d coordinates, %d charged of %d + %d",
		p.Mechanism, p.SampleRate, p.NoiseMultiplier, p.SigmaGrid, p.DeltaGrid, side,
		p.ClipNorm, p.Coordinates, p.StepsCharged, p.StepsPlanned, p.StepsReserved)
}

// domainFigures is a domain with its runs in one line, but for the ε spent,
// which machines may compute differently in the last digits.
func domainFigures(f *DomainFacts) string {
	if f == nil {
		return "none"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s of data", f.Summary(), count(f.Versions, "version"))
	for _, r := range f.Revisions {
		fmt.Fprintf(&b, ", revised to ε %v (%s)", r.Epsilon, r.Reason)
	}
	for _, r := range f.Runs {
		fmt.Fprintf(&b, ", run %s: %s, %d charges", r.Run, r.Status, r.Charges)
	}
	return b.String()
}

// Text is the verification for people.
func (v *Verification) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s against %s\n", v.Statement, v.Ledger)
	for _, c := range v.Checks {
		verdict := "ok"
		if !c.Holds {
			verdict = "NOT SO"
		}
		fmt.Fprintf(&b, "  %-7s %-32s %s\n", verdict, c.What, c.Ledger)
		if !c.Holds {
			fmt.Fprintf(&b, "          %-32s %s\n", "but stated", c.Stated)
		}
	}
	if v.LaterEntries > 0 {
		fmt.Fprintf(&b, "  the ledger has grown by %d entries since\n", v.LaterEntries)
	}
	if v.Verified {
		b.WriteString("verified: the statement says what the ledger says\n")
	}
	return b.String()
}
