package pipeline

import (
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

// ledgerFacts is an exported ledger, verified from its first entry to its head.
type ledgerFacts struct {
	header
	Entries int              `json:"entries"`
	Head    string           `json:"head"`
	Domains []*DomainFacts   `json:"domains"`
	Runs    []ledgerRunFacts `json:"runs"`
}

type ledgerRunFacts struct {
	Run      string `json:"run"`
	Domain   string `json:"domain"`
	Spec     string `json:"spec_sha256"`
	Status   string `json:"status"` // open, complete or closed
	TestMode bool   `json:"test_mode"`
	// EpsilonBudget and EpsilonSpent are null where ε is infinite: in test mode,
	// and where no bound is known.
	EpsilonBudget *float64           `json:"epsilon_budget"`
	EpsilonSpent  *float64           `json:"epsilon_spent"`
	Delta         float64            `json:"delta"`
	Phases        []ledgerPhaseFacts `json:"phases"`
	// Open is the step that is planned and not committed.
	Open *openFacts `json:"open,omitempty"`
}

type ledgerPhaseFacts struct {
	StatementPhase
	Commits  int  `json:"steps_committed"`
	Complete bool `json:"complete"`
}

type openFacts struct {
	Phase   string `json:"phase"`
	Step    uint64 `json:"step"`
	Charged bool   `json:"charged"`
}

func (f *ledgerFacts) title() string {
	return fmt.Sprintf("an exported ledger of %s, its chain of %d entries verified", count(len(f.Runs), "run"), f.Entries)
}

func (f *ledgerFacts) rows(t *table) {
	t.row("head", "%s", f.Head)
	for _, d := range f.Domains {
		d.rows(t)
	}
	for _, r := range f.Runs {
		r.rows(t)
	}
}

func (r ledgerRunFacts) rows(t *table) {
	t.row("run", "%s of domain %s, %s", r.Run, r.Domain, r.Status)
	t.row("  spec", "sha256 %s", r.Spec)
	switch {
	case r.TestMode:
		t.row("  privacy", "test mode: nothing here is private (ε = ∞)")
	case r.EpsilonSpent == nil:
		t.row("  privacy spent", "ε ∞ of %g at δ %g", *r.EpsilonBudget, r.Delta)
	default:
		t.row("  privacy spent", "ε %.6f of %g at δ %g", *r.EpsilonSpent, *r.EpsilonBudget, r.Delta)
	}
	for _, p := range r.Phases {
		state := "open"
		if p.Complete {
			state = "complete"
		}
		t.row("  "+p.Phase, "%s: %d steps planned + %d reserved, %d charged, %d committed", state, p.StepsPlanned, p.StepsReserved, p.StepsCharged, p.Commits)
		t.row("", "q %.6g, noise multiplier %.6g (σ %d, Δ %d grid units), clip norm %g, %d coordinates",
			p.SampleRate, p.NoiseMultiplier, p.SigmaGrid, p.DeltaGrid, p.ClipNorm, p.Coordinates)
		if side := p.SideCoordinates(); side != "" {
			t.row("", "%s", side)
		}
	}
	if r.Open != nil {
		charged := "not charged yet"
		if r.Open.Charged {
			charged = "charged"
		}
		t.row("  under way", "step %d of %s, %s", r.Open.Step, r.Open.Phase, charged)
	}
}

// maxLedgerBytes bounds an export: more than a million steps.
const maxLedgerBytes = 1 << 30

func inspectLedger(path string) (facts, error) {
	events, err := readExport(path)
	if err != nil {
		return nil, err
	}
	view, err := ledger.Verify(events)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged or was edited: %w", path, err)
	}
	f, err := describeLedger(header{"ledger", path}, view)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func describeLedger(h header, view ledger.View) (*ledgerFacts, error) {
	f := &ledgerFacts{header: h, Entries: view.Entries, Head: view.Head.String(), Domains: []*DomainFacts{}, Runs: []ledgerRunFacts{}}
	for _, d := range view.Domains {
		facts, err := describeDomain(view, d)
		if err != nil {
			return nil, err
		}
		f.Domains = append(f.Domains, facts)
	}
	for _, run := range view.Runs {
		r, err := describeRun(view, run)
		if err != nil {
			return nil, fmt.Errorf("what run %s spent cannot be computed: %w", run.Admit.Run, err)
		}
		f.Runs = append(f.Runs, r)
	}
	return f, nil
}

func describeRun(view ledger.View, run ledger.RunView) (ledgerRunFacts, error) {
	a := run.Admit
	r := ledgerRunFacts{
		Run: a.Run.String(), Domain: a.Domain, Spec: a.Spec.String(), Status: runStatus(run), TestMode: a.TestMode, Delta: a.Budget.Delta(),
	}
	for _, p := range run.Phases {
		r.Phases = append(r.Phases, ledgerPhaseFacts{describePhase(p.Mechanism, p.Charges), p.Commits, p.Complete})
	}
	if run.Open != nil {
		r.Open = &openFacts{run.Open.Plan.Phase, run.Open.Plan.Step, run.Open.Charged}
	}
	if a.TestMode {
		return r, nil
	}
	budget := a.Budget.Epsilon()
	r.EpsilonBudget = &budget
	d, _ := view.Domain(a.Domain)
	epsilon, _, err := epsilons(domain.Spent(run), r.Delta, d.Register.Adjacency)
	if err == nil && !math.IsInf(epsilon, 1) {
		r.EpsilonSpent = &epsilon
	}
	return r, err
}

// stateFacts is a site's state folder, by the names of its files: the ledger
// in it belongs to the process that has it open.
type stateFacts struct {
	header
	Runs []stateRunFacts `json:"runs"`
}

type stateRunFacts struct {
	Run string `json:"run"`
	// Secret says whether the key of the run's coins and draws is there. It is
	// destroyed when the run is complete.
	Secret bool              `json:"secret"`
	Phases []statePhaseFacts `json:"phases"`
}

type statePhaseFacts struct {
	Phase       string `json:"phase"`
	Checkpoints int    `json:"checkpoints"`
	Sums        int    `json:"noised_sums"`
}

func (f *stateFacts) title() string {
	return fmt.Sprintf("a site's state folder: its ledger and the private state of %s", count(len(f.Runs), "run"))
}

func (f *stateFacts) rows(t *table) {
	for _, r := range f.Runs {
		secret := "no secret: the run is complete or in test mode"
		if r.Secret {
			secret = "its secret is here"
		}
		t.row("run", "%s, %s", r.Run, secret)
		for _, p := range r.Phases {
			t.row("  "+p.Phase, "%d checkpoints, %d noised sums", p.Checkpoints, p.Sums)
		}
	}
	t.row("the ledger's entries", "are copied to private/ledger.export in a finished run's folder")
}

func inspectState(path string) (facts, error) {
	f := &stateFacts{header: header{"state", path}, Runs: []stateRunFacts{}}
	runs, err := os.ReadDir(filepath.Join(path, "runs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no run has taken a step
		return nil, err
	}
	for _, entry := range runs {
		r := stateRunFacts{Run: entry.Name(), Secret: isThere(path, entry.Name()+".key")}
		folder := filepath.Join(path, "runs", r.Run)
		phases, err := os.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		for _, p := range phases {
			r.Phases = append(r.Phases, statePhaseFacts{
				p.Name(), countFiles(folder, p.Name(), "checkpoints"), countFiles(folder, p.Name(), "sums"),
			})
		}
		f.Runs = append(f.Runs, r)
	}
	return f, nil
}

// countFiles counts the stored files of a folder, 0 if it is not there.
func countFiles(parts ...string) int {
	entries, _ := os.ReadDir(filepath.Join(parts...))
	n := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".dploda") {
			n++
		}
	}
	return n
}
