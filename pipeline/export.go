package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
)

// The formats of Export.
const (
	ExportDiffusers = "diffusers" // a UNet2DModel folder: a base, or a base with an adapter merged into it
	ExportPEFT      = "peft"      // a folder for PeftModel.from_pretrained
	ExportNPZ       = "npz"       // the run's own images
	ExportCheck     = "check"     // inputs, and what dploda predicts on them
)

// CheckFile is what ExportCheck writes: sample [n, channels, height, width],
// timestep [n], label [n] where the network has classes, and prediction, all
// float32.
const CheckFile = "check.safetensors"

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
		return checkExporter(m.base, m.adapter, m.times()), nil
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
		return checkExporter(b, nil, diffusion.Range{From: 0, To: b.Traits.Timesteps}), nil
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

// checkExamples is how many inputs a check has.
const checkExamples = 4

// checkExporter writes what the network predicts on random inputs at timesteps
// where the adapter, if any, is on.
func checkExporter(b *Base, a *adapter.Adapter, times diffusion.Range) func(folder string) error {
	return func(folder string) error {
		c := newCheck(b, a, times)
		if err := c.predict(b, a); err != nil {
			return err
		}
		return safetensors.Write(filepath.Join(folder, CheckFile), c.tensors(b.Config), nil)
	}
}

// checkBatch is a batch of inputs in diffusers' order, and predictions.
type checkBatch struct {
	sample, prediction []float32
	timestep           []float32
	label              []float32 // nil where the network has no classes
}

func newCheck(b *Base, a *adapter.Adapter, times diffusion.Range) *checkBatch {
	rows := b.Config.NumClassEmbeds
	if a != nil && a.Spec.Classes > 0 {
		rows = a.Spec.Classes + 1
	}
	size := b.Config.InChannels * b.Config.SampleHeight * b.Config.SampleWidth
	c := &checkBatch{sample: make([]float32, checkExamples*size)}
	random := draws.New(draws.SeedKey(1, "check"))
	for i := range checkExamples {
		random.Stream(uint64(i), 0, draws.Noise).Normals(c.sample[i*size : (i+1)*size])
		c.timestep = append(c.timestep, float32(times.From+i*max(times.To-times.From-1, 0)/(checkExamples-1)))
		if rows > 0 {
			c.label = append(c.label, float32((rows-1+i)%rows)) // "no label" first
		}
	}
	return c
}

// predict fills in the predictions of a base with an adapter, nil for none.
func (c *checkBatch) predict(b *Base, a *adapter.Adapter) error {
	spec, set := adapter.Spec{Kind: adapter.None}, b.SetParams
	if a != nil {
		spec = a.Spec
		set = func(exe device.Executable, list *device.OpList) error { return a.SetParams(exe, list, b.Base) }
	}
	list, err := denoiseList(b.Config, spec)
	if err != nil {
		return err
	}
	exe, err := NewDevice().Compile(list)
	if err != nil {
		return err
	}
	if err := set(exe, list); err != nil {
		return err
	}
	stream, err := exe.NewStream()
	if err != nil {
		return err
	}
	table := unet.TimeTable(b.Config, b.Traits.Timesteps)
	n, size := len(c.timestep), len(c.sample)/len(c.timestep)
	for i := range n {
		if err := stream.SetInput(diffusion.SampleInput, i, c.sample[i*size:(i+1)*size]); err != nil {
			return err
		}
		if err := stream.SetInput(diffusion.TimeInput, i, table[int(c.timestep[i])]); err != nil {
			return err
		}
		if c.label != nil {
			if err := stream.SetIndex(diffusion.ClassIndex, i, int(c.label[i])); err != nil {
				return err
			}
		}
	}
	if err := stream.Run(); err != nil {
		return err
	}
	out := b.Config.OutChannels * b.Config.SampleHeight * b.Config.SampleWidth
	c.prediction = make([]float32, n*out)
	for i := range n {
		if err := stream.Output(diffusion.OutputName, i, c.prediction[i*out:(i+1)*out]); err != nil {
			return err
		}
	}
	return nil
}

// tensors are the batch as check.safetensors has it.
func (c *checkBatch) tensors(config unet.Config) []safetensors.Tensor {
	n := len(c.timestep)
	tensors := []safetensors.Tensor{
		{Name: "sample", Dims: []int{n, config.InChannels, config.SampleHeight, config.SampleWidth}, Data: c.sample},
		{Name: "timestep", Dims: []int{n}, Data: c.timestep},
		{Name: "prediction", Dims: []int{n, config.OutChannels, config.SampleHeight, config.SampleWidth}, Data: c.prediction},
	}
	if c.label != nil {
		tensors = append(tensors, safetensors.Tensor{Name: "label", Dims: []int{n}, Data: c.label})
	}
	return tensors
}
