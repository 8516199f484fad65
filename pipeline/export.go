package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dploda/dploda/model/adapter"
)

// The formats of Export.
const (
	ExportDiffusers = "diffusers" // a UNet2DModel folder: a base, or a base with an adapter merged into it
	ExportPEFT      = "peft"      // a folder for PeftModel.from_pretrained
	ExportNPZ       = "npz"       // the run's own images
	ExportCheck     = "check"     // inputs, and what dploda predicts on them
)

// ExportOptions say what to write for other programs, and where.
type ExportOptions struct {
	Files  SharedFiles // with Base alone: of that base
	Format string
	Out    string // an empty or new folder
}

// ExportReport says what was written.
type ExportReport struct {
	Format string   `json:"format"`
	Out    string   `json:"out"`
	Notes  []string `json:"notes"` // what the format cannot say
}

// Summary is the report for people.
func (r *ExportReport) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wrote %s (%s)\n", r.Out, r.Format)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	return b.String()
}

// Export writes a base or a finished run for other programs.
func Export(ctx context.Context, opts ExportOptions, obs Observer) (*ExportReport, error) {
	report := &ExportReport{Format: opts.Format, Out: opts.Out, Notes: []string{}}
	if opts.Format == ExportNPZ {
		_, err := Sample(ctx, SampleOptions{Files: opts.Files, Out: opts.Out, Formats: []string{FormatNPZ}}, obs)
		return report, err
	}
	write, err := exporter(opts, report)
	if err != nil {
		return nil, err
	}
	return report, explainFull(newFolder(opts.Out, write))
}

// exporter is what writes the format into a folder that is there.
func exporter(opts ExportOptions, report *ExportReport) (func(folder string) error, error) {
	baseAlone := opts.Files.Run == "" && opts.Files.Adapter == ""
	if baseAlone && opts.Files.Base != "" {
		return baseExporter(opts)
	}
	m, err := openShared(opts.Files)
	if err != nil {
		return nil, err
	}
	if t := m.TimeRange; opts.Format != ExportCheck && (t[0] > 0 || t[1] < m.base.Traits.Timesteps) {
		report.Notes = append(report.Notes, fmt.Sprintf("the run sampled with its adapters at timesteps %d to %d only, and outside with the base's own weights: "+
			"this folder has them at all timesteps", t[0], t[1]-1))
	}
	switch opts.Format {
	case ExportDiffusers:
		merged, err := m.adapter.Merge(m.base.Base)
		if err != nil {
			return nil, fmt.Errorf("%w: export the base with --base and attach the adapter with examples/python/load_adapter.py", err)
		}
		b := &Base{Base: merged, Traits: m.base.Traits}
		b.Traits.NoLabelRow = b.Traits.NoLabelRow || m.adapter.Spec.Classes > 0
		promise := "under differential privacy"
		if m.adapter.TestMode {
			promise = "in test mode, WITHOUT privacy"
		}
		b.Traits.PublicData = fmt.Sprintf("NOT public: private images %s, run %s on a base of %s", promise, m.RunID, m.base.Traits.PublicData)
		return b.Save, nil
	case ExportPEFT:
		if kind := m.adapter.Spec.Kind; kind == adapter.Full || kind == adapter.None {
			return nil, fmt.Errorf("the run trained no adapter, but weights of the network itself (kind %s): give --format %s", kind, ExportDiffusers)
		}
		if err := m.adapter.FitsPEFT(); err != nil {
			return nil, fmt.Errorf("%w: attach this one with examples/python/load_adapter.py", err)
		}
		return m.adapter.SavePEFT, nil
	case ExportCheck:
		return m.writeCheck, nil
	}
	return nil, unknownFormat(opts.Format)
}

func unknownFormat(name string) error {
	return badOption("--format %q is not known; choose %s, %s, %s or %s", name, ExportDiffusers, ExportPEFT, ExportNPZ, ExportCheck)
}

func baseExporter(opts ExportOptions) (func(folder string) error, error) {
	b, err := LoadBase(opts.Files.Base)
	if err != nil {
		return nil, err
	}
	switch opts.Format {
	case ExportDiffusers:
		return b.Save, nil
	case ExportCheck:
		return b.writeCheck, nil
	case ExportPEFT:
		return nil, badOption("a base is no adapter: --format peft needs --run or --adapter")
	}
	return nil, unknownFormat(opts.Format)
}

// newFolder lets write fill a folder that appears under its name when it is
// whole.
func newFolder(path string, write func(folder string) error) error {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot use %s for an export: %w", path, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s holds other files; choose an empty or new folder with --out", path)
	}
	partial := filepath.Clean(path) + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return err
	}
	if err := write(partial); err != nil {
		return err
	}
	return os.Rename(partial, path)
}
