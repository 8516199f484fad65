package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/rundir"
)

// The formats of drawn images.
const (
	FormatNPZ    = "npz"    // samples.npz
	FormatFolder = "folder" // images/CLASS/000000.png
	FormatGrid   = "grid"   // samples.png, the first images of each class
)

// SampleOptions are what drawing more images takes. Nil and "" leave what the
// run did.
type SampleOptions struct {
	Files    SharedFiles
	Out      string // an empty or new folder, or one where the same was begun
	Images   *int
	Classes  []string // drawn in turn; nil: all
	Sampler  string
	Steps    *int
	Guidance *float64
	Eta      *float64
	Seed     *uint64 // other images than the run's own
	Formats  []string
	Threads  int // 0: all cores; they do not change the images
}

// Sampled is sample.json: what was drawn, and from what. The images are a
// function of it and of the files that it names, apart from Complete.
type Sampled struct {
	Format     int           `json:"format"` // 1
	Run        string        `json:"run"`
	RunID      string        `json:"run_id"` // as in the run's privacy.json
	TestMode   bool          `json:"test_mode"`
	Base       string        `json:"base_sha256"`
	Adapter    string        `json:"adapter_sha256"`
	Prototypes string        `json:"prototypes_sha256"`
	Shape      [3]int        `json:"shape"`   // channels, height, width
	Classes    []string      `json:"classes"` // of the labels 0, 1, ...
	Turn       []string      `json:"turn"`    // the classes of the images, in turn
	Sample     config.Sample `json:"sample"`
	Seed       *uint64       `json:"seed"` // null: the run's own images
	Formats    []string      `json:"formats"`
	Arithmetic string        `json:"arithmetic"` // the kind of device
	Complete   bool          `json:"complete"`
}

const (
	sampledFormat = 1
	sampledFile   = "sample.json"
	partsFolder   = "parts" // while images are missing
	npzFile       = "samples.npz"
	imagesFolder  = "images"
	gridFile      = "samples.png"
)

// SampleReport is what drawing images says at its end.
type SampleReport struct {
	Sampled
	Out string `json:"out"`
	// Drawn is how many images this call drew; the others were there.
	Drawn   int     `json:"drawn"`
	Seconds float64 `json:"seconds"`
	// Rate is in images a second, of those drawn.
	Rate float64 `json:"images_per_second,omitempty"`
}

// Summary is the report for people.
func (r *SampleReport) Summary() string {
	var b strings.Builder
	s := r.Sample
	fmt.Fprintf(&b, "%s of run %s: %s, %d steps, guidance %g\n", count(s.Images, "synthetic image"), r.Run, s.Sampler, s.Steps, s.Guidance)
	fmt.Fprintf(&b, "drawn now: %d", r.Drawn)
	if r.Rate > 0 {
		fmt.Fprintf(&b, ", %.0f images/s", r.Rate)
	}
	b.WriteString("\n")
	for _, f := range r.Formats {
		fmt.Fprintf(&b, "  %s\n", filepath.Join(r.Out, formatFile[f]))
	}
	if r.TestMode {
		b.WriteString("The run was in test mode: neither it nor these images are private.\n")
	} else {
		b.WriteString("They cost no privacy: the run's statement covers them.\n")
	}
	return b.String()
}

// OptionError is an option that cannot be, named as the command's flag.
type OptionError struct{ error }

func badOption(format string, args ...any) error { return OptionError{fmt.Errorf(format, args...)} }

// formatFile is what a format writes into the folder.
var formatFile = map[string]string{FormatNPZ: npzFile, FormatFolder: imagesFolder, FormatGrid: gridFile}

// Sample draws images from a fine-tuned model into a folder, or goes on with
// it. Image i is a function of the model, the settings, the seed and i alone:
// without a seed and with the run's settings, the images are the run's own, and
// as many more as are asked for. What it computes comes after the release of
// the model and costs no privacy.
func Sample(ctx context.Context, opts SampleOptions, obs Observer) (*SampleReport, error) {
	if obs == nil {
		obs = quiet{}
	}
	begin := time.Now()
	m, err := openShared(opts.Files)
	if err != nil {
		return nil, err
	}
	dev := NewDevice()
	s, err := m.plan(opts, dev)
	if err != nil {
		return nil, err
	}
	folder, err := openSampling(opts.Out, s)
	if err != nil {
		return nil, err
	}
	defer folder.close()
	report := &SampleReport{Sampled: *s, Out: opts.Out}
	if !folder.complete {
		g, err := m.generator(s, dev, opts.Threads)
		if err != nil {
			return nil, err
		}
		obs.Stage("sample")
		if err := folder.find(obs); err != nil {
			return nil, err
		}
		if report.Drawn, err = folder.draw(ctx, g, obs); err != nil {
			return nil, err
		}
		report.Rate = float64(report.Drawn) / time.Since(begin).Seconds()
		if err := folder.join(ctx, g, obs); err != nil {
			return nil, err
		}
	}
	report.Complete, report.Seconds = true, time.Since(begin).Seconds()
	return report, nil
}

// plan is what the options ask for.
func (m *sharedModel) plan(opts SampleOptions, dev device.Device) (*Sampled, error) {
	s := &Sampled{
		Format: sampledFormat, Run: m.Name, RunID: m.RunID, TestMode: m.adapter.TestMode, Base: m.base.Hash,
		Adapter: m.adapterHash, Prototypes: m.recipe.Prototypes, Shape: m.base.Traits.Image,
		Classes: m.Classes, Turn: m.Classes, Sample: m.Sample, Seed: opts.Seed, Arithmetic: dev.Kind(),
	}
	if opts.Images != nil {
		s.Sample.Images = *opts.Images
	}
	if opts.Sampler != "" {
		s.Sample.Sampler = opts.Sampler
		if opts.Sampler != "ddim" {
			s.Sample.Eta = 0
		}
	}
	if opts.Steps != nil {
		s.Sample.Steps = *opts.Steps
	}
	if opts.Guidance != nil {
		s.Sample.Guidance = *opts.Guidance
	}
	if opts.Eta != nil {
		s.Sample.Eta = *opts.Eta
	}
	if err := s.Sample.Validate(); err != nil {
		return nil, asFlag(err)
	}
	if n := m.base.Traits.Timesteps; s.Sample.Steps > n {
		return nil, badOption("--steps must be 1 to %d, the base's timesteps, not %d", n, s.Sample.Steps)
	}
	if opts.Threads < 0 {
		return nil, badOption("--threads must be 0 (all cores) or more, not %d", opts.Threads)
	}
	if opts.Classes != nil {
		s.Turn = opts.Classes
	}
	for _, name := range s.Turn {
		if !slices.Contains(m.Classes, name) {
			return nil, badOption("the run has no class %q: --classes takes balanced, or some of %s", name, strings.Join(m.Classes, ", "))
		}
	}
	for _, f := range opts.Formats {
		if _, ok := formatFile[f]; !ok {
			return nil, badOption("--format %q is not known; choose some of %s, %s and %s", f, FormatNPZ, FormatFolder, FormatGrid)
		}
	}
	s.Formats = slices.Compact(slices.Sorted(slices.Values(opts.Formats)))
	return s, nil
}

// asFlag names the flag of a setting that cannot be.
func asFlag(err error) error {
	value := new(config.ValueError)
	if !errors.As(err, &value) {
		return err
	}
	key := strings.TrimPrefix(value.Key, "sample.")
	if key == "images" {
		key = "n"
	}
	return badOption("--%s %s", key, value.Problem)
}

func (m *sharedModel) generator(s *Sampled, dev device.Device, threads int) (*generator, error) {
	key, err := m.key(s.Seed)
	if err != nil {
		return nil, err
	}
	if threads == 0 {
		threads = runtime.NumCPU()
	}
	g := &generator{
		base: m.base, adapter: m.adapter, centers: m.centers, times: m.times(), classes: m.Classes,
		settings: s.Sample, key: key, threads: threads, dev: dev,
	}
	for _, name := range s.Turn {
		g.turn = append(g.turn, slices.Index(m.Classes, name))
	}
	return g, nil
}

// openSampling makes the folder of s or opens the one that is there, and locks
// it.
func openSampling(path string, s *Sampled) (*sampling, error) {
	if err := refuseOthers(path); err != nil {
		return nil, err
	}
	f := &sampling{path: path, Sampled: s}
	if known, err := readSampled(filepath.Join(path, sampledFile)); err == nil {
		if err := f.sameAs(known); err != nil {
			return nil, err
		}
		if f.complete = known.Complete && f.joined(); f.complete {
			return f, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	parts := filepath.Join(path, partsFolder)
	if err := os.MkdirAll(parts, 0o755); err != nil {
		return nil, rundir.Explain(parts, err)
	}
	var err error
	if f.lock, err = rundir.Lock(filepath.Join(parts, "lock"), path); err != nil {
		return nil, err
	}
	if err := f.save(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// joined says whether what was asked for is there.
func (f *sampling) joined() bool {
	for _, format := range f.Formats {
		if !isThere(f.path, formatFile[format]) {
			return false
		}
	}
	return true
}

// refuseOthers keeps images out of a folder with other content.
func refuseOthers(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot use %s for images: %w", path, err)
	}
	for _, e := range entries {
		if e.Name() == sampledFile {
			return nil
		}
	}
	for _, e := range entries { // a start that was killed leaves the parts' folder and temporary files
		if e.Name() != partsFolder && !strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("%s holds other files and no images of dploda sample; choose an empty or new folder with --out", path)
		}
	}
	return nil
}

func readSampled(path string) (*Sampled, error) {
	content, err := readAtMost(path, maxJSON)
	if err != nil {
		return nil, err
	}
	return parseSampled(path, content)
}

func parseSampled(path string, content []byte) (*Sampled, error) {
	var s Sampled
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if s.Format != sampledFormat {
		return nil, fmt.Errorf("%s has format %d; this version reads format %d", path, s.Format, sampledFormat)
	}
	return &s, nil
}
