package pipeline

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
)

// statementFormat is the version of privacy.json. docs/privacy.schema.json
// describes it.
const statementFormat = 2

// Statement is share/privacy.json: what was promised and what was spent, as
// the run's ledger has it.
type Statement struct {
	Format         int     `json:"format"`
	EpsilonGranted float64 `json:"epsilon_granted"` // the formal claim: planned steps and reserve
	EpsilonSpent   float64 `json:"epsilon_spent"`   // the charges that the ledger recorded
	EpsilonBudget  float64 `json:"epsilon_budget"`
	Delta          float64 `json:"delta"`
	Adjacency      string  `json:"adjacency"`
	Unit           string  `json:"unit"`
	Accountant     string  `json:"accountant"` // name and version
	// The same charges by Rényi DP alone: an independent upper bound.
	RDPEpsilonGranted float64 `json:"rdp_epsilon_granted"`
	RDPEpsilonSpent   float64 `json:"rdp_epsilon_spent"`

	NominalSize int64            `json:"nominal_size"` // units, declared; never the true number
	Mechanisms  []StatementPhase `json:"mechanisms"`

	// Domain is the data domain that the run was charged to, with all its runs.
	Domain *DomainFacts `json:"domain"`
	// DataPublic says that the images are declared public, and that report.json
	// therefore holds exact accuracies on them, which nothing here covers.
	DataPublic bool          `json:"data_declared_public"`
	Base       StatementBase `json:"base"`
	// EarlierAdapters are adapters trained on private images from which this
	// run began. Their privacy is spent too.
	EarlierAdapters []string `json:"earlier_private_adapters"`
	OtherUses       []string `json:"other_uses_of_the_private_images"`
	ThreatModel     []string `json:"threat_model"`

	RunID         string `json:"run_id"`
	LedgerHead    string `json:"ledger_head"` // hash chain over every event
	LedgerEntries int    `json:"ledger_entries"`
	Version       string `json:"version"`
}

// StatementBase is the public model on which the run is built.
type StatementBase struct {
	SHA256     string `json:"sha256"` // of configuration and weights
	PublicData string `json:"public_data"`
}

// StatementPhase is one mechanism as it ran.
type StatementPhase struct {
	Phase           string  `json:"phase"`
	Mechanism       string  `json:"mechanism"`
	SampleRate      float64 `json:"sample_rate"`
	NoiseMultiplier float64 `json:"noise_multiplier"`
	SigmaGrid       int64   `json:"sigma_grid"` // noise standard deviation, grid units
	DeltaGrid       int64   `json:"delta_grid"` // L2 sensitivity, grid units
	ClipNorm        float64 `json:"clip_norm"`
	Coordinates     int     `json:"coordinates"`
	// DeltaGrid² is at least GradientDeltaGrid² + LossDeltaGrid² + ClipDeltaGrid²:
	// of the coordinates, the last ones are a private training curve's.
	GradientDeltaGrid int64   `json:"gradient_delta_grid"`
	LossDeltaGrid     int64   `json:"loss_delta_grid,omitempty"`
	LossBound         float64 `json:"loss_bound,omitempty"`
	ClipDeltaGrid     int64   `json:"clip_delta_grid,omitempty"`

	StepsPlanned  int `json:"steps_planned"`
	StepsReserved int `json:"steps_reserved"`
	StepsCharged  int `json:"steps_charged"`
}

// SideCoordinates says what a phase releases beside its gradient; "" if nothing.
func (p StatementPhase) SideCoordinates() string {
	var what, deltas []string
	if p.LossDeltaGrid > 0 {
		what = append(what, fmt.Sprintf("its mean loss (each counts up to %g)", p.LossBound))
		deltas = append(deltas, fmt.Sprintf(" + %d²", p.LossDeltaGrid))
	}
	if p.ClipDeltaGrid > 0 {
		what = append(what, "its share of clipped gradients")
		deltas = append(deltas, fmt.Sprintf(" + %d²", p.ClipDeltaGrid))
	}
	if what == nil {
		return ""
	}
	cost := float64(p.DeltaGrid)/float64(p.GradientDeltaGrid) - 1
	return fmt.Sprintf("each step also releases %s: Δ² = %d²%s, %.2g %% more noise than the gradient alone needs",
		strings.Join(what, " and "), p.GradientDeltaGrid, strings.Join(deltas, ""), 100*cost)
}

// JSON is the statement as indented JSON.
func (s *Statement) JSON() ([]byte, error) {
	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}

// What a statement says of every run of this version.
var (
	otherUses = []string{
		"keyed hashes of the images (HMAC-SHA256), kept by the site to recognise them in later runs, not in this folder",
		"no accuracy, picture or count of the private images was computed for this folder",
	}
	otherUsesPublic = []string{
		"keyed hashes of the images (HMAC-SHA256), kept in the run's private folder",
		"exact accuracies in report.json, on the images declared public: not covered by this statement",
	}
	threatModel = []string{
		"holds against whoever reads this folder, whatever else they know, other images of the data set included",
		"the workers and the coordinator that computed it are trusted, and so are the disks they kept the ledger on",
		"holds while the run's sampling secret, destroyed at the end of the run, was not copied before",
		"covers the spending that this ledger recorded; not other ledgers, copies or uses of the same images",
		"does not cover timing: who watched the machines work saw how long steps took",
	}
)

// newStatement says what the ledger, whose entries lead to view, has of a run.
func newStatement(view ledger.View, id ledger.RunID) (*Statement, error) {
	run, ok := view.Run(id)
	if !ok {
		return nil, fmt.Errorf("the ledger does not know run %s", id)
	}
	s := &Statement{
		Format: statementFormat, EpsilonBudget: run.Admit.Budget.Epsilon(), Delta: run.Admit.Budget.Delta(),
		Unit: run.Admit.Unit.String(), Accountant: account.Accountant,
		EarlierAdapters: []string{}, ThreatModel: threatModel,
		RunID: hexID(id), LedgerHead: view.Head.String(), LedgerEntries: view.Entries, Version: Version,
	}
	s.NominalSize = run.Admit.Phases[0].Nominal()
	d, _ := view.Domain(run.Admit.Domain) // the ledger admits no run without one
	s.Adjacency, s.DataPublic = d.Register.Adjacency.String(), d.Register.Public
	var err error
	if s.Domain, err = describeDomain(view, d); err != nil {
		return nil, err
	}
	if s.EpsilonGranted, s.RDPEpsilonGranted, err = epsilons(domain.Granted(run.Admit.Phases), s.Delta, d.Register.Adjacency); err != nil {
		return nil, err
	}
	if s.EpsilonSpent, s.RDPEpsilonSpent, err = epsilons(domain.Spent(run), s.Delta, d.Register.Adjacency); err != nil {
		return nil, err
	}
	for _, p := range run.Phases {
		s.Mechanisms = append(s.Mechanisms, describePhase(p.Mechanism, p.Charges))
	}
	return s, nil
}

// epsilons is the accountant's ε of the events and that of its cross-check.
func epsilons(events []account.Event, delta float64, a ledger.Adjacency) (epsilon, rdp float64, err error) {
	g, err := account.Epsilon(events, delta, domain.AccountantsAdjacency(a))
	return g.Epsilon, g.RDPEpsilon, err
}

// writeStatement writes privacy.json and PRIVACY.md: from the ledger alone,
// but for what the run's configuration declares public.
func (r *run) writeStatement(view ledger.View) (*Statement, error) {
	s, err := newStatement(view, ledger.RunID(r.identity.RunID))
	if err != nil {
		return nil, err
	}
	s.Base = StatementBase{SHA256: r.base.Hash, PublicData: r.base.Traits.PublicData}
	s.OtherUses = otherUses
	if s.DataPublic {
		s.OtherUses = otherUsesPublic
	}
	content, err := s.JSON()
	if err != nil {
		return nil, err
	}
	if err := r.folder.WriteFile(filepath.Join("share", "privacy.json"), content); err != nil {
		return nil, err
	}
	if content, err = s.Markdown(); err != nil {
		return nil, err
	}
	return s, r.folder.WriteFile(filepath.Join("share", "PRIVACY.md"), content)
}
