package pipeline

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/model/draws"
)

// forecast is of a config, without measuring.
func forecast(t *testing.T, spec *config.RunSpec, epsilons ...float64) *Forecast {
	t.Helper()
	f, err := PlanAhead(context.Background(), spec, ForecastOptions{Epsilons: epsilons, State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// exampleSpec is examples/mnist.yaml with changed text.
func exampleSpec(t *testing.T, changes ...string) *config.RunSpec {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "examples", "mnist.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := config.ParseRun("mnist.yaml", []byte(strings.NewReplacer(changes...).Replace(string(content))), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// A forecast is the same whatever lies in the data folder: nothing, or files that
// cannot be read as images. (Tried with a call of openTrain in PlanAhead: the
// missing folder fails.)
func TestForecastOpensNoPrivateFile(t *testing.T) {
	folder := t.TempDir()
	spec := tinySpec(t, "batch: 16", everyone)
	var texts []string
	for _, path := range []string{filepath.Join(folder, "missing"), folder} {
		spec.Data.Folder, spec.Data.Units = path, "units.csv"
		texts = append(texts, forecast(t, spec, 8).Text())
		for _, name := range []string{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "units.csv"} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte("no images"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if texts[0] != texts[1] {
		t.Errorf("the forecast depends on the data folder:\n%s\n%s", texts[0], texts[1])
	}
}

// The recorded MNIST run is good; a few hundred images at ε 1 are warned of, and so
// is a batch whose noise drowns it. (Tried with Step not divided by the batch and
// with Run not divided by √T: each turns a case around.)
func TestVerdictsOnKnownRuns(t *testing.T) {
	for _, tc := range []struct {
		name    string
		spec    *config.RunSpec
		epsilon float64
		want    verdict
		advice  string
	}{
		{"mnist", exampleSpec(t), 10, verdictGood, "small beside the signal"},
		{"300 images", exampleSpec(t, "60000", "300", "batch: 1024", "batch: 64", "noise_multiplier: 5", "noise_multiplier: 60"), 1, verdictNoisy, "300 images are too few for ε 1, whatever batch and steps are"},
		{"small batch", exampleSpec(t, "batch: 1024", "batch: 64"), 3, verdictNoisy, "larger finetune.batch"},
		{"less than the prototypes cost", exampleSpec(t), 0.5, verdictImpossible, "the prototypes alone cost ε 1.76; raise prototypes.noise_multiplier"},
	} {
		row := forecast(t, tc.spec, tc.epsilon).Rows[0]
		if row.Noise.Least > row.Noise.Run {
			t.Errorf("%s: the least noise over a run is %v, but this one has %v", tc.name, row.Noise.Least, row.Noise.Run)
		}
		if row.Verdict != tc.want || !strings.Contains(row.Advice, tc.advice) {
			t.Errorf("%s: %s (%s), want %s (%s); noise %+v", tc.name, row.Verdict, row.Advice, tc.want, tc.advice, row.Noise)
		}
	}
}

// Noise.Step is the norm of drawn noise over batch times clipping norm: for d
// coordinates the norm has a relative standard deviation of 1/√(2d), 1.1 % here;
// outside 6 of them in 2 of 10⁹ tests. (Tried without the square root.)
func TestNoiseIsThatOfDrawnVectors(t *testing.T) {
	m, err := plan.New(plan.Spec{Phase: phaseFinetune, SampleRate: 0.01, Nominal: 10_000, NoiseMultiplier: 0.7, ClipNorm: 1e-3, Dim: 4000, Steps: 25})
	if err != nil {
		t.Fatal(err)
	}
	s := draws.New(draws.SeedKey(1, "noise")).Stream(0, 0, draws.Noise)
	sum := 0.0
	for range m.GradientDim() {
		z := 0.7 * 1e-3 * float64(s.Normal())
		sum += z * z
	}
	got, want := noiseOf(m, 0.9), math.Sqrt(sum)/(100*1e-3)
	if math.Abs(got.Step/want-1) > 6/math.Sqrt(2*4000) {
		t.Errorf("Step is %v, drawn %v", got.Step, want)
	}
	// The first moment of white noise: Σ (1−β)²β²ᵏ.
	variance := 0.0
	for k := range 1000 {
		w := 0.1 * math.Pow(0.9, float64(k))
		variance += w * w
	}
	if want := got.Step * math.Sqrt(variance); math.Abs(got.Momentum/want-1) > 1e-9 {
		t.Errorf("Momentum is %v, want %v", got.Momentum, want)
	}
	if want := got.Step / 5; math.Abs(got.Run/want-1) > 1e-12 {
		t.Errorf("Run is %v, want %v", got.Run, want)
	}
}

// The steps that fit cost at most ε and one step more costs more, by the
// accountant itself.
func TestStepsThatFit(t *testing.T) {
	r := tinyRun(t, "batch: 16", everyone).resolved
	for _, sigma := range []float64{0.2, 1.5, 4, 12.3} {
		n, err := r.stepsAt(sigma)
		if err != nil {
			t.Fatal(err)
		}
		cost := func(steps int) float64 {
			events := append(domain.Granted(r.mechanisms[:1]), account.Event{SampleRate: 1, NoiseMultiplier: sigma, Steps: steps + plan.DefaultReserve(steps)})
			g, err := account.Epsilon(events, r.spec.Privacy.Delta, r.adjacency())
			if err != nil {
				t.Fatal(err)
			}
			return g.Epsilon
		}
		if n > 0 && cost(n) > r.spec.Privacy.Epsilon || cost(n+1) <= r.spec.Privacy.Epsilon {
			t.Errorf("σ %v: %d steps cost ε %v, one more %v", sigma, n, cost(n), cost(n+1))
		}
	}
}

// hours spreads groups over threads as a simulation does that gives each group to
// the thread that is free first. (Tried with groups not rounded up.)
func TestHoursFollowASimulation(t *testing.T) {
	r := tinyRun(t, "batch: 16", everyone).resolved
	rates := &Rates{Finetune: 100, FinetuneThreads: 2, Prototypes: 1e6, Sample: 50, Cores: 2}
	for _, on := range []machines{{count: 1, threads: 1, cores: 1}, {count: 2, threads: 1, cores: 2}, {count: 2, threads: 3, cores: 3}, {count: 4, threads: 16, cores: 16}} {
		busy := make([]float64, on.count*on.threads) // seconds until each thread is free
		for left := r.spec.Finetune.Batch; left > 0; left -= r.spec.Workers.MicroBatch {
			first := 0
			for i := range busy {
				if busy[i] < busy[first] {
					first = i
				}
			}
			busy[first] += float64(r.spec.Workers.MicroBatch) / (rates.Finetune / 2)
		}
		longest := 0.0
		for _, b := range busy {
			longest = max(longest, b)
		}
		h := r.hours(rates, on)
		if want := longest * float64(r.spec.Finetune.Steps) / 3600; math.Abs(h.Finetune/want-1) > 1e-9 {
			t.Errorf("%+v: fine-tuning %v h, simulated %v", on, h.Finetune, want)
		}
		if want := float64(r.spec.Sample.Images) / (25 * float64(on.cores)) / 3600; math.Abs(h.Sample/want-1) > 1e-9 {
			t.Errorf("%+v: sampling %v h, want %v", on, h.Sample, want)
		}
		if sum := h.Prototypes + h.Finetune + h.Sample + h.Evaluate; math.Abs(h.Total/sum-1) > 1e-12 {
			t.Errorf("%+v: the total is %v, the parts %v", on, h.Total, sum)
		}
	}
	slow := r.hours(rates, machines{count: 4, threads: 16, cores: 16, link: 1}) // a byte per second
	bytes := 4 * float64(r.dim) * (0.75 + 1 + 4) * float64(r.spec.Finetune.Steps)
	if got := slow.Finetune*3600 - bytes; got < 0 || got > 1e-3*bytes {
		t.Errorf("a step's traffic takes %v s at a byte per second, want %v", slow.Finetune*3600, bytes)
	}
}

// counter adds up what a run reports.
type counter struct {
	quiet
	sampled, classified int
}

func (c *counter) Progress(p Progress) {
	if p.Done == p.Total {
		switch p.Stage {
		case "sample":
			c.sampled += p.Total
		case "classifier":
			c.classified += p.Total
		}
	}
}

// A run samples and classifies as many images as workload says.
func TestWorkloadIsThatOfARun(t *testing.T) {
	spec, err := config.ParseRun("small.yaml", []byte(`
name: small
data: {kind: drawn-private, public: true, train_images: 64, test_images: 20, nominal_size: 64}
prototypes: {clusters: 1, rounds: 1}
finetune: {batch: 64, steps: 1}
sample: {images: 32, steps: 1}
evaluate: {classifiers: [cnn, wrn-16-4], epochs: 2, batch: 16, hold_out: 0.5}
workers: {threads: 1}
`), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	r, err := fit(spec)
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{}
	if _, err := Run(context.Background(), spec, RunOptions{Out: filepath.Join(t.TempDir(), "run"), Demo: true}, c); err != nil {
		t.Fatal(err)
	}
	if w := r.workload(); w.Sample != c.sampled || w.Classifiers["cnn"]+w.Classifiers["wrn-16-4"] != 16*c.classified || w.Finetune != 64 || w.Prototypes != 64 {
		t.Errorf("the workload is %+v, the run sampled %d and took %d steps of 16 in classifiers", w, c.sampled, c.classified)
	}
}

// A base with a prototype channel and a config without the section: the run has no
// such stage, and is told what it forgoes; plan shows what it would cost.
func TestPrototypesAreNeverSwitchedOn(t *testing.T) {
	spec := tinySpec(t, "prototypes: {clusters: 2, rounds: 2, noise_multiplier: 20, size: 8}\n", "", "batch: 16", everyone)
	r, err := resolve(spec)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.mechanisms) != 1 || r.prototypes != nil {
		t.Errorf("the run has %d phases, want fine-tuning alone", len(r.mechanisms))
	}
	without := forecast(t, spec, 8.2)
	if !strings.Contains(without.Text(), noPrototypes) || without.Rows[0].OtherSigma <= without.Rows[0].Sigma {
		t.Errorf("the forecast does not say what the prototypes would cost:\n%s", without.Text())
	}
	p, err := DryRun(spec, t.TempDir())
	if err != nil || !strings.Contains(p.Text(), noPrototypes) {
		t.Errorf("the dry run does not say what the run forgoes (error %v)", err)
	}
	with := forecast(t, tinySpec(t, "batch: 16", everyone), 8.2)
	if strings.Contains(with.Text(), noPrototypes) || with.Rows[0].OtherSigma >= with.Rows[0].Sigma || with.Prototypes == nil {
		t.Errorf("the forecast with prototypes does not say what they cost:\n%s", with.Text())
	}
}

// The rates of a config are measured through the run's own code, on any network.
func TestMeasureRates(t *testing.T) {
	r := tinyRun(t, "batch: 16", everyone).resolved
	rates, err := r.measure(context.Background(), 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if rates.Finetune <= 0 || rates.Prototypes <= 0 || rates.Sample <= 0 || rates.FinetuneThreads != 2 || rates.Cores != runtime.NumCPU() {
		t.Errorf("got %+v", rates)
	}
	if len(rates.Classifiers) != 1 || rates.Classifiers["cnn"] <= 0 || rates.alone.Classifiers["cnn"] <= 0 {
		t.Errorf("the classifiers' rates are %v, alone %v", rates.Classifiers, rates.alone.Classifiers)
	}
	if rates.alone.Finetune < rates.Finetune*0.99 {
		t.Errorf("alone the machine is slower: %v and %v a second", rates.alone.Finetune, rates.Finetune)
	}
}
