package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/batch"
	"github.com/dploda/dploda/model/unet"
	"github.com/dploda/dploda/worker/task"
)

// changedPretrainer is tinyPretrainer's with pairs of old and new text.
func changedPretrainer(t testing.TB, changes ...string) (*pretrainer, error) {
	t.Helper()
	text := strings.NewReplacer(changes...).Replace(fmt.Sprintf(tinyPretrainConfig, false))
	spec, err := config.ParsePretrain("tiny.yaml", []byte(text), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPretrainer(spec, tinyImages(t, 30, 1))
	if err != nil {
		return nil, err
	}
	if err := p.prepareDescent(spec.Train); err != nil {
		t.Fatal(err)
	}
	return p, p.compile(NewDevice(), 2)
}

func mustPretrainer(t testing.TB, changes ...string) *pretrainer {
	t.Helper()
	p, err := changedPretrainer(t, changes...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// losses are the network's on the first n examples of a training, class by
// label unless label overrides it.
func losses(t testing.TB, p *pretrainer, n int) []float32 {
	t.Helper()
	b := device.NewBuilder()
	net, err := unet.Build(b, p.base.Config, unet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.Output(task.LossOutput, b.MSE(net.Prediction, b.Input(task.TargetInput, b.Shape(net.Prediction)), b.Input(task.WeightInput, device.Shape{C: 1, H: 1, W: 1})))
	list, err := b.Forward()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := p.dev.Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	base := *p.base
	if err := base.SetFlat(p.weights); err != nil {
		t.Fatal(err)
	}
	if err := base.SetParams(exe, list); err != nil {
		t.Fatal(err)
	}
	r, err := batch.New(exe, p.dev.Lanes(), 1)
	if err != nil {
		t.Fatal(err)
	}
	out, e := make([]float32, n), p.preparation.NewExample()
	var channel []float32
	if p.flow != nil {
		channel = make([]float32, p.flow.pixels)
	}
	err = r.Forward(context.Background(), n, func(s device.Stream, lane, i int) error {
		if err := p.prepare(e, &p.streams[0], channel, uint64(i)); err != nil {
			return err
		}
		if err := s.SetInput(task.WeightInput, lane, []float32{1}); err != nil {
			return err
		}
		return task.LoadExample(s, lane, e, p.time)
	}, func(s device.Stream, lane, i int) error { return s.Output(task.LossOutput, lane, out[i:i+1]) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mean(values []float32) (m float64) {
	for _, v := range values {
		m += float64(v) / float64(len(values))
	}
	return m
}

// Both predictions train: the loss on the same examples falls by a tenth. With
// the gradient's sign turned round in descend it was seen to rise.
func TestBothPredictionsTrain(t *testing.T) {
	for _, prediction := range []string{"v", "epsilon"} {
		p := mustPretrainer(t, "train: {images: 48", "prediction: "+prediction+"\ntrain: {images: 480")
		before := mean(losses(t, p, 48))
		if err := p.train(context.Background(), 0, t.TempDir(), quiet{}); err != nil {
			t.Fatal(err)
		}
		if after := mean(losses(t, p, 48)); !(after < 0.9*before) {
			t.Errorf("%s: the loss goes from %.3f to %.3f in %d steps", prediction, before, after, len(p.rates))
		}
	}
}

// savedBase trains a little and saves what came out as a base.
func (p *pretrainer) savedBase(t testing.TB) string {
	t.Helper()
	if err := p.train(context.Background(), 0, t.TempDir(), quiet{}); err != nil {
		t.Fatal(err)
	}
	b, err := p.averaged()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "start")
	if err := b.Save(folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

// A training that starts from an unconditional base begins as that base: fresh
// class rows and a new prototype channel change nothing yet. With rows drawn
// anew it was seen to fail.
func TestAStartIsWhereTheTrainingBegins(t *testing.T) {
	first := mustPretrainer(t, "unet:", "classes: none\nunet:")
	folder := first.savedBase(t)
	first.weights = slices.Clone(first.average.Average())
	want := losses(t, first, 20)
	for name, changes := range map[string][]string{
		"none":       {"unet:", "classes: none\nstart: " + folder + "\nunet:"},
		"own":        {"unet:", "start: " + folder + "\nunet:"},
		"prototypes": {"unet:", "start: " + folder + "\nunet:", "prototype_channel: false", "prototype_channel: true"},
	} {
		p := mustPretrainer(t, changes...)
		if got := losses(t, p, 20); !slices.Equal(got, want) {
			t.Errorf("%s: losses begin with %v, the start's with %v", name, got[:3], want[:3])
		}
		if p.base.Traits.ImagesSeen != 96 || p.base.Traits.StartHash == "" || p.hash == first.hash {
			t.Errorf("%s: traits %+v", name, p.base.Traits)
		}
	}
}

// Where the classes are as many, their embedding is taken over; where they are
// not, every row is the start's row for no label.
func TestClassRowsOfAStart(t *testing.T) {
	first := mustPretrainer(t)
	folder, table := first.savedBase(t), unet.ClassEmbedding+".weight"
	start, err := LoadBase(folder)
	if err != nil {
		t.Fatal(err)
	}
	same := mustPretrainer(t, "unet:", "start: "+folder+"\nunet:")
	if !sameBits(same.base.Tensor(table), start.Tensor(table)) {
		t.Error("an embedding of as many classes is not taken over")
	}
	width, noLabel := start.Config.TimeDim(), start.Tensor(table)
	noLabel = noLabel[len(noLabel)-width:]
	spec, err := config.ParsePretrain("tiny.yaml", []byte(strings.Replace(fmt.Sprintf(tinyPretrainConfig, false), "unet:", "start: "+folder+"\nunet:", 1)), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	d, err := broaden(tinyImages(t, 30, 1), [][]string{{"a", "c"}, {"b"}})
	if err != nil {
		t.Fatal(err)
	}
	broad, err := newPretrainer(spec, d)
	if err != nil {
		t.Fatal(err)
	}
	rows := broad.base.Tensor(table)
	if len(rows) != 3*width {
		t.Fatalf("%d values for two classes and no label, want %d", len(rows), 3*width)
	}
	for i := 0; i < len(rows); i += width {
		if !sameBits(rows[i:i+width], noLabel) {
			t.Errorf("row %d is not the start's for no label", i/width)
		}
	}
	// A base made elsewhere has no such row: the mean class stands for it.
	start.Traits.NoLabelRow = false
	var want float32
	for i := 0; i < len(start.Tensor(table)); i += width {
		want += start.Tensor(table)[i] / 4
	}
	if got := start.noLabel()[0]; got != want {
		t.Errorf("the mean row begins with %v, want %v", got, want)
	}
}

func TestStartsThatDoNotFit(t *testing.T) {
	folder := mustPretrainer(t).savedBase(t)
	for _, c := range []struct{ old, new, want string }{
		{"norm_num_groups: 4", "norm_num_groups: 8", "its unet.norm_num_groups is 4 and the config's 8; they must be the same"},
		{"[8, 16]", "[8, 32]", "its unet.block_out_channels is [8 16] and the config's [8 32]; they must be the same"},
		{"train:", "prediction: epsilon\ntrain:", "its prediction is v_prediction and the config's epsilon; they must be the same"},
		{"train:", "schedule: linear\ntrain:", "its schedule is squaredcos_cap_v2 and the config's linear; they must be the same"},
		{"sample_size: 8", "sample_size: 4", "unet.sample_size is 4x4, but the images become 8x8"},
	} {
		_, err := changedPretrainer(t, "unet:", "start: "+folder+"\nunet:", c.old, c.new)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.new, err, c.want)
		}
	}
	folder = tinyBase(t, true)
	if _, err := changedPretrainer(t, "unet:", "start: "+folder+"\nunet:"); err == nil || !strings.Contains(err.Error(), "it has a prototype channel; set prototype_channel: true") {
		t.Errorf("a start with a prototype channel: %v", err)
	}
	if _, err := changedPretrainer(t, "unet:", "start: nowhere\nunet:"); err == nil || !strings.Contains(err.Error(), "base nowhere") {
		t.Errorf("a start that is not there: %v", err)
	}
}

// Images that are not square, and a start made elsewhere: a network in the first
// DDPM's settings, to which the config gives classes and a size of its own.
func TestAnOblongTrainingFromABaseMadeElsewhere(t *testing.T) {
	spec, err := config.ParsePretrain("oblong.yaml", []byte(`
data: {kind: idx, public: true}
start: testdata/elsewhere
unet:
  sample_size: [12, 4]
  block_out_channels: [4, 8]
  down_block_types: [DownBlock2D, AttnDownBlock2D]
  up_block_types: [AttnUpBlock2D, UpBlock2D]
  norm_num_groups: 2
  attention_head_dim: 8
  downsample_padding: 0
  freq_shift: 1
  flip_sin_to_cos: false
  norm_eps: 1e-6
prediction: epsilon
schedule: scaled_linear
train: {images: 32, batch: 16, warmup: 0}
grids: 1
`), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dataset.NewMemory(1, 12, 4, []string{"a", "b"}, make([]uint8, 6*48), []uint16{0, 1, 0, 1, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPretrainer(spec, d)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.base.Traits; got.Timesteps != 500 || got.BetaEnd != 0.015 || !got.NoLabelRow {
		t.Errorf("traits %+v, want the start's noise", got)
	}
	if err := errors.Join(p.prepareDescent(spec.Train), p.compile(NewDevice(), 1)); err != nil {
		t.Fatal(err)
	}
	folder := p.savedBase(t)
	b, err := LoadBase(folder)
	if err != nil {
		t.Fatal(err)
	}
	if b.Config.SampleHeight != 12 || b.Config.SampleWidth != 4 || b.PublicClasses() != 2 {
		t.Errorf("%+v", b.Config)
	}
}

func TestBroadClasses(t *testing.T) {
	d := tinyImages(t, 7, 1)
	b, err := broaden(d, [][]string{{"c"}, {"b", "a"}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Classes(), []string{"c", "b"}) {
		t.Errorf("classes %q", b.Classes())
	}
	for i := range d.Len() {
		if want := []int{1, 1, 0}[d.Label(i)]; b.Label(i) != want {
			t.Errorf("class %d is in group %d, want %d", d.Label(i), b.Label(i), want)
		}
	}
	for want, groups := range map[string][][]string{
		`names "d", which is no class`: {{"a", "b", "c", "d"}},
		`names "a" twice`:              {{"a", "b"}, {"c", "a"}},
		`leaves out the class "b"`:     {{"a", "c"}},
		"list 2 is empty":              {{"a", "b", "c"}, {}},
	} {
		if _, err := broaden(d, groups); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", groups, err, want)
		}
	}
}

// Pictures are drawn evenly, the last after the last step.
func TestGridAt(t *testing.T) {
	for _, c := range []struct{ total, count, want int }{{312, 5, 5}, {5, 5, 5}, {3, 5, 3}, {100, 1, 1}, {100, 0, 0}, {1, 7, 1}} {
		drawn := 0
		for done := 1; done <= c.total; done++ {
			if gridAt(done, c.total, c.count) {
				drawn++
				if done == c.total {
					drawn += 1000
				}
			}
		}
		if want := c.want; c.count > 0 && drawn != want+1000 || c.count == 0 && drawn != 0 {
			t.Errorf("%d of %d steps: %d pictures", c.count, c.total, drawn)
		}
	}
}

// Pictures change no weight, and are the same after a stop as without one.
func TestGridsOnTheWay(t *testing.T) {
	for _, prototypes := range []bool{false, true} {
		with, without := tinyPretrainer(t, prototypes, 2), tinyPretrainer(t, prototypes, 2)
		with.grids, without.grids = 2, 0
		folder, bare := t.TempDir(), t.TempDir()
		for p, f := range map[*pretrainer]string{with: folder, without: bare} {
			if err := p.train(context.Background(), 0, f, quiet{}); err != nil {
				t.Fatal(err)
			}
		}
		if !sameBits(with.weights, without.weights) {
			t.Error("drawing changes the training")
		}
		if names := listed(t, folder); !slices.Equal(names, []string{"samples-3.png", "samples-6.png"}) {
			t.Errorf("pictures %q", names)
		}
		if names := listed(t, bare); len(names) != 0 {
			t.Errorf("files %q without pictures", names)
		}
	}
}

func listed(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
