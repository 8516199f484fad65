package pipeline

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/config"
)

func TestBudgetHasTheDigitsOfTheConfig(t *testing.T) {
	for _, tc := range []struct {
		epsilon, delta float64
		want           ledger.Budget
	}{
		{10, 1e-5, ledger.Budget{EpsilonMicro: 10_000_000, DeltaNumerator: 1, DeltaExponent: 5}},
		{8.2, 2.5e-6, ledger.Budget{EpsilonMicro: 8_200_000, DeltaNumerator: 25, DeltaExponent: 7}}, // 8.2·10⁶ is below 8200000 in float64
		{0.29, 0.000123, ledger.Budget{EpsilonMicro: 290_000, DeltaNumerator: 123, DeltaExponent: 6}},
		{1000, 1e-30, ledger.Budget{EpsilonMicro: 1_000_000_000, DeltaNumerator: 1, DeltaExponent: 30}},
		{1.0 / 3, 0.5, ledger.Budget{EpsilonMicro: 333_333, DeltaNumerator: 5, DeltaExponent: 1}}, // cut, never rounded up
		{1.9999999, 1e-5, ledger.Budget{EpsilonMicro: 1_999_999, DeltaNumerator: 1, DeltaExponent: 5}},
	} {
		got, err := budget(config.Privacy{Epsilon: tc.epsilon, Delta: tc.delta}, false)
		if err != nil || got != tc.want {
			t.Errorf("(%v, %v) is %+v (error %v), want %+v", tc.epsilon, tc.delta, got, err, tc.want)
		}
		if got.Delta() != tc.delta || got.Epsilon() > tc.epsilon {
			t.Errorf("the ledger reads (%v, %v) as (%v, %v)", tc.epsilon, tc.delta, got.Epsilon(), got.Delta())
		}
	}
	for _, p := range []config.Privacy{
		{Epsilon: 1, Delta: 1.0 / 60000},  // seventeen digits
		{Epsilon: 1, Delta: 1e-31},        // too many places
		{Epsilon: 1e-7, Delta: 1e-5},      // nothing is left of it
		{Epsilon: math.NaN(), Delta: 0.1}, // no number
	} {
		if b, err := budget(p, false); err == nil || !strings.Contains(err.Error(), "privacy") {
			t.Errorf("%+v is taken as %+v (error %v)", p, b, err)
		}
	}
	b, err := budget(config.Privacy{Epsilon: 1, Delta: 1e-5}, true)
	if err != nil || b.EpsilonMicro != ledger.Unlimited {
		t.Errorf("in test mode the budget is %+v (error %v), want an unlimited one", b, err)
	}
}

// Everything that may be charged, reserves included, costs at most the budget
// and nearly all of it.
func TestResolveSpendsTheBudgetAndNoMore(t *testing.T) {
	for name, changes := range map[string][]string{
		"with prototypes":    nil,
		"without prototypes": {"prototypes: {clusters: 2, rounds: 2, noise_multiplier: 20, size: 8}", ""},
		"everyone each step": {"batch: 16", "batch: 60"},
		"a small budget":     {"epsilon: 8.2", "epsilon: 0.3333333", "noise_multiplier: 20", "noise_multiplier: 100"},
		"many steps":         {"steps: 4,", "steps: 2000,"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := tinySpec(t, changes...)
			r, err := resolve(spec)
			if err != nil {
				t.Fatal(err)
			}
			b, err := budget(spec.Privacy, false)
			if err != nil {
				t.Fatal(err)
			}
			g, err := account.Epsilon(domain.Granted(r.mechanisms), b.Delta(), account.AddRemove)
			if err != nil || g.Epsilon > b.Epsilon() || g.Epsilon < 0.999*b.Epsilon() {
				t.Errorf("granted ε is %v of %v (error %v)", g.Epsilon, b.Epsilon(), err)
			}
			f := r.finetune()
			if f.Reserve != plan.DefaultReserve(spec.Finetune.Steps) || f.Divisor != float64(spec.Finetune.Batch) {
				t.Errorf("reserve %d and divisor %v are not the plan's", f.Reserve, f.Divisor)
			}
			for _, m := range r.mechanisms {
				without := m
				without.Reserve = 0
				if one := domain.Granted([]plan.Mechanism{m})[0]; one.Steps != m.Steps+m.Reserve || m.Reserve == 0 {
					t.Errorf("phase %s: %d charges are accounted for %d steps and a reserve of %d", m.Phase, one.Steps, m.Steps, m.Reserve)
				}
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	plain := tinyBase(t, false)
	for name, tc := range map[string]struct {
		change func(*config.RunSpec)
		want   string
	}{
		"no prototype channel":         {func(s *config.RunSpec) { s.Base = plain }, "no prototype channel"},
		"another size":                 {func(s *config.RunSpec) { s.Prototypes.Size = 14 }, "prototypes.size is 14"},
		"no base":                      {func(s *config.RunSpec) { s.Base = "builtin:nothing" }, "builtin:demo"},
		"no classes":                   {func(s *config.RunSpec) { s.Data.ClassNames = nil }, "data.class_names"},
		"prototypes cost more":         {func(s *config.RunSpec) { s.Prototypes.NoiseMultiplier = 0.1 }, "privacy.epsilon"},
		"a grid too coarse":            {func(s *config.RunSpec) { s.Data.NominalSize, s.Prototypes.NoiseMultiplier = 1e7, 1e6 }, "too coarse"},
		"a delta the ledger cannot do": {func(s *config.RunSpec) { s.Privacy.Delta = 1.0 / 60000 }, "nine digits"},
		"a rank of nothing":            {func(s *config.RunSpec) { s.Adapter.Rank = 0 }, "rank"},
		"targets that are not there":   {func(s *config.RunSpec) { s.Adapter.Targets = []string{"no.such.module"} }, "no.such.module"},
	} {
		spec := tinySpec(t)
		tc.change(spec)
		if _, err := resolve(spec); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v should say %q", name, err, tc.want)
		}
	}
}

// What was spent is read off the charges of the view and nothing else.
func TestSpentIsWhatWasCharged(t *testing.T) {
	r := tinyRun(t)
	view := ledger.RunView{Phases: []ledger.PhaseView{
		{Mechanism: r.mechanisms[0], Charges: 3, Commits: 2}, {Mechanism: r.mechanisms[1]},
	}}
	got := domain.Spent(view)
	m := r.mechanisms[0]
	if want := (account.Event{SampleRate: 1, NoiseMultiplier: m.NoiseMultiplier(), Steps: 3}); len(got) != 1 || got[0] != want {
		t.Errorf("spent %+v, want %+v: charges count, commits do not", got, want)
	}
	view.Phases[1].Charges = 1
	if got := domain.Spent(view); len(got) != 2 || got[1].Steps != 1 || got[1].SampleRate != r.mechanisms[1].SampleRate() {
		t.Errorf("spent %+v after a charge of the second phase", got)
	}
	if got := domain.Spent(ledger.RunView{}); len(got) != 0 {
		t.Errorf("an empty ledger has spent %+v", got)
	}
}

// How the work is done changes neither the noise nor its price. (Tried with a
// noise multiplier divided by the number of workers.)
func TestWorkersChangeNoMechanism(t *testing.T) {
	var want []plan.Mechanism
	for _, w := range []config.Workers{
		{Count: 1, Min: 1, MicroBatch: 16}, {Count: 8, Min: 2, MicroBatch: 16, Processes: true}, {Count: 3, Min: 1, Threads: 4, MicroBatch: 1},
	} {
		spec := tinySpec(t)
		spec.Workers = w
		r, err := resolve(spec)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = r.mechanisms
		}
		if !slices.Equal(r.mechanisms, want) {
			t.Errorf("workers %+v: mechanisms %+v instead of %+v", w, r.mechanisms, want)
		}
	}
}

// A budget for data sets of which one unit is exchanged needs more
// noise, up to twice, and dry runs say for which it is. (Tried with the
// adjacency left out of Calibrate.)
func TestReplaceOneNeedsMoreNoise(t *testing.T) {
	noise := map[string]float64{}
	for _, adjacency := range []string{config.AddRemove, config.ReplaceOne} {
		spec := tinySpec(t, "prototypes: {clusters: 2, rounds: 2, noise_multiplier: 20, size: 8}", "")
		spec.Privacy.Adjacency = adjacency
		r, err := resolve(spec)
		if err != nil {
			t.Fatal(err)
		}
		noise[adjacency] = r.finetune().NoiseMultiplier()
		g, err := account.Epsilon(domain.Granted(r.mechanisms), spec.Privacy.Delta, r.adjacency())
		if err != nil || g.Epsilon > spec.Privacy.Epsilon || g.Epsilon < 0.999*spec.Privacy.Epsilon || g.Adjacency.String() != r.adjacency().String() {
			t.Errorf("%s: ε %v of %v (%v)", adjacency, g.Epsilon, spec.Privacy.Epsilon, err)
		}
		plan, err := DryRun(spec, t.TempDir())
		if err != nil || plan.Adjacency != adjacency || !strings.Contains(plan.Text(), ", "+adjacency+"\n") {
			t.Errorf("%s: the plan does not say so: %v", adjacency, err)
		}
	}
	if ratio := noise[config.ReplaceOne] / noise[config.AddRemove]; ratio < 1.05 || ratio > 2 {
		t.Errorf("the noise for replace-one is %v times that for add-remove", ratio)
	}
}
