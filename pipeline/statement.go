package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"text/template"
)

// Statement is share/privacy.json: what was promised and what was spent, as
// the run's ledger has it. Format 1.
type Statement struct {
	Format         int              `json:"format"`
	EpsilonGranted float64          `json:"epsilon_granted"` // the formal claim: planned steps and reserve
	EpsilonSpent   float64          `json:"epsilon_spent"`   // the charges that the ledger recorded
	EpsilonBudget  float64          `json:"epsilon_budget"`
	Delta          float64          `json:"delta"`
	Adjacency      string           `json:"adjacency"`
	Unit           string           `json:"unit"`
	Accountant     string           `json:"accountant"`
	NominalSize    int              `json:"nominal_size"`
	Mechanisms     []StatementPhase `json:"mechanisms"`
	// DataPublic says that the images are declared public, and that report.json
	// therefore holds exact accuracies on them, which nothing here covers.
	DataPublic bool   `json:"data_declared_public"`
	Base       string `json:"base"` // sha256 of the public base model
	RunID      string `json:"run_id"`
	LedgerHead string `json:"ledger_head"` // hash chain over every event
	Version    string `json:"version"`
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
		what = append(what, fmt.Sprintf("its mean loss, up to %g", p.LossBound))
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

// up writes an ε with four decimals, rounded up: a claim must not be smaller
// than what holds.
func up(epsilon float64) string { return fmt.Sprintf("%.4f", math.Ceil(epsilon*1e4)/1e4) }

var markdown = template.Must(template.New("PRIVACY.md").Funcs(template.FuncMap{"up": up}).Parse(
	`# Privacy statement

**The unit of protection is one image.** A person with m images in the data is
protected correspondingly less.

This run is (ε, δ)-differentially private with **ε = {{up .EpsilonGranted}}** at
**δ = {{printf "%g" .Delta}}** (granted; the budget was {{printf "%g" .EpsilonBudget}}). Its ledger recorded charges
that amount to ε = {{up .EpsilonSpent}}.

| | |
|---|---|
| adjacency | {{.Adjacency}} |
| unit | {{.Unit}} |
| accountant | {{.Accountant}} |
| nominal data set size | {{.NominalSize}} (public, declared; the true size is not used) |
| base model, public | sha256 {{.Base}} |
| run | {{.RunID}} |
| ledger head | {{.LedgerHead}} |
| made by | dploda {{.Version}} |

## What touched the private images

| phase | mechanism | sampling rate | noise multiplier | σ / Δ on the grid | clip norm | coordinates | steps charged / planned + reserve |
|---|---|---|---|---|---|---|---|
{{range .Mechanisms}}| {{.Phase}} | {{.Mechanism}} | {{printf "%.6g" .SampleRate}} | {{printf "%.6g" .NoiseMultiplier}} | {{.SigmaGrid}} / {{.DeltaGrid}} | {{printf "%g" .ClipNorm}} | {{.Coordinates}} | {{.StepsCharged}} / {{.StepsPlanned}} + {{.StepsReserved}} |
{{end}}{{range $phase := .Mechanisms}}{{with $phase.SideCoordinates}}
In {{$phase.Phase}}, {{.}}.
{{end}}{{end}}
Each example's contribution is a vector of integers whose norm is checked
against Δ; the sum of contributions is exact; one Gaussian draw, sampled exactly
on the same grid, is added to it once a step by the coordinator; each draw was
charged in the ledger before anything noised left the coordinator's memory.

## What the statement covers

It covers everything in this folder: the adapter, the synthetic images, the
pictures and the figures are computed from the released sums and from public
data alone. It covers the spending that the ledger recorded for this run, while the
sampling secret stays secret, against whoever sees this folder; the workers and
the coordinator that computed it are trusted. It does not cover other runs on
the same images, whose spending adds to this one's, other copies or other uses
of them, nor choices that people made after looking at them. Settings that were
tuned on the same images in earlier runs cost budget of their own.
{{if .DataPublic}}
The images are declared public. The accuracies in report.json were therefore
measured exactly, on real images and with classifiers trained on real images:
those figures are not covered.
{{end}}`))

// Markdown is the statement as share/PRIVACY.md.
func (s *Statement) Markdown() ([]byte, error) {
	var b bytes.Buffer
	if err := markdown.Execute(&b, s); err != nil {
		return nil, fmt.Errorf("write the privacy statement: %w", err)
	}
	return b.Bytes(), nil
}
