package pipeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dploda/dploda/internal/config"
)

// runFacts is a run folder.
type runFacts struct {
	header
	Name       string        `json:"name"`
	ConfigHash string        `json:"config_sha256"` // in test mode of the seed, too
	Admitted   bool          `json:"admitted"`      // to a ledger
	StagesDone []string      `json:"stages_done"`
	Complete   bool          `json:"complete"`
	Metrics    *metricsFacts `json:"metrics,omitempty"`
	Report     *Report       `json:"report,omitempty"`
}

func (f *runFacts) title() string {
	if f.Complete {
		return "the folder of run " + f.Name + ", which is complete"
	}
	return "the folder of run " + f.Name + ", which is not complete: the same command goes on with it"
}

func (f *runFacts) rows(t *table) {
	t.row("config", "sha256 %s", f.ConfigHash)
	t.row("admitted to a ledger", "%s", yesNo(f.Admitted))
	t.row("stages done", "%s", orNone(f.StagesDone))
	if f.Metrics != nil {
		t.row("metrics", "%s, steps %d to %d", count(f.Metrics.Lines, "line"), f.Metrics.FirstStep, f.Metrics.LastStep)
	}
	if f.Report != nil {
		t.WriteString(f.Report.Summary(f.Path))
	}
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func inspectRun(path string) (facts, error) {
	f := &runFacts{header: header{"run", path}, StagesDone: []string{}}
	mark, err := readRunMark(filepath.Join(path, "run.json"))
	if err != nil {
		return nil, err
	}
	f.ConfigHash = mark.ConfigHash
	spec, err := readRunConfig(filepath.Join(path, "config.yaml"))
	if err != nil {
		return nil, err
	}
	f.Name = spec.Name
	for _, stage := range []string{stageFinetune, stageSample, stageReport} {
		if isThere(path, "stages", stage) {
			f.StagesDone = append(f.StagesDone, stage)
		}
	}
	f.Admitted, f.Complete = isThere(path, "stages", admittedMark), isThere(path, "stages", stageReport)
	if isThere(path, "metrics.jsonl") {
		if f.Metrics, err = readMetrics(filepath.Join(path, "metrics.jsonl")); err != nil {
			return nil, err
		}
	}
	if report := filepath.Join(path, "share", "report.json"); isThere(report) {
		f.Report, err = readReport(report)
	}
	return f, err
}

// configFacts is the config of a run or of a pre-training.
type configFacts struct {
	header
	Name string `json:"name"`
	Hash string `json:"sha256"` // of the keys that say what is computed
	Base string `json:"base,omitempty"`
	// Epsilon and Delta are a run's budget.
	Epsilon  float64 `json:"epsilon,omitempty"`
	Delta    float64 `json:"delta,omitempty"`
	Resolved string  `json:"resolved"` // with every default
}

func (f *configFacts) title() string {
	if f.Kind == "run-config" {
		return "the config of run " + f.Name
	}
	return "the config of pre-training " + f.Name
}

func (f *configFacts) rows(t *table) {
	t.row("sha256", "%s", f.Hash)
	if f.Kind == "run-config" {
		t.row("base", "%s", f.Base)
		t.row("budget", "ε %g at δ %g", f.Epsilon, f.Delta)
	}
	for line := range strings.Lines(f.Resolved) {
		fmt.Fprintf(t, "    %s", line)
	}
}

// pretrainKey begins a section that only a pre-training's config has.
var pretrainKey = regexp.MustCompile(`(?m)^(unet|train|codec):`)

// maxConfig bounds a config file, as package config does.
const maxConfig = 1 << 20

func inspectConfig(path string) (facts, error) {
	content, err := readAtMost(path, maxConfig)
	if err != nil {
		return nil, err
	}
	if pretrainKey.Match(content) {
		p, err := config.ParsePretrain(path, content, nil)
		if err != nil {
			return nil, err
		}
		return &configFacts{header: header{"pretrain-config", path}, Name: p.Name, Hash: p.Hash(), Resolved: string(p.Resolved())}, nil
	}
	r, err := readRunConfig(path)
	if err != nil {
		return nil, err
	}
	return &configFacts{
		header: header{"run-config", path}, Name: r.Name, Hash: r.Hash(), Base: r.Base,
		Epsilon: r.Privacy.Epsilon, Delta: r.Privacy.Delta, Resolved: string(r.Resolved()),
	}, nil
}

// readRunConfig reads what the file says: the environment is not asked.
func readRunConfig(path string) (*config.RunSpec, error) {
	content, err := readAtMost(path, maxConfig)
	if err != nil {
		return nil, err
	}
	return config.ParseRun(path, content, nil)
}

// metricsFacts is metrics.jsonl.
type metricsFacts struct {
	header
	Lines     int      `json:"lines"`
	FirstStep uint64   `json:"first_step"`
	LastStep  uint64   `json:"last_step"`
	Keys      []string `json:"keys"`
	// CutOff says that a crash has cut the last line, which is not counted; the
	// next start of the run repairs it.
	CutOff bool `json:"cut_off"`
}

func (f *metricsFacts) title() string {
	if f.Lines == 0 {
		return "metrics of no step yet"
	}
	return fmt.Sprintf("metrics of %s, steps %d to %d", count(f.Lines, "line"), f.FirstStep, f.LastStep)
}

func (f *metricsFacts) rows(t *table) {
	t.row("keys", "%s", orNone(f.Keys))
	if f.CutOff {
		t.row("last line", "cut off by a crash; the run repairs it when it goes on")
	}
}

func inspectMetrics(path string) (facts, error) {
	f, err := readMetrics(path)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Bounds of metrics.jsonl: of a line, in bytes, and of the keys of all lines.
const (
	maxMetricsLine = 1 << 20
	maxMetricsKeys = 1 << 10
)

func readMetrics(path string) (*metricsFacts, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f := &metricsFacts{header: header{"metrics", path}, Keys: []string{}}
	r := bufio.NewReaderSize(file, maxMetricsLine)
	keys := map[string]bool{}
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err == io.EOF:
			f.CutOff = len(line) > 0
			f.Keys = slices.AppendSeq(f.Keys, maps.Keys(keys))
			slices.Sort(f.Keys)
			return f, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("%s:%d: the line is longer than %d bytes", path, f.Lines+1, maxMetricsLine)
		case err != nil:
			return nil, fmt.Errorf("cannot read %s: %w", path, err)
		}
		if err := f.add(line, keys); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, f.Lines+1, err)
		}
	}
}

func (f *metricsFacts) add(line []byte, keys map[string]bool) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return errors.New("the line is not a JSON object")
	}
	var step *uint64
	if err := json.Unmarshal(object["step"], &step); err != nil || step == nil {
		return errors.New("the line has no step")
	}
	if f.Lines == 0 {
		f.FirstStep = *step
	}
	f.Lines++
	f.LastStep = *step
	for key := range object {
		keys[key] = true
	}
	if len(keys) > maxMetricsKeys {
		return fmt.Errorf("these are not the metrics of a run: more than %d keys occur", maxMetricsKeys)
	}
	return nil
}

// logFacts is run.log.
type logFacts struct {
	header
	Lines    int    `json:"lines"`
	From     string `json:"from"` // time of the first line
	To       string `json:"to"`
	Warnings int    `json:"warnings"`
	Errors   int    `json:"errors"`
	LastLine string `json:"last_line"`
}

func (f *logFacts) title() string { return fmt.Sprintf("a run's log of %s", count(f.Lines, "line")) }

func (f *logFacts) rows(t *table) {
	if f.Lines == 0 {
		return
	}
	t.row("from", "%s", f.From)
	t.row("to", "%s", f.To)
	t.row("warnings, errors", "%d, %d", f.Warnings, f.Errors)
	t.row("last line", "%s", f.LastLine)
}

// logLine is how slog's TextHandler begins a line.
var logLine = regexp.MustCompile(`^time=(\S+) level=(\S+) `)

const maxLogLine = 1 << 20

func inspectLog(path string) (facts, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f := &logFacts{header: header{Kind: "log", Path: path}}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLogLine)
	for lines.Scan() {
		f.Lines++
		m := logLine.FindStringSubmatch(lines.Text())
		if m == nil {
			return nil, fmt.Errorf("%s:%d: the line is not one of a run's log", path, f.Lines)
		}
		if f.Lines == 1 {
			f.From = m[1]
		}
		f.To, f.LastLine = m[1], lines.Text()
		switch m[2] {
		case "WARN":
			f.Warnings++
		case "ERROR":
			f.Errors++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, f.Lines+1, err)
	}
	return f, nil
}

// statementTextFacts is PRIVACY.md.
type statementTextFacts struct {
	header
	Text string `json:"text"`
}

const statementTitle = "# Privacy statement\n"

func (f *statementTextFacts) title() string { return "a privacy statement for people" }
func (f *statementTextFacts) rows(t *table) { t.WriteString(f.Text) }

func inspectStatementText(path string) (facts, error) {
	content, err := readAtMost(path, maxJSON)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(content, []byte(statementTitle)) {
		return nil, fmt.Errorf("%s is not a privacy statement of dploda: it does not begin as one", path)
	}
	return &statementTextFacts{header{"privacy-text", path}, string(content)}, nil
}
