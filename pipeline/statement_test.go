package pipeline

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/config"
)

func testStatement(t *testing.T) *Statement {
	r := tinyRun(t)
	s := &Statement{
		Format: statementFormat, EpsilonGranted: 8.19999, EpsilonSpent: 7.5, EpsilonBudget: 8.2, Delta: 2.5e-6, Adjacency: "add-remove",
		Unit: "image", Accountant: "RDP", NominalSize: 60, Base: StatementBase{SHA256: "cafe", PublicData: "drawings"}, Domain: testDomain(), EarlierAdapters: []string{}, OtherUses: otherUses, ThreatModel: threatModel,
		RunID: "0123", LedgerHead: "feed", LedgerEntries: 12, Version: "v1",
	}
	for i, m := range r.mechanisms {
		s.Mechanisms = append(s.Mechanisms, describePhase(m, m.Steps+i))
	}
	return s
}

func testDomain() *DomainFacts {
	return &DomainFacts{Domain: "people", Epsilon: finite(8.2), Delta: 2.5e-6, Unit: "image", Adjacency: "add-remove", Versions: 1,
		EpsilonDeclared: finite(8.20001), EpsilonSpent: finite(7.5), Filter: FilterFacts{Order: "2.6", InUse: true, Used: finite(0.9), Spent: finite(0.8), Left: 0.1},
		Runs: []DomainRun{{Run: "0123", Status: "complete", Charges: 9, Declared: true}}, Revisions: []DomainRevised{{Epsilon: 8.2, Reason: "a second hospital"}}}
}

func TestStatement(t *testing.T) {
	s := testStatement(t)
	content, err := s.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var back Statement
	if err := json.Unmarshal(content, &back); err != nil || !reflect.DeepEqual(&back, s) {
		t.Errorf("%+v came back as %+v (error %v)", s, back, err)
	}
	for _, field := range []string{`"epsilon_granted": 8.19999`, `"epsilon_spent": 7.5`, `"delta": 0.0000025`, `"steps_charged": 5`} {
		if !strings.Contains(string(content), field) {
			t.Errorf("privacy.json lacks %s", field)
		}
	}
	text, err := s.Markdown()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"unit of protection is one image", "ε = 8.2000", "δ = 2.5e-06", "ε = 7.5000", "add-remove", "sha256 cafe, trained on drawings", "12 entries, head feed", "none: the run began",
		"| prototypes | Gaussian, exact on an integer grid | 1 | 20 |", "2 / 2 + 1", "| finetune |", "5 / 4 + 3", "people: ε 8.2 at δ 2.5e-06 for one image, add-remove, 1 run in this ledger, which may reach ε 8.2001 together", "| revised | to ε 8.2: a second hospital |",
		"together they stay within its ε = 8.2",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("PRIVACY.md lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "<no value>") || strings.Contains(string(text), "{{") {
		t.Error("the template was not carried out")
	}
}

// What a statement rounds, it rounds against itself; what it does not cover,
// it names.
func TestStatementClaimsNoMoreThanHolds(t *testing.T) {
	if got := up(9.91231); got != "9.9124" {
		t.Errorf("ε 9.91231 is stated as %s", got)
	}
	s := testStatement(t)
	for _, public := range []bool{false, true} {
		s.DataPublic, s.Domain.Public = public, public
		text, err := s.Markdown()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "those figures are not covered") != public || strings.Contains(string(text), "same data domain: together they stay within") == public {
			t.Errorf("data declared public %v:\n%s", public, text)
		}
	}
}

// Only what was computed is in a report: absent accuracies leave no zeros.
func TestReportOfPrivateDataHasNoAccuracy(t *testing.T) {
	epsilon := 1.5
	content, err := (&Report{EpsilonSpent: &epsilon}).JSON()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), `_accuracy"`) || !strings.Contains(string(content), `"epsilon_spent": 1.5`) {
		t.Errorf("the report of a run without a held-out set:\n%s", content)
	}
	if content, _ = (&Report{TestMode: true}).JSON(); !strings.Contains(string(content), `"epsilon_spent": null`) {
		t.Error("in test mode, epsilon_spent should be null")
	}
	accuracy := 0.5
	report := &Report{Name: "x", EpsilonSpent: &epsilon, EpsilonBudget: 2, Delta: 1e-5, ClassifierAccuracy: &accuracy}
	for _, want := range []string{"ε 1.500 of 2", "50.0 %", "out/share/PRIVACY.md"} {
		if got := report.Summary("out"); !strings.Contains(got, want) {
			t.Errorf("the summary lacks %q:\n%s", want, got)
		}
	}
}

// Wall times of a handful of steps on private images are not shared: they tell
// how many images took part.
func TestTimesOfFewPrivateStepsAreNotShared(t *testing.T) {
	for _, tc := range []struct {
		public bool
		steps  int
		want   []string
	}{
		{false, smoothing - 1, []string{stageSample}},
		{false, smoothing, []string{stageSample, phaseFinetune}},
		{true, 1, []string{stageSample, phaseFinetune, phasePrototypes}},
	} {
		r := tinyRun(t)
		r.spec.Data.Public = tc.public
		r.mechanisms = append(r.mechanisms[:1:1], r.finetune())
		r.mechanisms[1].Steps = tc.steps
		r.timings = &timings{Seconds: map[string]float64{stageSample: 1, phaseFinetune: 2, phasePrototypes: 3}}
		got := r.sharedSeconds()
		for _, stage := range tc.want {
			if got[stage] == 0 {
				t.Errorf("public %v, %d steps: no time of %s", tc.public, tc.steps, stage)
			}
		}
		if len(got) != len(tc.want) || len(r.timings.Seconds) != 3 {
			t.Errorf("public %v, %d steps: %v is shared, want %v", tc.public, tc.steps, got, tc.want)
		}
		report := &Report{Seconds: got}
		if report.finishRates(r); (report.ImagesPerSecond != 0) != (got[phaseFinetune] != 0) {
			t.Errorf("public %v, %d steps: a rate of %v images a second", tc.public, tc.steps, report.ImagesPerSecond)
		}
	}
}

func TestTestSeedNeedsPublicData(t *testing.T) {
	seed := uint64(1)
	_, err := Run(t.Context(), tinySpec(t), RunOptions{Out: t.TempDir(), TestSeed: &seed}, nil)
	if err == nil || !strings.Contains(err.Error(), "data.public") {
		t.Errorf("--test-seed on private data: error %v", err)
	}
}

func TestRunFoldersBelongToConfigAndSeed(t *testing.T) {
	one, two := uint64(1), uint64(2)
	spec := tinySpec(t)
	other := *spec
	other.Privacy = config.Privacy{Epsilon: 3, Delta: 1e-5}
	seen := map[string]string{}
	for name, hash := range map[string]string{
		"no seed": runHash(spec, nil), "seed 1": runHash(spec, &one), "seed 2": runHash(spec, &two), "another ε": runHash(&other, nil),
	} {
		if before := seen[hash]; before != "" {
			t.Errorf("the runs with %s and with %s share a folder", name, before)
		}
		seen[hash] = name
	}
}

// docs/privacy.schema.json names every field of a statement, and no other. (Tried
// with a field added to Statement, and with one taken out of the schema.)
func TestSchemaHasTheStatementsFields(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "docs", "privacy.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	type object struct {
		Properties map[string]struct {
			Const      any
			Properties map[string]any
			Items      struct{ Properties map[string]any }
		}
		Required []string
	}
	var schema object
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	if got := schema.Properties["format"].Const; got != float64(statementFormat) {
		t.Errorf("the schema is of format %v", got)
	}
	compare := func(of string, fields reflect.Type, properties []string) {
		t.Helper()
		var names []string
		for i := range fields.NumField() {
			name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
		slices.Sort(names)
		slices.Sort(properties)
		if !slices.Equal(names, properties) {
			t.Errorf("%s has the fields\n%v, the schema\n%v", of, names, properties)
		}
	}
	keys := func(m map[string]any) []string { return slices.Collect(maps.Keys(m)) }
	compare("a statement", reflect.TypeFor[Statement](), slices.Collect(maps.Keys(schema.Properties)))
	compare("a statement that is complete", reflect.TypeFor[Statement](), schema.Required)
	compare("a phase", reflect.TypeFor[StatementPhase](), keys(schema.Properties["mechanisms"].Items.Properties))
	domain := schema.Properties["domain"].Properties
	compare("a domain", reflect.TypeFor[DomainFacts](), keys(domain))
	for name, fields := range map[string]reflect.Type{"filter": reflect.TypeFor[FilterFacts](), "runs": reflect.TypeFor[DomainRun](), "revisions": reflect.TypeFor[DomainRevised]()} {
		of := domain[name].(map[string]any)
		if items, ok := of["items"].(map[string]any); ok {
			of = items
		}
		compare("a domain's "+name, fields, keys(of["properties"].(map[string]any)))
	}
	compare("a base", reflect.TypeFor[StatementBase](), keys(schema.Properties["base"].Properties))
}
