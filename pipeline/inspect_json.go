package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
)

// maxJSON bounds a file that is read whole, in bytes.
const maxJSON = 1 << 24

// jsonKinds are the JSON files by keys that no other has. One that is private
// comes first.
var jsonKinds = []struct {
	keys []string
	read func(path string, content []byte) (facts, error)
}{
	{[]string{"data_key"}, inspectIdentity},
	{[]string{"epsilon_granted", "mechanisms"}, inspectStatement},
	{[]string{"epsilon_budget", "trained_parameters"}, inspectReport},
	{[]string{"prediction_type", "unshuffle"}, inspectTraits},
	{[]string{"block_out_channels"}, inspectNetwork},
	{[]string{"adapter_sha256", "turn"}, inspectSampled},
	{[]string{"format", "config_hash"}, inspectRunMark},
	{[]string{"seconds"}, inspectTimings},
}

// inspectJSON errors without a word of the content: a file that is damaged may
// be a private one.
func inspectJSON(path string) (facts, error) {
	content, err := readAtMost(path, maxJSON)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(content, &object); err != nil {
		return nil, fmt.Errorf("%s is damaged: it is not one whole JSON object", path)
	}
	for _, k := range jsonKinds {
		if hasKeys(object, k.keys) {
			return k.read(path, content)
		}
	}
	return nil, fmt.Errorf("%s is JSON of no known kind: %w", path, errUnknown)
}

func hasKeys(object map[string]json.RawMessage, keys []string) bool {
	for _, k := range keys {
		if _, ok := object[k]; !ok {
			return false
		}
	}
	return true
}

// secretFacts is a file whose content is never shown.
type secretFacts struct {
	header
	Run string `json:"run"`
}

func (f *secretFacts) title() string {
	if f.Kind == "run-secret" {
		return "the secret of run " + f.Run + ", from which its samples follow; it is not shown"
	}
	return "the identity of run " + f.Run + ": its id and the keyed fingerprint of its images, which is not shown"
}

func (f *secretFacts) rows(*table) {}

func inspectIdentity(path string, content []byte) (facts, error) {
	var id identity
	if err := json.Unmarshal(content, &id); err != nil {
		return nil, fmt.Errorf("%s is damaged: it is not a run's identity", path)
	}
	return &secretFacts{header{"run-identity", path}, hexID(id.RunID)}, nil
}

// statementFacts is privacy.json.
type statementFacts struct {
	header
	Statement Statement `json:"statement"`
}

func (f *statementFacts) title() string {
	return fmt.Sprintf("a privacy statement: ε %.4f granted at δ %g", f.Statement.EpsilonGranted, f.Statement.Delta)
}

func (f *statementFacts) rows(t *table) {
	s := f.Statement
	t.row("spent", "ε %.4f of %g", s.EpsilonSpent, s.EpsilonBudget)
	t.row("adjacency", "%s", s.Adjacency)
	t.row("unit", "%s", s.Unit)
	t.row("accountant", "%s", s.Accountant)
	t.row("nominal size", "%d", s.NominalSize)
	for _, p := range s.Mechanisms {
		t.row(p.Phase, "%s: q %.6g, noise multiplier %.6g, %d coordinates, %d steps charged of %d + %d",
			p.Mechanism, p.SampleRate, p.NoiseMultiplier, p.Coordinates, p.StepsCharged, p.StepsPlanned, p.StepsReserved)
	}
	t.row("base", "sha256 %s", s.Base.SHA256)
	t.row("run", "%s", s.RunID)
	t.row("ledger head", "%s", s.LedgerHead)
	t.row("made by", "dploda %s", s.Version)
}

func inspectStatement(path string, content []byte) (facts, error) {
	var s Statement
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if s.Format != statementFormat {
		return nil, fmt.Errorf("%s has format %d; this version reads format %d", path, s.Format, statementFormat)
	}
	return &statementFacts{header{"privacy-statement", path}, s}, nil
}

// reportFacts is report.json.
type reportFacts struct {
	header
	Report *Report `json:"report"`
}

func (f *reportFacts) title() string { return "the report of run " + f.Report.Name }

func (f *reportFacts) rows(t *table) {
	t.WriteString(f.Report.Summary(reportsRun(f.Path)))
	if content, err := f.Report.JSON(); err == nil { // it was decoded: always
		t.Write(content)
	}
}

// reportsRun is the run folder that a report lies in.
func reportsRun(path string) string {
	folder := filepath.Dir(path)
	if filepath.Base(folder) == "share" {
		return filepath.Dir(folder)
	}
	return folder
}

func inspectReport(path string, content []byte) (facts, error) {
	f := &reportFacts{header{"report", path}, &Report{}}
	if err := json.Unmarshal(content, f.Report); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return f, nil
}

// pageTitle begins report.html: its name in words.
var pageTitle = regexp.MustCompile(`<title>([^<]*)</title>`)

func inspectPage(path string) (facts, error) {
	content, err := readAtMost(path, maxJSON)
	if err != nil {
		return nil, err
	}
	title := pageTitle.FindSubmatch(content)
	if title == nil || !bytes.HasSuffix(content, []byte("</html>\n")) {
		return nil, fmt.Errorf("%s is damaged: it is not a whole page", path)
	}
	about := "the report as a page: " + html.UnescapeString(string(title[1])) + "; report.json beside it has its figures"
	return note("report-page", about)(path)
}

// readReport is inspectReport for the report of a run folder.
func readReport(path string) (*Report, error) {
	found, err := inspectJSON(path)
	if err != nil {
		return nil, err
	}
	f, ok := found.(*reportFacts)
	if !ok {
		return nil, fmt.Errorf("%s is damaged: it is not a run's report", path)
	}
	return f.Report, nil
}

// runMarkFacts is run.json: which config a run folder belongs to.
type runMarkFacts struct {
	header
	Format     int    `json:"format"`
	ConfigHash string `json:"config_hash"`
}

func (f *runMarkFacts) title() string { return "the mark of a run folder" }

func (f *runMarkFacts) rows(t *table) {
	t.row("format", "%d", f.Format)
	t.row("config", "sha256 %s", f.ConfigHash)
}

func inspectRunMark(path string, content []byte) (facts, error) {
	f := &runMarkFacts{header: header{"run-mark", path}}
	if err := json.Unmarshal(content, f); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	f.header = header{"run-mark", path} // whatever the file calls itself
	if f.Format != 1 {
		return nil, fmt.Errorf("%s was made by another version of dploda: its format is %d, this program's is 1", path, f.Format)
	}
	return f, nil
}

func readRunMark(path string) (*runMarkFacts, error) {
	found, err := inspectJSON(path)
	if err != nil {
		return nil, err
	}
	f, ok := found.(*runMarkFacts)
	if !ok {
		return nil, fmt.Errorf("%s is damaged: it does not say which config the run has", path)
	}
	return f, nil
}

// timingsFacts is private/timings.json.
type timingsFacts struct {
	header
	Seconds map[string]float64 `json:"seconds"`
}

func (f *timingsFacts) title() string { return "the wall times of a run's stages" }

func (f *timingsFacts) rows(t *table) {
	for _, stage := range slices.Sorted(maps.Keys(f.Seconds)) {
		t.row(stage, "%.1f s", f.Seconds[stage])
	}
}

func inspectTimings(path string, content []byte) (facts, error) {
	var times timings
	if err := json.Unmarshal(content, &times); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return &timingsFacts{header{"timings", path}, times.Seconds}, nil
}
