package pipeline

import (
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/internal/rundir"
	"github.com/dploda/dploda/internal/tags"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/worker/fleet"
)

// admittedMark says in the run folder that a ledger was asked to admit the
// run: from then on the run cannot go on without that ledger.
const admittedMark = "admitted"

// finetuneStage takes the run through its private phases and saves what they
// released.
func (r *run) finetuneStage(ctx context.Context) error {
	r.obs.Stage("probe: two noiseless steps on public random images")
	if err := r.probe(ctx); err != nil {
		return err
	}
	start, err := r.startAdapter()
	if err != nil {
		return err
	}
	m := &model{adapter: start}
	phases, learner, err := r.phases(m)
	if err != nil {
		return err
	}
	stop := ctx
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	workers, err := r.startWorkers(ctx, broken)
	if err != nil {
		return err
	}
	defer workers.close()
	c, err := r.openCoordinator(ctx, workers.fleet)
	if err != nil {
		return err
	}
	defer c.Close()
	metrics, err := r.folder.Metrics()
	if err != nil {
		return err
	}
	defer metrics.Close()
	watch := &watcher{run: r, metrics: metrics, learner: learner, coordinator: c}
	err = c.Run(ctx, phases, watch.observe)
	watch.end()
	if err == nil {
		err = watch.err
	}
	if err != nil {
		return workers.explain(err, stop.Err() != nil)
	}
	if err := m.adapter.SetFlat(learner.average.Average()); err != nil {
		return err
	}
	if err := r.saveModel(m); err != nil {
		return err
	}
	return r.folder.MarkDone(stageFinetune)
}

// phases couples the mechanisms with the learners of their sums; m gets the
// centres that the learners will fill.
func (r *run) phases(m *model) ([]coordinator.Phase, *adapterLearner, error) {
	var phases []coordinator.Phase
	if r.prototypes != nil {
		m.centers = prototype.New(*r.prototypes)
		phases = append(phases, coordinator.Phase{
			Mechanism: r.mechanisms[0], Examples: r.units.Len(),
			Learner: &prototypeLearner{mechanism: r.mechanisms[0], centers: m.centers},
		})
	}
	learner, err := r.newAdapterLearner(m.adapter, m.centers)
	if err != nil {
		return nil, nil, err
	}
	return append(phases, coordinator.Phase{Mechanism: r.finetune(), Examples: r.units.Len(), Learner: learner}), learner, nil
}

// openCoordinator opens the site's ledger for this run; a nil fleet serves to
// read a finished run.
func (r *run) openCoordinator(ctx context.Context, f fleet.Fleet) (*coordinator.Coordinator, error) {
	state, err := r.stateDir()
	if err != nil {
		return nil, err
	}
	b, err := budget(r.spec.Privacy, r.opts.TestSeed != nil)
	if err != nil {
		return nil, err
	}
	hash, err := hex.DecodeString(r.spec.Hash())
	if err != nil {
		return nil, err
	}
	c, err := coordinator.Open(ctx, coordinator.Options{
		StateDir: state, Resume: r.folder.Done(admittedMark), Fleet: f, Arithmetic: r.dev.Kind(), TestSeed: r.opts.TestSeed,
		Run: coordinator.RunIdentity{
			ID: ledger.RunID(r.identity.RunID), Domain: r.spec.Privacy.Domain, Public: r.spec.Data.Public, Unit: r.ledgerUnit(), Adjacency: r.ledgerAdjacency(),
			Spec: ledger.Hash(hash), Budget: b, Phases: r.mechanisms,
			Tags: func(key []byte) ([]tags.Tag, error) { return dataset.Tags(key, r.train) },
		},
		Logger: r.log, MinWorkers: r.spec.Workers.Min, CheckpointEvery: r.spec.CheckpointEvery,
	})
	if err != nil {
		return nil, err
	}
	return c, r.folder.MarkDone(admittedMark)
}

// ledgerView is what the ledger says after this finished run; a copy of the
// events goes into the run folder.
func (r *run) ledgerView(ctx context.Context) (ledger.View, error) {
	c, err := r.openCoordinator(ctx, nil)
	if err != nil {
		return ledger.View{}, err
	}
	defer c.Close()
	return c.Ledger(), r.folder.WriteFile(filepath.Join("private", ledgerExport), ledger.Export(c.Events()))
}

// ledgerExport is the copy of the ledger in a run's private folder.
const ledgerExport = "ledger.export"

// watcher turns the coordinator's progress into metrics and what a person
// sees: released values, settings and smoothed rates only.
type watcher struct {
	*run
	metrics     *rundir.Metrics
	learner     *adapterLearner
	coordinator *coordinator.Coordinator
	accountant  *account.Meter // of what the ledger was charged
	meter       *meter
	phase       string
	note        string
	endPhase    func()
	err         error
}

// metric is one line of metrics.jsonl.
type metric struct {
	Phase     string   `json:"phase"`
	PhaseStep int      `json:"phase_step"`
	Charges   int      `json:"charges"`
	Epsilon   *float64 `json:"epsilon_spent"` // null in test mode
	Workers   int      `json:"workers"`
	// UpdateNorm is the L2 norm of the released mean gradient, noise included.
	UpdateNorm float64 `json:"update_norm,omitempty"`
	// Loss and Clipped are the released mean loss and share of clipped
	// gradients, noise included; null without a training curve.
	Loss         *float64 `json:"loss,omitempty"`
	LossSmoothed *float64 `json:"loss_smoothed,omitempty"`
	Clipped      *float64 `json:"clipped,omitempty"`
	// ClipNorm is the next step's, with adaptive clipping.
	ClipNorm float64 `json:"clip_norm,omitempty"`
	Rate     float64 `json:"images_per_second,omitempty"` // nominal, smoothed; a unit counts as one
}

func (w *watcher) observe(p coordinator.Progress) {
	if p.Phase != w.phase {
		w.begin(p)
	}
	if p.Note != "" && p.Note != w.note {
		w.note = p.Note
		w.obs.Note(p.Note)
	}
	epsilon, err := w.epsilon()
	if err != nil {
		w.err = err
		return
	}
	progress := Progress{Stage: p.Phase, Done: p.Step, Total: p.Steps, Unit: "steps"}
	if epsilon != nil {
		progress.Epsilon, progress.Budget = *epsilon, w.spec.Privacy.Epsilon
	}
	line := metric{Phase: p.Phase, PhaseStep: p.Step, Charges: p.Charges, Epsilon: epsilon, Workers: p.Workers}
	perStep := w.meter.advance(p.Step)
	if p.Phase == phaseFinetune {
		w.learner.describe(&line)
		progress.Loss = line.LossSmoothed
		if perStep > 0 {
			progress.Rate = float64(w.spec.Finetune.Batch) / perStep
			progress.Left = time.Duration(float64(p.Steps-p.Step) * perStep * float64(time.Second))
			line.Rate = progress.Rate
		}
	}
	w.obs.Progress(progress)
	// A process that was killed may have committed its last step and not
	// written its line: the next one does.
	if step := w.before(p.Phase) + uint64(p.Step); step > w.metrics.Last() {
		if err := w.metrics.Append(step, line); err != nil {
			w.err = err
		}
	}
}

// describe enters what the last step's released sum tells.
func (l *adapterLearner) describe(line *metric) {
	c := l.curve
	line.UpdateNorm, line.LossSmoothed = c.updateNorm, c.smoothed()
	if line.LossSmoothed != nil {
		line.Loss = &c.loss
	}
	if l.mechanism.ClipDelta > 0 && c.updateNorm > 0 { // a step was released
		line.Clipped = &c.clipped
	}
	if l.adaptive != nil {
		line.ClipNorm = l.mechanism.ClipNorm
	}
}

func (w *watcher) begin(p coordinator.Progress) {
	w.end()
	w.phase = p.Phase
	w.endPhase = w.timings.measure(p.Phase)
	w.meter = newMeter(time.Now, p.Step)
	w.obs.Stage(p.Phase)
}

// end stops the running phase's clock.
func (w *watcher) end() {
	if w.endPhase != nil {
		w.endPhase()
		w.endPhase = nil
	}
}

// before is the number of steps of the phases before this one.
func (w *watcher) before(phase string) uint64 {
	var n int
	for _, m := range w.mechanisms {
		if m.Phase == phase {
			break
		}
		n += m.Steps
	}
	return uint64(n)
}

// epsilon is what the ledger was charged so far; nil in test mode.
func (w *watcher) epsilon() (*float64, error) {
	if w.opts.TestSeed != nil {
		return nil, nil
	}
	view, ok := w.coordinator.Ledger().Run(ledger.RunID(w.identity.RunID))
	if !ok {
		return nil, fmt.Errorf("the ledger does not know this run")
	}
	if w.accountant == nil {
		var err error
		if w.accountant, err = account.NewMeter(view.Admit.Budget.Delta(), w.adjacency()); err != nil {
			return nil, err
		}
	}
	g, err := w.accountant.Epsilon(domain.Spent(view))
	return &g.Epsilon, err
}
