package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/images"
	"github.com/dploda/dploda/model/augment"
	"github.com/dploda/dploda/model/classifier"
)

// mostBaselineImages is how many images each of the rows beside ours is made
// of at most: enough for a fair figure, few enough not to cost more than the run.
const mostBaselineImages = 600

// baselineImages are no more than ours.
func (r *run) baselineImages() int { return min(mostBaselineImages, r.spec.Sample.Images) }

// gridColumns is how many images of a class a picture shows.
const gridColumns = 8

// reportStage judges what came out and writes the rest of share/. Its mark is
// the last: with it the run is complete.
func (r *run) reportStage(ctx context.Context, m *model) (*Report, error) {
	done := r.timings.measure(stageReport)
	view, err := r.ledgerView(ctx)
	if err != nil {
		return nil, err
	}
	report := r.newReport()
	var statement *Statement
	if r.opts.TestSeed == nil {
		if statement, err = r.writeStatement(view); err != nil {
			return nil, err
		}
		report.EpsilonSpent = &statement.EpsilonSpent
	}
	if err := r.judge(ctx, m, view, report); err != nil {
		return nil, err
	}
	done()
	report.Seconds = r.sharedSeconds()
	report.finishRates(r)
	content, err := report.JSON()
	if err != nil {
		return nil, err
	}
	if err := r.folder.WriteFile(filepath.Join("share", "report.json"), content); err != nil {
		return nil, err
	}
	if err := r.writePage(report, statement); err != nil {
		return nil, err
	}
	return report, r.folder.MarkDone(stageReport)
}

// newReport holds what is known before anything is judged.
func (r *run) newReport() *Report {
	return &Report{
		Name: r.spec.Name, TestMode: r.opts.TestSeed != nil,
		EpsilonBudget: r.spec.Privacy.Epsilon, Delta: r.spec.Privacy.Delta,
		Workers: r.spec.Workers.Count, Steps: r.finetune().Steps, Parameters: r.finetune().GradientDim(),
		SyntheticImages: r.spec.Sample.Images, Device: DeviceDescription(), Version: Version,
		BaselineImages: r.baselineImages(), Classifiers: []*ClassifierReport{},
		Base: r.base.Traits.PublicData, BaseHash: r.base.Hash, Settings: string(r.spec.Shareable()),
	}
}

// sharedSeconds are the stages' wall times. Those of a few steps on private
// images tell of their number: such a phase is left out.
func (r *run) sharedSeconds() map[string]float64 {
	seconds := maps.Clone(r.timings.Seconds)
	for _, m := range r.mechanisms {
		if !r.spec.Data.Public && m.Steps < smoothing {
			delete(seconds, m.Phase)
		}
	}
	return seconds
}

// finishRates turns the timings into rates: nominal images over wall time.
func (rep *Report) finishRates(r *run) {
	if s := rep.Seconds[phaseFinetune]; s > 0 {
		rep.ImagesPerSecond = float64(r.spec.Finetune.Batch*r.spec.Finetune.Steps) / s
	}
	if s := rep.Seconds[stageSample]; s > 0 {
		rep.SamplesPerSec = float64(r.spec.Sample.Images) / s
	}
}

// judge fills in the accuracies and draws the pictures.
func (r *run) judge(ctx context.Context, m *model, view ledger.View, report *Report) error {
	if err := r.resample(ctx, m); err != nil {
		return err
	}
	start, err := r.startAdapter()
	if err != nil {
		return err
	}
	before, err := r.sampleImages(ctx, r.generator(start, nil), r.baselineImages(), "images before fine-tuning")
	if err != nil {
		return err
	}
	if err := r.drawSamples(before); err != nil {
		return err
	}
	if err := r.reportPrototypes(view, report); err != nil {
		return err
	}
	j := r.newJudge()
	for _, name := range r.spec.Evaluate.Classifiers {
		c, err := j.classify(ctx, classifier.Network(name), r.synthetic)
		if err != nil {
			return err
		}
		report.Classifiers = append(report.Classifiers, c)
	}
	if !r.spec.Data.Public {
		r.obs.Note("the data are private: no exact accuracy on real images is computed")
		return nil
	}
	if err := r.drawComparison(); err != nil {
		return err
	}
	if report.Frechet, err = r.frechet(ctx); err != nil {
		return err
	}
	centroid := j.nearestCentroid(r.train)
	report.NearestCentroidAccuracy = &centroid
	if len(report.Classifiers) == 0 {
		return nil
	}
	report.ClassifierAccuracy = &report.Classifiers[0].Test.Right
	return r.judgeBaselines(ctx, j, m, before, report)
}

// judgeBaselines scores the rows beside ours, each by the first classifier.
func (r *run) judgeBaselines(ctx context.Context, j *judge, m *model, before dataset.Dataset, report *Report) error {
	var err error
	if report.BaseAccuracy, err = scored(j.score(ctx, "images before fine-tuning", before)); err != nil {
		return err
	}
	if report.RealAccuracy, err = scored(j.score(ctx, "as many real images", first(r.train, r.synthetic.Len()))); err != nil {
		return err
	}
	if err := r.judgePublic(ctx, j, report); err != nil {
		return err
	}
	return r.judgePrototypes(ctx, j, m, report.Prototypes)
}

// judgePublic scores the base under its own classes with the best mapping. An
// unconditional base has none: its images say nothing of any class.
func (r *run) judgePublic(ctx context.Context, j *judge, report *Report) error {
	if r.base.PublicClasses() == 0 {
		report.NoPublicClasses = true
		return nil
	}
	public, err := r.sampleImages(ctx, r.publicGenerator(), r.baselineImages(), "the base's public classes")
	if err != nil {
		return err
	}
	report.PublicOnlyAccuracy, err = scored(j.scoreMapped(ctx, "public images only", public))
	return err
}

func scored(accuracy float64, err error) (*float64, error) { return &accuracy, err }

// reportPrototypes says what the private prototypes are and what they would cost
// by themselves.
func (r *run) reportPrototypes(view ledger.View, report *Report) error {
	if r.prototypes == nil {
		return nil
	}
	report.Prototypes = &PrototypesReport{Clusters: r.prototypes.Clusters, Rounds: r.prototypes.Rounds}
	if r.opts.TestSeed != nil {
		return nil
	}
	run, _ := view.Run(ledger.RunID(r.identity.RunID)) // known: the statement was made of it
	alone := ledger.RunView{Phases: run.Phases[:1]}
	epsilon, _, err := epsilons(domain.Spent(alone), run.Admit.Budget.Delta(), r.ledgerAdjacency())
	report.Prototypes.EpsilonAlone = &epsilon
	return err
}

// judgePrototypes takes the run apart: the prototypes without any gradient step,
// the adapter without its prototypes, and both, of equally many images.
func (r *run) judgePrototypes(ctx context.Context, j *judge, m *model, p *PrototypesReport) error {
	if p == nil {
		return nil
	}
	start, err := r.startAdapter()
	if err != nil {
		return err
	}
	alone, err := r.sampleImages(ctx, r.generator(start, m), r.baselineImages(), "with prototypes alone")
	if err != nil {
		return err
	}
	if p.Accuracy, err = scored(j.score(ctx, "prototypes alone", alone)); err != nil {
		return err
	}
	without, err := r.sampleImages(ctx, r.generator(m.adapter, nil), r.baselineImages(), "without prototypes")
	if err != nil {
		return err
	}
	if p.AdapterAccuracy, err = scored(j.score(ctx, "the adapter alone", without)); err != nil {
		return err
	}
	p.BothAccuracy, err = scored(j.score(ctx, "as few synthetic images", first(r.synthetic, r.baselineImages())))
	return err
}

// newJudge is the classifier's protocol as the config has it.
func (r *run) newJudge() *judge {
	e := r.spec.Evaluate
	c := classifier.DefaultConfig(r.classes, runtime.NumCPU())
	c.Epochs, c.Batch, c.LR, c.Seed = e.Epochs, e.Batch, e.LearningRate, r.spec.Seed
	c.HoldOut, c.Last = e.HoldOut, e.Choose == config.ChooseLast
	if len(e.Classifiers) > 0 {
		c.Network = classifier.Network(e.Classifiers[0])
	}
	c.Augment = augment.Affine{}
	if e.Augment {
		c.Augment = augment.Digits()
	}
	stage := ""
	return &judge{dev: r.dev, config: c, test: r.test, observe: func(name string, done, total int) {
		if name != stage {
			stage = name
			r.obs.Stage("train a classifier on " + name)
		}
		r.obs.Progress(Progress{Stage: "classifier", Done: done, Total: total, Unit: "steps"})
	}}
}

// resample draws the synthetic images again in a process that did not draw
// them itself.
func (r *run) resample(ctx context.Context, m *model) error {
	if r.synthetic != nil {
		return nil
	}
	var err error
	r.synthetic, err = r.sampleImages(ctx, r.generator(m.adapter, m), r.spec.Sample.Images, "synthetic images again")
	return err
}

// drawSamples writes share/samples.png: synthetic images alone.
func (r *run) drawSamples(before dataset.Dataset) error {
	grid := images.Grid{
		Title: fmt.Sprintf("%s: synthetic images", r.spec.Name), RowLabels: r.train.Classes(), Scale: 2,
		Panels: []images.Panel{
			{Title: "before fine-tuning", Rows: rowsOf(before, r.classes)},
			{Title: r.afterTitle(), Rows: rowsOf(r.synthetic, r.classes)},
		},
	}
	return grid.Write(r.folder.Share("samples.png"))
}

func (r *run) afterTitle() string {
	if r.opts.TestSeed != nil {
		return "after (test mode, not private)"
	}
	return fmt.Sprintf("after, epsilon = %g", r.spec.Privacy.Epsilon)
}

// drawComparison writes private/compare.png: real images beside synthetic
// ones, for data declared public.
func (r *run) drawComparison() error {
	grid := images.Grid{
		Title: fmt.Sprintf("%s: real beside synthetic", r.spec.Name), RowLabels: r.train.Classes(), Scale: 2,
		Panels: []images.Panel{
			{Title: "real", Rows: rowsOf(r.train, r.classes)},
			{Title: "synthetic", Rows: rowsOf(r.synthetic, r.classes)},
		},
	}
	return grid.Write(r.folder.Private("compare.png"))
}

// rowsOf takes the first images of each class.
func rowsOf(d dataset.Dataset, classes int) [][]images.Image {
	rows := make([][]images.Image, classes)
	c, h, w := d.Shape()
	for i, full := 0, 0; i < d.Len() && full < classes; i++ {
		k := d.Label(i)
		if len(rows[k]) == gridColumns {
			continue
		}
		rows[k] = append(rows[k], images.Image{C: c, H: h, W: w, Pix: d.Image(i)})
		if len(rows[k]) == gridColumns {
			full++
		}
	}
	return rows
}

// loadReport reads a complete run's report.
func (r *run) loadReport() (*Report, error) {
	content, err := os.ReadFile(r.folder.Share("report.json"))
	if err != nil {
		return nil, err
	}
	var report Report
	if err := json.Unmarshal(content, &report); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", r.folder.Share("report.json"), err)
	}
	return &report, nil
}
