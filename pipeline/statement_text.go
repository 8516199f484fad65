package pipeline

import (
	"bytes"
	"fmt"
	"math"
	"text/template"

	"github.com/dploda/dploda/internal/config"
)

// up writes an ε with four decimals, rounded up: a claim must not be smaller
// than what holds.
func up(epsilon float64) string { return fmt.Sprintf("%.4f", math.Ceil(epsilon*1e4)/1e4) }

var markdown = template.Must(template.New("PRIVACY.md").Funcs(template.FuncMap{"up": up}).Parse(
	`# Privacy statement

{{if eq .Unit "image"}}**The unit of protection is one image.** A person with m images in the data is
protected correspondingly less: at most m·ε, with a larger δ.
{{else}}**The unit of protection is one unit of the unit file** (for example one patient),
with all its images. The number of images of a unit does not matter.
{{end}}
This run is (ε, δ)-differentially private with **ε = {{up .EpsilonGranted}}** at
**δ = {{printf "%g" .Delta}}** (granted: every planned step and the reserve; the run's budget
was {{printf "%g" .EpsilonBudget}}). Its ledger recorded charges that amount to ε = {{up .EpsilonSpent}}.

In words: {{.InWords}}

| | |
|---|---|
| adjacency | {{.Adjacency}} |
| unit | {{.Unit}} |
| accountant | {{.Accountant}} |
| cross-check by Rényi DP | ε ≤ {{up .RDPEpsilonGranted}} granted, {{up .RDPEpsilonSpent}} spent |
| nominal number of units | {{.NominalSize}} (public, declared; the true number is not used) |
| base model, public | sha256 {{.Base.SHA256}}{{with .Base.PublicData}}, trained on {{.}}{{end}} |
| earlier private adapters | {{range .EarlierAdapters}}{{.}} {{else}}none: the run began from public values{{end}} |
| data domain | {{.Domain.Summary}} |
{{range .Domain.Revisions}}| revised | to ε {{printf "%g" .Epsilon}}: {{.Reason}} |
{{end}}| run | {{.RunID}} |
| ledger | {{.LedgerEntries}} entries, head {{.LedgerHead}} |
| made by | dploda {{.Version}} |

## What touched the private images

| phase | mechanism | sampling rate | noise multiplier | σ / Δ on the grid | clip norm | coordinates | steps charged / planned + reserve |
|---|---|---|---|---|---|---|---|
{{range .Mechanisms}}| {{.Phase}} | {{.Mechanism}} | {{printf "%.6g" .SampleRate}} | {{printf "%.6g" .NoiseMultiplier}} | {{.SigmaGrid}} / {{.DeltaGrid}} | {{printf "%g" .ClipNorm}} | {{.Coordinates}} | {{.StepsCharged}} / {{.StepsPlanned}} + {{.StepsReserved}} |
{{end}}{{range $phase := .Mechanisms}}{{with $phase.SideCoordinates}}
In {{$phase.Phase}}, {{.}}.
{{end}}{{end}}
Each {{.Unit}}'s contribution is a vector of integers whose norm is checked
against Δ; the sum of contributions is exact; one Gaussian draw, sampled exactly
on the same grid, is added to it once a step by the coordinator; each draw was
charged in the ledger before anything noised left the coordinator's memory.

Besides:

{{range .OtherUses}}- {{.}}
{{end}}
## What the statement covers

It covers everything in this folder: the adapter, the synthetic images, the
pictures and the figures are computed from the released sums and from public
data alone.

{{range .ThreatModel}}- {{.}}
{{end}}
{{if .Domain.Public}}The images are declared public: other runs on the same images keep budgets of
their own, and what they spent adds to this run's.
{{else}}Other runs on the same images, trials of settings among them, are charged to the
same data domain: together they stay within its ε = {{printf "%g" .Domain.Limit}} at δ = {{printf "%g" .Domain.Delta}}, under any
name. That is the promise to whoever sees the outputs of all of them.
{{end}}{{if .DataPublic}}
The accuracies in report.json were measured exactly, on real images and with classifiers trained on real images:
those figures are not covered.
{{end}}
## Check it

    dploda ledger verify privacy.json --ledger ledger.export

computes every figure above again, on any machine, from the exported ledger
(in the run's private folder) and from nothing else.`))

// InWords is what the statement promises, in one sentence.
func (s *Statement) InWords() string {
	change := "been absent from the data (or been added)"
	if s.Adjacency == config.ReplaceOne {
		change = "been exchanged for any other"
	}
	return fmt.Sprintf(`whatever is computed from this folder would have come out nearly as
likely had any single %s %s: no
probability changes by more than the factor e^ε, but for an event of probability δ.`, s.Unit, change)
}

// Markdown is the statement as share/PRIVACY.md.
func (s *Statement) Markdown() ([]byte, error) {
	var b bytes.Buffer
	if err := markdown.Execute(&b, s); err != nil {
		return nil, fmt.Errorf("write the privacy statement: %w", err)
	}
	return b.Bytes(), nil
}
