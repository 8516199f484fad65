package pipeline

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/rundir"
)

// Version is the program's.
var Version = version()

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0.1.0-dev"
}

// ErrComplete says that a run folder's run was complete before this call; its
// report comes with it.
var ErrComplete = errors.New("the run is complete")

// RunOptions are what a run takes besides its config.
type RunOptions struct {
	Out        string  // the run folder
	State      string  // the site's state folder; "" is $XDG_STATE_HOME/dploda, for the demo a throw-away one
	Data       string  // takes the place of the config's folder
	ExportData string  // where to write the drawn sets
	TestSeed   *uint64 // reproducible, public data only, not private
	Demo       bool
	// Owner is told what only the owner of private images may read: it goes to
	// a terminal and nowhere else. Nil: nobody is told.
	Owner func(text string)
}

// The stages of a run, in order; their names are their marks in the run folder.
const (
	stageFinetune = "finetune"
	stageSample   = "sample"
	stageReport   = "report"
)

//go:embed demo.yaml
var demoConfig []byte

// DemoSpec is the config of `dploda demo`.
func DemoSpec() (*config.RunSpec, error) {
	return config.ParseRun("demo.yaml", demoConfig, os.LookupEnv)
}

// run is one run under way.
type run struct {
	*resolved
	opts     RunOptions
	folder   *rundir.Folder
	obs      Observer
	log      *slog.Logger
	dev      device.Device
	identity identity
	train    dataset.Dataset
	units    *dataset.Units  // of train; a step samples them
	test     dataset.Dataset // nil unless the data are declared public
	features *features       // nil without evaluate.features
	timings  *timings
	// synthetic is nil until this process has drawn them.
	synthetic *dataset.Memory
}

// identity is private/identity.json: what this run is, fixed at its first
// start.
type identity struct {
	RunID       [16]byte `json:"run_id"`
	DataKey     []byte   `json:"data_key"`    // keys Fingerprint; inside the trust boundary
	Fingerprint []byte   `json:"fingerprint"` // of the private images, and their units, that the run began with
}

// Run carries a config out, or goes on with it, and returns the report.
func Run(ctx context.Context, spec *config.RunSpec, opts RunOptions, obs Observer) (*Report, error) {
	if obs == nil {
		obs = quiet{}
	}
	if opts.TestSeed != nil && !spec.Data.Public {
		return nil, fmt.Errorf("--test-seed makes the noise predictable, so it needs data.public: true, which says that the images are no secret")
	}
	resolved, err := resolve(spec)
	if err != nil {
		return nil, err
	}
	folder, err := rundir.Open(opts.Out, runHash(spec, opts.TestSeed), spec.Resolved())
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	r := &run{resolved: resolved, opts: opts, folder: folder, obs: obs, dev: NewDevice()}
	if folder.Done(stageReport) {
		report, err := r.loadReport()
		return report, errors.Join(err, ErrComplete)
	}
	logFile, err := folder.Log()
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	r.log = slog.New(slog.NewTextHandler(logFile, nil))
	r.log.Info("begin", "name", spec.Name, "version", Version, "device", DeviceDescription())
	report, err := r.stages(ctx)
	switch {
	case err == nil:
		r.log.Info("complete")
	case ctx.Err() != nil:
		r.log.Info("stopped as asked")
	default:
		r.log.Error("failed", "error", err)
	}
	return report, err
}

// runHash is what a run folder belongs to: the config and the test seed.
func runHash(spec *config.RunSpec, testSeed *uint64) string {
	if testSeed == nil {
		return spec.Hash()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s test seed %d", spec.Hash(), *testSeed))
	return hex.EncodeToString(sum[:])
}

// stages carries out what the run folder does not mark as done.
func (r *run) stages(ctx context.Context) (*Report, error) {
	var err error
	if r.timings, err = loadTimings(r.folder); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if !r.folder.Done(stageFinetune) {
		if err := r.finetuneStage(ctx); err != nil {
			return nil, err
		}
	}
	model, err := r.loadModel()
	if err != nil {
		return nil, err
	}
	if !r.folder.Done(stageSample) {
		if err := r.sampleStage(ctx, model); err != nil {
			return nil, err
		}
	}
	return r.reportStage(ctx, model)
}

// prepare opens the data, holds them against the base and against what the run
// began with, and fixes the run's identity.
func (r *run) prepare(ctx context.Context) error {
	var err error
	if r.features, err = loadFeatures(r.spec.Evaluate.Features, r.base); err != nil {
		return err
	}
	r.obs.Stage("read the images")
	if r.train, err = openTrain(r.spec.Data, r.opts.Data); err != nil {
		return err
	}
	if r.spec.Data.Public {
		if r.test, err = openTest(r.spec.Data, r.opts.Data); err != nil {
			return err
		}
	}
	r.tellOwner()
	if r.units, err = openUnits(r.spec.Data, r.opts.Data, r.train); err != nil {
		return err
	}
	c, h, w := r.train.Shape()
	if i := r.base.Traits.Image; i != [3]int{c, h, w} {
		return fmt.Errorf("the images are %d channels of %dx%d, but base %s was made for %d of %dx%d: bring them there with data.transform, or take another base", c, h, w, r.base.Source, i[0], i[1], i[2])
	}
	if r.opts.ExportData != "" {
		if err := exportDrawn(r.spec.Data, r.opts.ExportData, r.train, r.test); err != nil {
			return err
		}
		r.obs.Note("wrote the drawn sets to " + r.opts.ExportData)
	}
	if err := r.identify(); err != nil {
		return err
	}
	if n := r.forgoes(); n != "" {
		r.obs.Note(n)
	}
	return ctx.Err()
}

// identify reads the run's identity or, at its first start, makes it.
func (r *run) identify() error {
	path := filepath.Join("private", "identity.json")
	content, err := os.ReadFile(r.folder.Path(path))
	if errors.Is(err, os.ErrNotExist) {
		return r.newIdentity(path)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &r.identity); err != nil {
		return fmt.Errorf("%s is damaged: %w", r.folder.Path(path), err)
	}
	now := dataset.Fingerprint(r.identity.DataKey, r.train, r.units)
	if string(now[:]) != string(r.identity.Fingerprint) {
		return fmt.Errorf("the images, or their units, are not those that this run began with; restore the data folder, or begin a new run with another --out")
	}
	return nil
}

func (r *run) newIdentity(path string) error {
	id := identity{DataKey: make([]byte, 32)}
	rand.Read(id.DataKey)
	rand.Read(id.RunID[:])
	if r.opts.TestSeed != nil {
		// Everything is a function of the seed; the ledger is a throw-away one.
		var seed [8]byte
		binary.LittleEndian.PutUint64(seed[:], *r.opts.TestSeed)
		sum := sha256.Sum256(append([]byte("test run "), seed[:]...))
		copy(id.RunID[:], sum[:])
	}
	print := dataset.Fingerprint(id.DataKey, r.train, r.units)
	id.Fingerprint = print[:]
	content, err := json.Marshal(id)
	if err != nil {
		return err
	}
	r.identity = id
	return r.folder.WriteFile(path, content)
}

// stateDir is where ledger, keys and checkpoints live: the site's, or for the
// demo and for test runs a throw-away one in the run folder.
func (r *run) stateDir() (string, error) {
	switch {
	case r.opts.TestSeed != nil:
		return r.folder.Private("state"), nil
	case r.opts.State != "":
		return r.opts.State, nil
	case r.opts.Demo:
		return r.folder.Private("state"), nil
	}
	return siteDir("")
}

// siteDir is the site's state folder: the one given, or by default that of the
// system.
func siteDir(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no place for the ledger: give --state DIR or set XDG_STATE_HOME: %w", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "dploda"), nil
}

// timings are the stages' wall times; a resumed stage's parts add up.
type timings struct {
	folder  *rundir.Folder
	Seconds map[string]float64 `json:"seconds"`
}

var timingsFile = filepath.Join("private", "timings.json")

func loadTimings(folder *rundir.Folder) (*timings, error) {
	t := &timings{folder: folder, Seconds: map[string]float64{}}
	content, err := os.ReadFile(folder.Path(timingsFile))
	if errors.Is(err, os.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(content, t); err != nil {
		return nil, fmt.Errorf("%s is damaged; remove it: %w", folder.Path(timingsFile), err)
	}
	return t, nil
}

// measure adds the time until the returned function is called.
func (t *timings) measure(stage string) func() {
	start := time.Now()
	return func() {
		t.Seconds[stage] += time.Since(start).Seconds()
		if content, err := json.Marshal(t); err == nil {
			// Losing a timing loses nothing else.
			_ = t.folder.WriteFile(timingsFile, content)
		}
	}
}
