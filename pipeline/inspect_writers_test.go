package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/images"
	"github.com/dploda/dploda/internal/rundir"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/internal/tags"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
)

// written is a file or folder that the program's own writers made, and what
// Inspect must say of it.
type written struct {
	path  string
	kind  string
	title string
	rows  []string       // parts of the text
	json  map[string]any // parts of the value
}

// writers make one of every kind of file.
var writers = map[string]func(t testing.TB, dir string) written{
	"base": func(t testing.TB, dir string) written {
		b := writeBase(t, dir)
		n := len(b.Flat())
		return written{dir, "base-model", fmt.Sprintf("a base model of %d parameters", n),
			[]string{b.Hash, "pixel-unshuffle by 2", "v_prediction", "strokes, 96 images seen", "1 x 8 x 8"},
			map[string]any{"parameters": float64(n), "sha256": b.Hash, "class_embeddings": 3.0}}
	},
	"base config": func(t testing.TB, dir string) written {
		n := len(writeBase(t, dir).Flat())
		return written{filepath.Join(dir, unet.ConfigFile), "base-config", fmt.Sprintf("the config of a UNet2DModel of %d parameters", n),
			[]string{"[4]"}, map[string]any{"parameters": float64(n)}}
	},
	"base traits": func(t testing.TB, dir string) written {
		writeBase(t, dir)
		return written{filepath.Join(dir, traitsFile), "base-traits", "what a base model predicts and how images go in",
			[]string{"squaredcos_cap_v2"}, nil}
	},
	"base weights": func(t testing.TB, dir string) written {
		b := writeBase(t, dir)
		n := len(b.Flat())
		return written{filepath.Join(dir, unet.WeightsFile), "safetensors", fmt.Sprintf("%d tensors of %d values", len(b.Parameters()), n),
			[]string{"conv_in.weight [4 4 3 3]", "format"}, map[string]any{"values": float64(n)}}
	},
	"adapter":      func(t testing.TB, dir string) written { return writeAdapter(t, dir, false) },
	"test adapter": func(t testing.TB, dir string) written { return writeAdapter(t, dir, true) },
	"prototypes": func(t testing.TB, dir string) written {
		path := filepath.Join(dir, prototypesFile)
		must(t, safetensors.Write(path, []safetensors.Tensor{{Name: "weights", Dims: []int{2, 1}, Data: []float32{1, 2}}}, map[string]string{"base": "b00"}))
		return written{path, "safetensors", "1 tensors of 2 values", []string{"weights [2 1]", "b00"}, nil}
	},
	"samples": func(t testing.TB, dir string) written {
		path := filepath.Join(dir, "samples.npz")
		must(t, images.WriteNPZ(path, inspectedImages(t)))
		return written{path, "npz", "a numpy archive of 2 arrays",
			[]string{"arr_0                  uint8 [3 4 5 1]", "arr_1                  int64 [3]", "class 0                1 image\n", "class 1                2 images"},
			map[string]any{
				"arrays": []any{
					map[string]any{"name": "arr_0", "dtype": "uint8", "shape": []any{3.0, 4.0, 5.0, 1.0}},
					map[string]any{"name": "arr_1", "dtype": "int64", "shape": []any{3.0}}},
				"classes": []any{map[string]any{"class": "0", "images": 1.0}, map[string]any{"class": "1", "images": 2.0}},
			}}
	},
	"image folder": func(t testing.TB, dir string) written {
		path := filepath.Join(dir, "images")
		must(t, images.WriteFolder(path, inspectedImages(t)))
		return written{path, "image-folder", "3 images of 5 x 4 pixels, grey, in 2 classes",
			[]string{"class cat              1 image\n", "class dog              2 images"}, map[string]any{"width": 5.0, "height": 4.0}}
	},
	"picture": func(t testing.TB, dir string) written {
		path := filepath.Join(dir, "samples.png")
		must(t, images.WritePNG(path, images.Image{C: 3, H: 2, W: 7, Pix: make([]uint8, 42)}))
		return written{path, "png", "a PNG picture of 7 x 2 pixels, colour", nil, map[string]any{"width": 7.0, "height": 2.0}}
	},
	"idx images": func(t testing.TB, dir string) written {
		must(t, dataset.WriteIdx(dir, dataset.Train, inspectedImages(t)))
		return written{filepath.Join(dir, "train-images-idx3-ubyte.gz"), "idx", "an idx file of uint8 [3 4 5], gzipped", nil,
			map[string]any{"type": "uint8", "shape": []any{3.0, 4.0, 5.0}, "gzip": true}}
	},
	"idx labels": func(t testing.TB, dir string) written {
		path := filepath.Join(dir, "emnist-labels-idx1-short")
		must(t, os.WriteFile(path, []byte("\x00\x00\x0b\x01\x00\x00\x00\x02\x00\x07\x00\x09"), 0o644))
		return written{path, "idx", "an idx file of int16 [2]", nil, map[string]any{"gzip": false}}
	},
	"checkpoint": func(t testing.TB, dir string) written {
		return writeStored(t, dir, "checkpoint", "charge-0000000002", "a stored checkpoint, whole", "learner")
	},
	"noised sum": func(t testing.TB, dir string) written {
		return writeStored(t, dir, "noised-sum", "00ff", "a stored noised sum, whole", "noised sum")
	},
	"pre-training": func(t testing.TB, dir string) written {
		path, hash := filepath.Join(dir, pretrainState), strings.Repeat("ab", 32)
		p := inspectedPretrainer(t)
		p.hash = hash
		must(t, p.save(path, 3))
		return written{path, "pretraining-state", fmt.Sprintf("the state of a pre-training of %d parameters before step 3", len(p.weights)),
			[]string{hash, "section weights"}, map[string]any{"next_step": 3.0, "config_sha256": hash}}
	},
	"ledger":      writeLedger,
	"test ledger": writeTestLedger,
	"statement":   writeStatementFile,
	"statement text": func(t testing.TB, dir string) written {
		text, err := inspectedStatement().Markdown()
		return written{put(t, dir, "PRIVACY.md", text, err), "privacy-text", "a privacy statement for people", []string{"**ε = 9.9900**"}, nil}
	},
	"report": func(t testing.TB, dir string) written {
		must(t, os.Mkdir(filepath.Join(dir, "share"), 0o755))
		text, err := inspectedReport().JSON()
		path := put(t, dir, filepath.Join("share", "report.json"), text, err)
		return written{path, "report", "the report of run cats", []string{inspectedReport().Summary(dir), string(text)},
			map[string]any{"report": decoded(t, text)}}
	},
	"features": func(t testing.TB, dir string) written {
		return written{tinyFeatures(t, dir), "features", "the 128 features of a CNN trained on tiny images",
			[]string{"images                 1 x 8 x 8"}, map[string]any{"dimensions": 128.0}}
	},
	"report page": func(t testing.TB, dir string) written {
		text, err := inspectedReport().HTML(nil, nil)
		return written{put(t, dir, "report.html", text, err), "report-page",
			"the report as a page: cats: synthetic images; report.json beside it has its figures", nil, nil}
	},
	"identity": func(t testing.TB, dir string) written {
		text, err := json.Marshal(identity{RunID: [16]byte{0xc0, 0xff, 0xee}, DataKey: inspectedSecret, Fingerprint: inspectedSecret})
		return written{put(t, dir, "identity.json", text, err), "run-identity",
			"the identity of run c0ffee00000000000000000000000000: its id and the keyed fingerprint of its images, which is not shown", nil,
			map[string]any{"run": "c0ffee00000000000000000000000000"}}
	},
	"metrics": func(t testing.TB, dir string) written {
		f := inspectedFolder(t, dir)
		defer f.Close()
		return written{f.Path("metrics.jsonl"), "metrics", "metrics of 2 lines, steps 4 to 9",
			[]string{"charges, epsilon_spent, phase, phase_step, step, workers"},
			map[string]any{"lines": 2.0, "first_step": 4.0, "last_step": 9.0, "cut_off": false}}
	},
	"log": func(t testing.TB, dir string) written {
		f := inspectedFolder(t, dir)
		defer f.Close()
		return written{f.Path("run.log"), "log", "a run's log of 2 lines", []string{"warnings, errors       0, 1", `msg=stopped error="disk full"`},
			map[string]any{"lines": 2.0, "errors": 1.0}}
	},
	"run": func(t testing.TB, dir string) written {
		f := inspectedFolder(t, dir)
		must(t, f.MarkDone(admittedMark))
		must(t, f.MarkDone(stageFinetune))
		must(t, f.Close())
		return written{dir, "run", "the folder of run cats, which is not complete: the same command goes on with it",
			[]string{"stages done            finetune\n", "admitted to a ledger   yes", "metrics                2 lines, steps 4 to 9"},
			map[string]any{"name": "cats", "complete": false, "stages_done": []any{"finetune"}, "config_sha256": "c0de"}}
	},
	"complete run": func(t testing.TB, dir string) written {
		f := inspectedFolder(t, dir)
		text, err := inspectedReport().JSON()
		must(t, err)
		must(t, f.WriteFile(filepath.Join("share", "report.json"), text))
		for _, stage := range []string{admittedMark, stageFinetune, stageSample, stageReport} {
			must(t, f.MarkDone(stage))
		}
		must(t, f.Close())
		return written{dir, "run", "the folder of run cats, which is complete",
			[]string{"finetune, sample, report", inspectedReport().Summary(dir)}, map[string]any{"complete": true}}
	},
	"run mark": func(t testing.TB, dir string) written {
		f := inspectedFolder(t, dir)
		defer f.Close()
		return written{f.Path("run.json"), "run-mark", "the mark of a run folder", []string{"c0de"}, map[string]any{"config_hash": "c0de"}}
	},
	"run lock": func(t testing.TB, dir string) written {
		f := inspectedFolder(t, dir)
		defer f.Close()
		return written{f.Path("lock"), "lock", "a lock, held by the process that works in this folder", nil, nil}
	},
	"stage mark": func(t testing.TB, dir string) written {
		f := inspectedFolder(t, dir)
		defer f.Close()
		must(t, f.MarkDone(stageSample))
		return written{f.Path("stages", stageSample), "stage-mark", "the mark that stage sample is done", nil, nil}
	},
	"timings": func(t testing.TB, dir string) written {
		f := inspectedFolder(t, dir)
		defer f.Close()
		times, err := loadTimings(f)
		must(t, err)
		times.measure(stageSample)()
		return written{f.Path(timingsFile), "timings", "the wall times of a run's stages", []string{"sample                 0.0 s"}, nil}
	},
	"run config": func(t testing.TB, dir string) written {
		spec, err := config.ParseRun("demo.yaml", demoConfig, nil)
		must(t, err)
		path := put(t, dir, "config.yaml", spec.Resolved(), nil)
		return written{path, "run-config", "the config of run demo", []string{spec.Hash(), "ε 10 at δ 1e-05", "    kind: loda"},
			nil}
	},
	"pre-training config": func(t testing.TB, dir string) written {
		spec, err := config.ParsePretrain("p.yaml", []byte(inspectedPretraining), nil)
		must(t, err)
		path := put(t, dir, "p.yaml", []byte(inspectedPretraining), nil)
		return written{path, "pretrain-config", "the config of pre-training strokes", []string{spec.Hash()}, map[string]any{"sha256": spec.Hash()}}
	},
	"state": writeState,
	"state's log": func(t testing.TB, dir string) written {
		writeState(t, dir)
		return written{filepath.Join(dir, "ledger", "raft.db"), "raft-log",
			"a site's ledger as its coordinator keeps it: inspect an export of it, private/ledger.export of a finished run", nil, nil}
	},
	"run secret": func(t testing.TB, dir string) written {
		path := put(t, dir, strings.Repeat("0a", 16)+".key", inspectedSecret, nil)
		return written{path, "run-secret", "the secret of run " + strings.Repeat("0a", 16) + ", from which its samples follow; it is not shown", nil, nil}
	},
	"site key": func(t testing.TB, dir string) written {
		path := put(t, dir, "site.key", inspectedSecret, nil)
		return written{path, "site-key", "the key of a site's image tags; without it images that were charged are not known again", nil, nil}
	},
	"image tags": func(t testing.TB, dir string) written {
		s, err := tags.Open(dir, 0)
		must(t, err)
		must(t, s.Prepare([16]byte{1}, []tags.Tag{{2}, {3}}))
		must(t, s.Confirm([16]byte{1}))
		return written{filepath.Join(dir, "domains", "01"+strings.Repeat("00", 15)+".tags"), "image-tags",
			"the keyed tags of one version of a data domain's images, private to the site", nil, nil}
	},
	"sample": func(t testing.TB, dir string) written {
		f := &sampling{path: dir, Sampled: &Sampled{
			Format: sampledFormat, Run: "pets", RunID: "0a0a", TestMode: true, Base: "b00", Adapter: "a00", Prototypes: "c00",
			Shape: [3]int{1, 4, 5}, Classes: []string{"cat", "dog"}, Turn: []string{"dog"}, Seed: new(uint64),
			Sample: config.Sample{Images: 9, Sampler: "ddim", Steps: 7, Guidance: 1, Eta: 0.5}, Formats: []string{FormatNPZ}, Arithmetic: "cpu",
		}}
		must(t, f.save())
		return written{filepath.Join(dir, sampledFile), "sample", "what 9 synthetic images were drawn from",
			[]string{"pets, 0a0a", "NOT private", "b00", "a00", "c00", "1 x 4 x 5", "turn        dog", "ddim, 7 steps, guidance 1, eta 0.5", "seed                   0", "complete               no"},
			map[string]any{"run": "pets", "complete": false}}
	},
	"share": func(t testing.TB, dir string) written {
		put(t, dir, "README.txt", []byte("mine"), nil)
		must(t, images.WriteFolder(filepath.Join(dir, "images"), inspectedImages(t)))
		writeAdapter(t, dir, false)
		return written{dir, "folder", "a folder with 2 parts",
			[]string{"README.txt             not known", "adapter.safetensors    an adapter (loda) of", "images                 3 images of 5 x 4"}, nil}
	},
}

// inspectedSecret stands for every private value.
var inspectedSecret = []byte("thirty-two bytes of pure secret!")

func inspectedImages(t testing.TB) *dataset.Memory {
	t.Helper()
	d, err := dataset.NewMemory(1, 4, 5, []string{"cat", "dog"}, make([]uint8, 3*4*5), []uint16{1, 0, 1})
	must(t, err)
	return d
}

const inspectedPretraining = `
name: strokes
data: {kind: idx, public: true}
unet:
  sample_size: 4
  block_out_channels: [4]
  down_block_types: [DownBlock2D]
  up_block_types: [UpBlock2D]
  layers_per_block: 1
  norm_num_groups: 2
  add_attention: false
codec: {unshuffle: 2}
train: {images: 96, batch: 8, warmup: 2}
`

func inspectedPretrainer(t testing.TB) *pretrainer {
	t.Helper()
	spec, err := config.ParsePretrain("p.yaml", []byte(inspectedPretraining), nil)
	must(t, err)
	d, err := dataset.NewMemory(1, 8, 8, []string{"a", "b"}, make([]uint8, 2*64), []uint16{0, 1})
	must(t, err)
	p, err := newPretrainer(spec, d)
	must(t, err)
	must(t, p.prepareDescent(spec.Train))
	return p
}

func writeBase(t testing.TB, dir string) *Base {
	t.Helper()
	b, err := inspectedPretrainer(t).averaged()
	must(t, err)
	must(t, b.Save(dir))
	return b
}

func writeAdapter(t testing.TB, dir string, testMode bool) written {
	t.Helper()
	base, err := inspectedPretrainer(t).averaged()
	must(t, err)
	a, err := adapter.Start(base.Base, adapter.Spec{Kind: adapter.LoDA, Rank: 2, Alpha: 3, Nonlinearity: adapter.SiLU, Targets: []string{"conv", "!conv_out"}, Classes: 5}, draws.New(draws.SeedKey(1, "adapter")))
	must(t, err)
	a.TestMode = testMode
	if !testMode { // the other is one of an earlier version
		how := recipe{Format: recipeFormat, Name: "pets", RunID: strings.Repeat("0a", 16), Classes: []string{"cat", "Öl", "c", "d", "e"},
			TimeRange: [2]int{200, 800}, Sample: config.Sample{Images: 3, Sampler: "ddim", Steps: 7}}
		a.Sampling, err = how.encode()
		must(t, err)
	}
	path := filepath.Join(dir, adapterFile)
	must(t, a.Save(path))
	want := written{path, "adapter", fmt.Sprintf("an adapter (loda) of %d parameters", len(a.Flat())),
		[]string{"rank, alpha            2, 3", "silu", "conv, !conv_out", base.Hash, "base_model.model.conv_in.lora_A.weight [2 4 3 3]"},
		map[string]any{"rank": 2.0, "alpha": 3.0, "classes": 5.0, "base_sha256": base.Hash, "test_mode": testMode, "parameters": float64(len(a.Flat()))}}
	if testMode {
		want.rows = append(want.rows, "NOT private")
	} else {
		want.rows = append(want.rows, "pets, 0a0a", "cat, Öl, c, d, e", "200 to 799", "ddim, 7 steps, guidance 0")
	}
	return want
}

// writeStored stores sections with a secret under the name that is given.
func writeStored(t testing.TB, dir, kind, label, title, section string) written {
	t.Helper()
	store, err := checkpoint.OpenStore(dir)
	must(t, err)
	ref, err := store.Put(label, []checkpoint.Section{{Name: "position", Data: []byte("{}")}, {Name: section, Data: inspectedSecret}})
	must(t, err)
	return written{store.Path(ref), kind, title, []string{fmt.Sprintf("%x (verified)", ref.Hash), "32 bytes"},
		map[string]any{"label": label, "sha256": fmt.Sprintf("%x", ref.Hash), "sections": []any{
			map[string]any{"name": "position", "bytes": 2.0}, map[string]any{"name": section, "bytes": 32.0}}}}
}

func inspectedMechanism(t testing.TB) plan.Mechanism {
	t.Helper()
	m, err := plan.New(plan.Spec{Phase: phaseFinetune, SampleRate: 0.05, Nominal: 1000, NoiseMultiplier: 1.5, ClipNorm: 0.5, Dim: 7, Steps: 3, Reserve: 2})
	must(t, err)
	return m
}

// inspectedLedger has one run of one committed step, one whose charge was lost
// and one that is charged and open.
func inspectedLedger(t testing.TB, budget ledger.Budget) *ledger.Machine {
	t.Helper()
	var m ledger.Machine
	apply := func(e ledger.Entry) ledger.Answer {
		raw, err := ledger.Encode(e)
		must(t, err)
		a := m.Apply(raw)
		must(t, a.Err)
		return a
	}
	run := ledger.RunID{0xc0, 0xff, 0xee}
	step := func(n uint64, nonce, charge byte) ledger.PlanID {
		p := apply(ledger.Plan{Run: run, Prev: m.Head(), Phase: phaseFinetune, Step: n, Nonce: ledger.Nonce{nonce}, Arithmetic: "cpu-f32", State: ledger.Hash{byte(n)}})
		apply(ledger.Charge{Run: run, Prev: m.Head(), Plan: p.PlanID(), Charge: ledger.ChargeID{charge}})
		return p.PlanID()
	}
	register := domain.RegisterPublic(run, budget, ledger.UnitImage, ledger.AddRemove)
	apply(register)
	admit, err := domain.Fill(ledger.Admit{Run: run, Prev: m.Head(), Domain: register.Domain, Unit: ledger.UnitImage, Budget: budget,
		TestMode: budget.EpsilonMicro == ledger.Unlimited, Phases: []plan.Mechanism{inspectedMechanism(t)}}, m.View())
	must(t, err)
	apply(admit)
	p := step(0, 1, 1)
	apply(ledger.Commit{Run: run, Prev: m.Head(), Plan: p, Charge: ledger.ChargeID{1}, NewState: ledger.Hash{1}})
	step(1, 2, 2)
	step(1, 3, 3)
	return &m
}

func writeLedger(t testing.TB, dir string) written {
	t.Helper()
	m := inspectedLedger(t, ledger.Budget{EpsilonMicro: 2_500_000, DeltaNumerator: 1, DeltaExponent: 5})
	g, err := account.Epsilon([]account.Event{{SampleRate: inspectedMechanism(t).SampleRate(), NoiseMultiplier: inspectedMechanism(t).NoiseMultiplier(), Steps: 3}}, 1e-5, account.AddRemove)
	must(t, err)
	path := put(t, dir, "ledger.export", ledger.Export(m.Events()), nil)
	return written{path, "ledger", "an exported ledger of 1 run, its chain of 9 entries verified",
		[]string{m.Head().String(), "c0ffee00000000000000000000000000 of domain public-c0ffee00000000000000000000000000, open", fmt.Sprintf("ε %.6f of 2.5 at δ 1e-05", g.Epsilon),
			"open: 3 steps planned + 2 reserved, 3 charged, 1 committed", "step 1 of finetune, charged"},
		map[string]any{"entries": 9.0, "head": m.Head().String()}}
}

func writeTestLedger(t testing.TB, dir string) written {
	t.Helper()
	m := inspectedLedger(t, ledger.Budget{EpsilonMicro: ledger.Unlimited, DeltaNumerator: 1, DeltaExponent: 5})
	return written{put(t, dir, "ledger.export", ledger.Export(m.Events()), nil), "ledger", "an exported ledger of 1 run, its chain of 9 entries verified",
		[]string{"test mode: nothing here is private (ε = ∞)"}, nil}
}

func inspectedStatement() *Statement {
	return &Statement{Format: statementFormat, EpsilonGranted: 9.99, EpsilonSpent: 9.5, EpsilonBudget: 10, Delta: 1e-5, Unit: "image", NominalSize: 777, Domain: testDomain(),
		Mechanisms: []StatementPhase{{Phase: phaseFinetune, Mechanism: "Gaussian", SampleRate: 0.25, NoiseMultiplier: 1.5, Coordinates: 7, StepsPlanned: 3, StepsReserved: 2, StepsCharged: 4}}}
}

func writeStatementFile(t testing.TB, dir string) written {
	t.Helper()
	text, err := inspectedStatement().JSON()
	return written{put(t, dir, "privacy.json", text, err), "privacy-statement", "a privacy statement: ε 9.9900 granted at δ 1e-05",
		[]string{"ε 9.5000 of 10", "777", "q 0.25, noise multiplier 1.5, 7 coordinates, 4 steps charged of 3 + 2"}, map[string]any{"statement": decoded(t, text)}}
}

func inspectedReport() *Report {
	epsilon, accuracy := 9.5, 0.875
	return &Report{Name: "cats", EpsilonSpent: &epsilon, EpsilonBudget: 10, Delta: 1e-5, ClassifierAccuracy: &accuracy, Seconds: map[string]float64{"sample": 2}}
}

// inspectedFolder is a run folder with metrics and a log.
func inspectedFolder(t testing.TB, dir string) *rundir.Folder {
	t.Helper()
	resolved := bytes.Replace(demoConfig, []byte("name: demo"), []byte("name: cats"), 1)
	f, err := rundir.Open(dir, "c0de", resolved)
	must(t, err)
	metrics, err := f.Metrics()
	must(t, err)
	for _, step := range []uint64{4, 9} {
		must(t, metrics.Append(step, metric{Phase: phaseFinetune, PhaseStep: int(step)}))
	}
	must(t, metrics.Close())
	log, err := f.Log()
	must(t, err)
	logger := slog.New(slog.NewTextHandler(log, nil))
	logger.Info("begin", "name", "cats")
	logger.Error("stopped", "error", errors.New("disk full"))
	must(t, log.Close())
	return f
}

// writeState opens a coordinator, which writes the ledger and the run's secret,
// and stores what a phase stores.
func writeState(t testing.TB, dir string) written {
	t.Helper()
	run := ledger.RunID{0xbe, 0xef}
	c, err := coordinator.Open(context.Background(), coordinator.Options{StateDir: dir, Arithmetic: "cpu-f32", Run: coordinator.RunIdentity{
		ID: run, Public: true, Unit: ledger.UnitImage, Tags: func([]byte) ([]tags.Tag, error) { return nil, nil }, Budget: ledger.Budget{EpsilonMicro: 10e6, DeltaNumerator: 1, DeltaExponent: 5}, Phases: []plan.Mechanism{inspectedMechanism(t)},
	}})
	must(t, err)
	must(t, c.Close())
	writeStored(t, filepath.Join(dir, "runs", run.String(), phaseFinetune, "checkpoints"), "", "charge-1", "", "learner")
	writeStored(t, filepath.Join(dir, "runs", run.String(), phaseFinetune, "sums"), "", "00ff", "", "noised sum")
	writeStored(t, filepath.Join(dir, "runs", run.String(), phaseFinetune, "sums"), "", "00fe", "", "noised sum")
	return written{dir, "state", "a site's state folder: its ledger and the private state of 1 run",
		[]string{run.String() + ", its secret is here", "finetune             1 checkpoints, 2 noised sums"},
		map[string]any{"runs": []any{map[string]any{"run": run.String(), "secret": true, "phases": []any{
			map[string]any{"phase": "finetune", "checkpoints": 1.0, "noised_sums": 2.0}}}}}}
}
