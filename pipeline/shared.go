package pipeline

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dploda/dploda/model/adapter"
)

// SharedFiles says where the files of a fine-tuned model are. Run alone
// suffices for a run of a base that is shipped; without Run, Adapter is needed
// and, where the run had prototypes, Prototypes.
type SharedFiles struct {
	Run        string // a run's folder, or its share/ wherever it was copied
	Base       string // as in a config; "" finds the base of Run's config or, by its hash, a shipped one
	Adapter    string
	Prototypes string
}

// sharedModel is a fine-tuned model as whoever has the shared files knows it.
type sharedModel struct {
	*recipe
	*model
	base        *Base
	adapterHash string // sha256 of the file
}

// openShared reads a fine-tuned model and checks that its files belong
// together.
func openShared(files SharedFiles) (*sharedModel, error) {
	if files.Run != "" {
		if err := files.fromRun(); err != nil {
			return nil, err
		}
	}
	if files.Adapter == "" {
		return nil, badOption("no fine-tuned model is given: give --run RUN, a run's folder or its share/, or --adapter FILE")
	}
	content, err := os.ReadFile(files.Adapter)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no adapter %s", files.Adapter)
	}
	if err != nil {
		return nil, err
	}
	h, _, err := adapter.ReadHeader(files.Adapter)
	if err != nil {
		return nil, err
	}
	m := &sharedModel{model: &model{}, adapterHash: sha256Hex(content)}
	if m.recipe, err = parseRecipe(h.Sampling); err != nil {
		return nil, fmt.Errorf("%s %w", files.Adapter, err)
	}
	if m.base, err = findBase(files, h.BaseHash); err != nil {
		return nil, err
	}
	if m.adapter, err = adapter.Load(files.Adapter, m.base.Base); err != nil {
		return nil, err
	}
	if err := m.fits(); err != nil {
		return nil, fmt.Errorf("%s %w", files.Adapter, err)
	}
	return m, m.loadPrototypes(files)
}

// fits holds the recipe against the adapter and the base.
func (m *sharedModel) fits() error {
	switch {
	case m.adapter.Spec.Classes != len(m.Classes):
		return fmt.Errorf("names %d classes, but has %d", len(m.Classes), m.adapter.Spec.Classes)
	case m.TimeRange[1] > m.base.Traits.Timesteps:
		return fmt.Errorf("has a time range up to %d, but its base has %d timesteps", m.TimeRange[1], m.base.Traits.Timesteps)
	}
	return nil
}

func (m *sharedModel) loadPrototypes(files SharedFiles) error {
	switch {
	case m.recipe.Prototypes == "" && files.Prototypes == "":
		return nil
	case m.recipe.Prototypes == "":
		return badOption("the run of %s had no prototypes: leave --prototypes out", files.Adapter)
	case files.Prototypes == "":
		return badOption("the run of %s had prototypes: give its %s with --prototypes", files.Adapter, prototypesFile)
	}
	content, err := os.ReadFile(files.Prototypes)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there are no prototypes %s, which belong to %s", files.Prototypes, files.Adapter)
	}
	if err != nil {
		return err
	}
	if sha256Hex(content) != m.recipe.Prototypes {
		return fmt.Errorf("%s does not belong to %s: it is damaged, or another run's", files.Prototypes, files.Adapter)
	}
	if m.centers, err = decodePrototypes(content); err != nil {
		return fmt.Errorf("%s %w", files.Prototypes, err)
	}
	if s := m.centers.Spec; s.Classes != len(m.Classes) || s.Side != m.base.Config.SampleHeight || !m.base.PrototypeChannel() {
		return fmt.Errorf("%s has prototypes of %d classes and side %d, which do not fit %s and its base", files.Prototypes, s.Classes, s.Side, files.Adapter)
	}
	return nil
}

// fromRun fills in what a run's folder, or a copy of its share/, says.
func (f *SharedFiles) fromRun() error {
	if f.Adapter != "" || f.Prototypes != "" {
		return badOption("--run says where adapter and prototypes are: leave --adapter and --prototypes out")
	}
	share := f.Run
	switch {
	case isThere(f.Run, "run.json"):
		if err := finetuned(f.Run); err != nil {
			return err
		}
		share = filepath.Join(f.Run, "share")
		if f.Base == "" {
			spec, err := readRunConfig(filepath.Join(f.Run, "config.yaml"))
			if err != nil {
				return err
			}
			f.Base = spec.Base
		}
	case !isThere(f.Run):
		return fmt.Errorf("there is no run folder %s", f.Run)
	case !isThere(f.Run, adapterFile):
		return fmt.Errorf("%s is neither a run's folder nor its share/: it has neither run.json nor %s", f.Run, adapterFile)
	}
	f.Adapter = filepath.Join(share, adapterFile)
	if isThere(share, prototypesFile) {
		f.Prototypes = filepath.Join(share, prototypesFile)
	}
	return nil
}

// finetuned refuses the folder of a run that has no model yet.
func finetuned(run string) error {
	if isThere(run, "stages", stageFinetune) {
		return nil
	}
	at := "it has not begun to train"
	if isThere(run, "metrics.jsonl") {
		m, err := readMetrics(filepath.Join(run, "metrics.jsonl"))
		if err != nil {
			return err
		}
		if m.Lines > 0 {
			at = fmt.Sprintf("it is at its stage %s, after %d released steps", stageFinetune, m.LastStep)
		}
	}
	return fmt.Errorf("the run in %s is not finished: %s; go on with it with the command that began it", run, at)
}

// findBase loads the base that is given or, if none is, the shipped one with
// the hash.
func findBase(files SharedFiles, hash string) (*Base, error) {
	if files.Base != "" {
		return LoadBase(files.Base)
	}
	for _, name := range builtinNames() {
		b, err := LoadBase(name)
		if err != nil {
			return nil, err
		}
		if b.Hash == hash {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%s belongs to a base that is not shipped with dploda (sha256 %.12s…): give its folder with --base", files.Adapter, hash)
}

// key draws the run's own images or, with a seed, others.
func (m *sharedModel) key(seed *uint64) ([32]byte, error) {
	var id [16]byte
	if _, err := hex.Decode(id[:], []byte(m.RunID)); err != nil {
		return [32]byte{}, err
	}
	return sampleKey(id, seed), nil
}
