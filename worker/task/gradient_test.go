package task

import (
	"context"
	"encoding"
	"errors"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/clip"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/model/unet"
)

const (
	testExamples = 24
	testClasses  = 3
	testCopies   = 2

	testLossBound = 0.65
)

// network is what all tests of the gradient share: a compiled tiny U-Net with
// adapters that have left their start, and a mechanism with side coordinates that
// clips about half of the examples and cuts some of their losses.
type network struct {
	exe         device.Executable
	lanes       int
	weights     []float32
	times       [][]float32
	preparation *diffusion.Preparation
	data        dataset.Dataset
	mechanism   plan.Mechanism
}

var tiny = sync.OnceValues(func() (*network, error) {
	c := unet.Defaults()
	c.SampleHeight, c.SampleWidth, c.InChannels, c.OutChannels = 8, 8, 2, 1
	c.BlockOutChannels, c.LayersPerBlock, c.NormNumGroups = []int{8, 16}, 1, 4
	c.DownBlockTypes, c.UpBlockTypes = []string{"DownBlock2D", "DownBlock2D"}, []string{"UpBlock2D", "UpBlock2D"}
	c.AddAttention, c.NumClassEmbeds = false, testClasses+1
	key := draws.New(draws.SeedKey(1, "task test"))
	base, err := unet.NewBase(c, key)
	if err != nil {
		return nil, err
	}
	spec := adapter.Spec{Kind: adapter.LoDA, Rank: 2, Alpha: 2, Nonlinearity: adapter.SiLU, Targets: []string{adapter.TargetConv}, Classes: testClasses}
	a, err := adapter.Start(base, spec, key)
	if err != nil {
		return nil, err
	}
	b := device.NewBuilder()
	net, err := adapter.Build(b, c, spec)
	if err != nil {
		return nil, err
	}
	target := b.Input(TargetInput, b.Shape(net.Prediction))
	weight := b.Input(WeightInput, device.Shape{C: 1, H: 1, W: 1})
	loss := b.MSE(net.Prediction, target, weight)
	b.Output(LossOutput, loss)
	list, err := b.Gradient(loss, device.PerExample)
	if err != nil {
		return nil, err
	}
	dev := cpu.New()
	n := &network{lanes: dev.Lanes(), weights: a.Flat(), data: noisyImages(testExamples)}
	if n.exe, err = dev.Compile(list); err != nil {
		return nil, err
	}
	if err := a.SetParams(n.exe, list, base); err != nil {
		return nil, err
	}
	// Adapters start at zero, where half of the gradients vanish.
	moved := draws.New(draws.SeedKey(2, "task test")).Stream(0, 0, draws.Noise)
	for i := range n.weights {
		n.weights[i] += float32(moved.Normal()) / 50
	}
	tables, err := diffusion.NewTables(diffusion.Cosine, 100)
	if err != nil {
		return nil, err
	}
	n.times = unet.TimeTable(c, 100)
	n.preparation = &diffusion.Preparation{
		Tables: tables, Prediction: diffusion.Velocity, Codec: diffusion.Codec{Image: device.Shape{C: 1, H: 8, W: 8}, Factor: 1},
		Times: diffusion.Range{From: 20, To: 90}, Mix: diffusion.Mix{None: 0.1, Both: 0.9}, NoLabel: testClasses, PrototypeChannels: 1,
	}
	n.mechanism, err = plan.New(plan.Spec{
		Phase: "finetune", SampleRate: 0.25, Nominal: testExamples, NoiseMultiplier: 1, ClipNorm: 0.1, Dim: len(n.weights), Steps: 3,
		LossBound: testLossBound, ClipShare: true,
	})
	return n, err
})

// noisyImages are random 8x8 images whose contrast varies a great deal.
func noisyImages(n int) dataset.Dataset {
	s := draws.New(draws.SeedKey(3, "task test")).Stream(0, 0, draws.Noise)
	pixels, labels := make([]uint8, n*64), make([]uint16, n)
	for i := range n {
		for j := range 64 {
			pixels[64*i+j] = uint8(s.Intn(1 + i*255/n))
		}
		labels[i] = uint16(i % testClasses)
	}
	d, err := dataset.NewMemory(1, 8, 8, []string{"a", "b", "c"}, pixels, labels)
	if err != nil {
		panic(err)
	}
	return d
}

// testCenters are as a prototypes phase leaves them: two clusters a class.
func testCenters() *prototype.Centers {
	c := prototype.New(prototype.Spec{Classes: testClasses, Clusters: 2, Side: 8, Rounds: 2})
	s := draws.New(draws.SeedKey(4, "task test")).Stream(0, 0, draws.Prototype)
	for i := range c.Pixels {
		c.Pixels[i] = float32(s.Float64())
	}
	c.Round = 2
	return c
}

// newGradient is a task of the tiny network, with its parameters loaded.
func newGradient(t *testing.T, threads, microBatch int) (*Gradient, *network) {
	t.Helper()
	n, err := tiny()
	if err != nil {
		t.Fatal(err)
	}
	g := &Gradient{
		Mechanism: n.mechanism, Executable: n.exe, Lanes: n.lanes, Preparation: n.preparation, Time: n.times, Data: n.data, Units: dataset.EachImage(n.data.Len()),
		Copies: testCopies, Centers: prototype.New(testCenters().Spec), Threads: threads, MicroBatch: microBatch,
	}
	if err := g.Prepare(); err != nil {
		t.Fatal(err)
	}
	centers, err := testCenters().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetParameters(EncodeParameters(n.mechanism.ClipNorm, centers, n.weights)); err != nil {
		t.Fatal(err)
	}
	return g, n
}

var planKey = [32]byte(draws.SeedKey(5, "a plan"))

func accumulate(t *testing.T, g *Gradient, ids []uint32, sum []int32) {
	t.Helper()
	if err := g.Accumulate(context.Background(), 0, planKey, ids, sum); err != nil {
		t.Fatal(err)
	}
}

func allIDs() []uint32 {
	ids := make([]uint32, testExamples)
	for i := range ids {
		ids[i] = uint32(i)
	}
	return ids
}

// TestSumIsThatOfSingleExamples holds the task to the definition: each example
// alone through the device, its copies' gradient, clip.Contribution, the sum.
func TestSumIsThatOfSingleExamples(t *testing.T) {
	g, n := newGradient(t, 1, n16(t))
	want := make([]int32, n.mechanism.Dim+1)
	clipped, free, cut := 0, 0, 0
	stream, err := n.exe.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	d, e, centers := draws.New(draws.Key(planKey)), n.preparation.NewExample(), testCenters()
	channel, gradient := make([]float32, 64), make([]float32, n.mechanism.GradientDim())
	for _, id := range allIDs() {
		image, label := n.data.Image(int(id)), n.data.Label(int(id))
		prototype.Channel(channel, centers.Center(label, centers.Nearest(prototype.Pool(image, 1, 8, 8, 8), label)))
		stream.ZeroGradient()
		loss, one := 0.0, make([]float32, 1)
		for k := range testCopies {
			if err := n.preparation.Prepare(e, d, uint64(id), k, image, label, channel); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(LoadExample(stream, 0, e, n.times), stream.SetInput(WeightInput, 0, []float32{1}), stream.Run(), stream.Output(LossOutput, 0, one)); err != nil {
				t.Fatal(err)
			}
			loss += float64(one[0]) / testCopies // exact: two copies
		}
		if err := stream.Gradient(0, gradient); err != nil {
			t.Fatal(err)
		}
		v, ok := clip.Contribution(gradient, testCopies, loss, n.mechanism)
		if !ok {
			t.Fatal("a contribution of the reference failed its own check")
		}
		if v[n.mechanism.ClipCoordinate()] != 0 {
			clipped++
		} else {
			free++
		}
		if loss > testLossBound {
			cut++
		}
		for i, x := range v {
			want[i] += x
		}
		want[n.mechanism.Dim]++
	}
	if clipped == 0 || free == 0 {
		t.Errorf("%d examples are clipped and %d are not: the test should see both", clipped, free)
	}
	if cut == 0 || cut == testExamples {
		t.Errorf("the losses of %d of %d examples are cut: the test should see both", cut, testExamples)
	}
	got := make([]int32, n.mechanism.Dim+1)
	accumulate(t, g, allIDs(), got)
	if !slices.Equal(got, want) {
		t.Error("the task's sum is not the sum of the examples' own contributions")
	}
}

// n16 is the widest micro-batch.
func n16(t *testing.T) int {
	t.Helper()
	n, err := tiny()
	if err != nil {
		t.Fatal(err)
	}
	return n.lanes
}

func TestSumDependsOnTheExamplesAlone(t *testing.T) {
	g, n := newGradient(t, 1, n16(t))
	want := make([]int32, n.mechanism.Dim+1)
	accumulate(t, g, allIDs(), want)
	if want[n.mechanism.Dim] != testExamples {
		t.Errorf("%d contributions counted, want %d", want[n.mechanism.Dim], testExamples)
	}
	backwards := allIDs()
	slices.Reverse(backwards)
	shuffled := allIDs()
	for i := range shuffled { // bit reversal: far from any order that lanes have
		j := int(bits.Reverse8(uint8(i))) % len(shuffled)
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	for _, tc := range []struct {
		name                string
		threads, microBatch int
		parts               [][]uint32
	}{
		{"backwards", 1, 16, [][]uint32{backwards}},
		{"shuffled, three threads", 3, 16, [][]uint32{shuffled}},
		{"micro-batch 1", 2, 1, [][]uint32{allIDs()}},
		{"micro-batch 7", 2, 7, [][]uint32{backwards}},
		{"two tasks and an empty one", 1, 5, [][]uint32{shuffled[:9], nil, shuffled[9:]}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := make([]int32, n.mechanism.Dim+1)
			for _, ids := range tc.parts {
				g, _ := newGradient(t, tc.threads, tc.microBatch) // of another worker
				accumulate(t, g, ids, got)
			}
			if !slices.Equal(got, want) {
				t.Error("another sum")
			}
		})
	}
	t.Run("the same task again", func(t *testing.T) {
		got := make([]int32, n.mechanism.Dim+1)
		accumulate(t, g, allIDs(), got)
		if !slices.Equal(got, want) {
			t.Error("a task keeps something of the step before")
		}
	})
	t.Run("another plan", func(t *testing.T) {
		got := make([]int32, n.mechanism.Dim+1)
		if err := g.Accumulate(context.Background(), 0, [32]byte{1}, allIDs(), got); err != nil {
			t.Fatal(err)
		}
		if slices.Equal(got, want) {
			t.Error("another draw key gives the same noise and times")
		}
	})
}

// clean fails the test where a task holds a trace of contributions.
func clean(t *testing.T, g *Gradient, sum []int32) {
	t.Helper()
	zero := func(v int32) bool { return v == 0 }
	lane := make([]float32, g.Mechanism.GradientDim())
	for i, thread := range g.threads {
		if slices.ContainsFunc(thread.sum, func(v int32) bool { return !zero(v) }) {
			t.Errorf("thread %d keeps its un-noised sum", i)
		}
		if slices.ContainsFunc(thread.sides, func(s side) bool { return s != side{} }) || slices.Contains(thread.kept, true) ||
			slices.ContainsFunc(thread.norms, func(v float64) bool { return v != 0 }) || slices.ContainsFunc(thread.scale, func(v float64) bool { return v != 0 }) {
			t.Errorf("thread %d keeps what it knows of single examples", i)
		}
		for l := range g.Lanes {
			if err := thread.stream.Gradient(l, lane); err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(lane, func(v float32) bool { return v != 0 }) {
				t.Errorf("thread %d keeps the gradient of lane %d", i, l)
			}
		}
	}
	if sum != nil && slices.ContainsFunc(sum, func(v int32) bool { return !zero(v) }) {
		t.Error("a failed step leaves numbers in the sum, its count perhaps among them")
	}
}

func TestNothingStaysBehind(t *testing.T) {
	t.Run("after a step", func(t *testing.T) {
		g, n := newGradient(t, 2, 8)
		accumulate(t, g, allIDs(), make([]int32, n.mechanism.Dim+1))
		clean(t, g, nil)
	})
	t.Run("cancelled before", func(t *testing.T) {
		g, n := newGradient(t, 2, 8)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		sum := make([]int32, n.mechanism.Dim+1)
		if err := g.Accumulate(ctx, 0, planKey, allIDs(), sum); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
		clean(t, g, sum)
	})
	t.Run("cancelled on the way", func(t *testing.T) {
		g, n := newGradient(t, 2, 1)
		ctx, cancel := context.WithCancel(context.Background())
		g.Data = &cancelling{n.data, 12, cancel}
		g.Threads, g.threads = 1, g.threads[:1] // cancelling counts without a lock
		sum := make([]int32, n.mechanism.Dim+1)
		if err := g.Accumulate(ctx, 0, planKey, allIDs(), sum); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
		clean(t, g, sum)
	})
	t.Run("an example that is not there", func(t *testing.T) {
		g, n := newGradient(t, 2, 4)
		sum := make([]int32, n.mechanism.Dim+1)
		err := g.Accumulate(context.Background(), 0, planKey, append(allIDs(), 98765), sum)
		if err == nil || strings.Contains(err.Error(), "98765") || strings.Contains(err.Error(), "24") {
			t.Errorf("error %v: it should be one, and name neither the example nor how many there are", err)
		}
		clean(t, g, sum)
		again, want := make([]int32, n.mechanism.Dim+1), make([]int32, n.mechanism.Dim+1)
		accumulate(t, g, allIDs(), again)
		other, _ := newGradient(t, 1, 16)
		accumulate(t, other, allIDs(), want)
		if !slices.Equal(again, want) {
			t.Error("the failed step changes the next one")
		}
	})
}

// cancelling ends a context when a number of images has been read.
type cancelling struct {
	dataset.Dataset
	left   int
	cancel func()
}

func (c *cancelling) Image(i int) []uint8 {
	if c.left--; c.left == 0 {
		c.cancel()
	}
	return c.Dataset.Image(i)
}

func TestEmptyShare(t *testing.T) {
	g, n := newGradient(t, 2, 16)
	sum := make([]int32, n.mechanism.Dim+1)
	accumulate(t, g, nil, sum)
	clean(t, g, sum)
}

func TestGradientRefusesAnotherShape(t *testing.T) {
	g, n := newGradient(t, 1, 16)
	if err := g.Accumulate(context.Background(), 0, planKey, allIDs(), make([]int32, n.mechanism.Dim)); err == nil {
		t.Error("a sum without its count coordinate is accepted")
	}
	for _, microBatch := range []int{0, g.Lanes + 1} {
		wrong := &Gradient{Mechanism: n.mechanism, Executable: n.exe, Lanes: g.Lanes, Preparation: n.preparation, MicroBatch: microBatch}
		if err := wrong.Prepare(); err == nil || !strings.Contains(err.Error(), "workers.micro_batch") {
			t.Errorf("micro-batch %d: error %v should name the key", microBatch, err)
		}
	}
}

// doctored is an executable whose streams misreport one lane.
type doctored struct {
	device.Executable
	lane int
	loss float32 // of the lane, if not 0
	norm float64 // squared, of the lane, if not 0
}

func (d *doctored) NewStream() (device.Stream, error) {
	s, err := d.Executable.NewStream()
	return &doctoredStream{s, d}, err
}

type doctoredStream struct {
	device.Stream
	d *doctored
}

func (s *doctoredStream) Output(name string, lane int, dst []float32) error {
	err := s.Stream.Output(name, lane, dst)
	if name == LossOutput && lane == s.d.lane && s.d.loss != 0 {
		dst[0] = s.d.loss
	}
	return err
}

func (s *doctoredStream) SquaredNorms(dst []float64) error {
	err := s.Stream.SquaredNorms(dst)
	if s.d.norm != 0 {
		dst[s.d.lane] = s.d.norm
	}
	return err
}

// An example whose gradient fails the check, or whose loss is no number, adds
// nothing: neither to the gradient nor to the loss, nor to the clip indicator. Only
// the count tells that it was there. Tried by calling clip.Side for every lane, and
// by not asking clip.Loss whether the loss is one: both fail.
func TestAFailedExampleAddsNothing(t *testing.T) {
	n, err := tiny()
	if err != nil {
		t.Fatal(err)
	}
	const bad = 5
	ids := allIDs()[:n.lanes]
	ids[bad], ids[n.lanes-1] = ids[n.lanes-1], ids[bad] // clipped: unscaled it is too long
	rest := slices.Delete(slices.Clone(ids), bad, bad+1)
	honest, _ := newGradient(t, 1, n.lanes)
	want, all := make([]int32, n.mechanism.Dim+1), make([]int32, n.mechanism.Dim+1)
	accumulate(t, honest, rest, want)
	accumulate(t, honest, ids, all)
	want[n.mechanism.Dim]++
	for i := n.mechanism.LossCoordinate(); i < n.mechanism.Dim; i++ {
		if all[i] == want[i] {
			t.Errorf("the example adds nothing to coordinate %d: the test sees nothing", i)
		}
	}
	for name, d := range map[string]*doctored{
		"norm check":    {norm: 1e-30}, // so that it is not scaled
		"norm NaN":      {norm: math.NaN()},
		"loss NaN":      {loss: float32(math.NaN())},
		"loss infinite": {loss: float32(math.Inf(-1))},
	} {
		g, _ := newGradient(t, 1, n.lanes)
		d.Executable, d.lane = g.Executable, bad
		g.Executable, g.threads = d, nil
		if err := g.Prepare(); err != nil {
			t.Fatal(err)
		}
		if err := g.SetParameters(EncodeParameters(n.mechanism.ClipNorm, mustMarshal(t, testCenters()), n.weights)); err != nil {
			t.Fatal(err)
		}
		got := make([]int32, n.mechanism.Dim+1)
		accumulate(t, g, ids, got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the sum is not that of the other examples: side coordinates %v, want %v",
				name, got[n.mechanism.LossCoordinate():], want[n.mechanism.LossCoordinate():])
		}
	}
}

func mustMarshal(t *testing.T, m encoding.BinaryMarshaler) []byte {
	t.Helper()
	b, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A step is clipped at the norm that was published with its parameters, and a norm
// that no mechanism may have is refused.
func TestClipsAtThePublishedNorm(t *testing.T) {
	g, n := newGradient(t, 1, n16(t))
	centers := mustMarshal(t, testCenters())
	share := func(norm float64) (clipped float64, sum []int32) {
		t.Helper()
		if err := g.SetParameters(EncodeParameters(norm, centers, n.weights)); err != nil {
			t.Fatal(err)
		}
		sum = make([]int32, n.mechanism.Dim+1)
		accumulate(t, g, allIDs(), sum)
		return float64(sum[n.mechanism.ClipCoordinate()]) / float64(n.mechanism.ClipDelta) / testExamples, sum
	}
	few, _ := share(1e6)
	some, first := share(n.mechanism.ClipNorm)
	all, _ := share(1e-6)
	if few != 0 || some <= 0 || some >= 1 || all != 1 {
		t.Errorf("%v, %v and %v of the examples are clipped at ever smaller norms", few, some, all)
	}
	if _, again := share(n.mechanism.ClipNorm); !slices.Equal(again, first) {
		t.Error("a norm leaves something behind")
	}
	for _, norm := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if err := g.SetParameters(EncodeParameters(norm, centers, n.weights)); err == nil {
			t.Errorf("a clipping norm of %v is accepted", norm)
		}
	}
}
