package pipeline

import (
	"context"
	"fmt"
	"iter"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/bench"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/classifier"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/worker/task"
)

// What the benchmarks' works are like. Batches are whole groups of lanes for
// two threads, so that every lane is live.
const (
	workClasses     = 10
	finetuneImages  = 32
	finetuneCopies  = 4
	finetuneRank    = 8
	pretrainImages  = 64
	sampleImages    = 32
	sampleSteps     = 10 // of DPM-Solver++(2M), without guidance
	classifierBatch = 64
	workDataImages  = 4096
)

// benchNet is a network that the benchmarks train and sample.
type benchNet struct {
	name      string
	image     device.Shape
	unshuffle int
	prototype bool
	unet      config.UNet
}

// benchNets are U-Nets of 32 and 64 channels on grey 28x28 and RGB 32x32
// images, with attention at the two lower of three levels; and the demo's.
func benchNets() []benchNet {
	var nets []benchNet
	for _, image := range []device.Shape{{C: 1, H: 28, W: 28}, {C: 3, H: 32, W: 32}} {
		for _, width := range []int{32, 64} {
			nets = append(nets, benchNet{
				name: fmt.Sprintf("unet%d@%d", width, image.H), image: image, unshuffle: 1,
				unet: config.UNet{
					SampleSize: config.Square(image.H), BlockOutChannels: []int{width, 2 * width, 2 * width}, LayersPerBlock: 2,
					DownBlockTypes: []string{"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"},
					UpBlockTypes:   []string{"AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"},
					NormNumGroups:  width / 2, // 16 and 32, as diffusers' checkpoints have 32
				},
			})
		}
	}
	nets = append(nets, benchNet{
		name: "demo", image: device.Shape{C: 1, H: 28, W: 28}, unshuffle: 2, prototype: true,
		unet: config.UNet{
			SampleSize: config.Square(14), BlockOutChannels: []int{32, 64}, LayersPerBlock: 1,
			DownBlockTypes: []string{"DownBlock2D", "AttnDownBlock2D"}, UpBlockTypes: []string{"AttnUpBlock2D", "UpBlock2D"},
			NormNumGroups: 8,
		},
	})
	for i := range nets {
		u := &nets[i].unet
		u.NormEps, u.AttentionHeadDim, u.AddAttention, u.DownsamplePadding, u.FlipSinToCos = 1e-5, 64, true, 1, true
	}
	return nets
}

// spec is the net's pre-training.
func (n benchNet) spec() *config.PretrainSpec {
	s := &config.PretrainSpec{
		Name: n.name, Seed: 1, UNet: n.unet, Codec: config.Codec{Unshuffle: n.unshuffle}, PrototypeChannel: n.prototype,
		Prediction: "v", Schedule: "cosine",
		Train: config.Train{
			Images: 1 << 20 * pretrainImages, Batch: pretrainImages, LearningRate: 1e-4, WeightDecay: 0.01, EMA: 0.999,
			ConditionMix: config.Mix{None: 0.15, Class: 0.85},
		},
	}
	if n.prototype {
		s.Train.ConditionMix = config.Mix{None: 0.15, Class: 0.25, Both: 0.25, Prototype: 0.35}
	}
	return s
}

// base is the net with random weights.
func (n benchNet) base() (*Base, error) {
	return startBase(n.spec(), workData(n.image, workClassNames()), draws.New(draws.SeedKey(1, "bench")))
}

// workData are random images of the classes in turn: no file is read.
func workData(image device.Shape, classes []string) *dataset.Memory {
	s := draws.New(draws.SeedKey(1, "bench data")).Stream(0, 0, draws.Noise)
	pixels, labels := make([]uint8, workDataImages*image.Len()), make([]uint16, workDataImages)
	for i := range pixels {
		pixels[i] = uint8(s.Uint64())
	}
	for i := range labels {
		labels[i] = uint16(i % len(classes))
	}
	m, err := dataset.NewMemory(image.C, image.H, image.W, classes, pixels, labels)
	if err != nil {
		panic(err) // the shapes above are right
	}
	return m
}

func workClassNames() []string {
	names := make([]string, workClasses)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	return names
}

// Works lists the whole steps that `dploda bench step` measures, each through
// the code that a run uses, on random public images and weights.
func Works() []bench.Work {
	var works []bench.Work
	for _, n := range benchNets() {
		parsed, err := n.config()
		if err != nil {
			panic(err) // the configs above are right
		}
		for _, w := range []struct {
			kind string
			make func(benchNet, device.Device, int) (*bench.Step, error)
		}{{"finetune", finetuneStep(finetuneImages, finetuneCopies)}, {"pretrain", pretrainWork}, {"sample", sampleWork}} {
			works = append(works, bench.Work{
				Kind: w.kind, Net: n.name, Config: parsed,
				New: func(dev device.Device, threads int) (*bench.Step, error) { return w.make(n, dev, threads) },
			})
		}
	}
	for _, image := range []device.Shape{{C: 1, H: 28, W: 28}, {C: 3, H: 32, W: 32}} {
		works = append(works, bench.Work{
			Kind: "classifier", Net: fmt.Sprintf("dpdm@%d", image.H),
			New: func(dev device.Device, threads int) (*bench.Step, error) { return classifierWork(image, dev, threads) },
		})
	}
	return works
}

// MemoryNets are the networks whose memory is measured.
var MemoryNets = []string{"unet32@28", "demo"}

// MemoryWork is a fine-tuning step of so many images on a network, of one copy
// each: copies take no memory.
func MemoryWork(net string, images int) (bench.Work, error) {
	for _, n := range benchNets() {
		if n.name == net && images >= 1 && images <= workDataImages {
			return bench.Work{Kind: "finetune", Net: net, New: func(dev device.Device, threads int) (*bench.Step, error) {
				return finetuneStep(images, 1)(n, dev, threads)
			}}, nil
		}
	}
	return bench.Work{}, fmt.Errorf("no network %q with 1 to %d images", net, workDataImages)
}

// config is the network as config.json has it.
func (n benchNet) config() (any, error) {
	codec := diffusion.Codec{Image: n.image, Factor: n.unshuffle}
	prototypes := 0
	if n.prototype {
		prototypes = 1
	}
	return pretrainConfig(n.unet, codec.Grid(), prototypes, workClasses+1)
}

// benchRun is a run on a net, as a config would resolve to.
func benchRun(n benchNet, copies int) (*resolved, error) {
	b, err := n.base()
	if err != nil {
		return nil, err
	}
	r := &resolved{
		spec: &config.RunSpec{
			Seed: 1, Finetune: config.Finetune{Copies: copies, LabelDrop: 0.1}, Workers: config.Workers{MicroBatch: NewDevice().Lanes()},
		},
		base: b, classes: workClasses, times: diffusion.Range{From: 0, To: b.Traits.Timesteps},
		adapter: adapter.Spec{
			Kind: adapter.LoDA, Rank: finetuneRank, Alpha: finetuneRank, Nonlinearity: adapter.SiLU,
			Targets: []string{adapter.TargetConv}, Classes: workClasses,
		},
	}
	params, err := r.adapter.Parameters(b.Config)
	if err != nil {
		return nil, err
	}
	dim := 0
	for _, p := range params {
		dim += p.Len()
	}
	const nominal = 60_000
	m, err := plan.New(plan.Spec{
		Phase: phaseFinetune, SampleRate: 512.0 / nominal, Nominal: nominal, NoiseMultiplier: 1, ClipNorm: 1e-3, Dim: dim, Steps: 1,
		LossBound: 1, ClipShare: true,
	})
	r.mechanisms = append(r.mechanisms, m)
	return r, err
}

// finetuneStep is a worker's part of a step: it takes the parameters and sums
// its examples' clipped gradients.
func finetuneStep(images, copies int) func(benchNet, device.Device, int) (*bench.Step, error) {
	return func(n benchNet, dev device.Device, threads int) (*bench.Step, error) {
		return newFinetuneStep(n, dev, threads, images, copies)
	}
}

func newFinetuneStep(n benchNet, dev device.Device, threads, images, copies int) (*bench.Step, error) {
	r, err := benchRun(n, copies)
	if err != nil {
		return nil, err
	}
	return r.finetuneStep(workData(n.image, workClassNames()), dev, threads, images)
}

// finetuneStep is a worker's part of a step on the first images of data.
func (r *resolved) finetuneStep(data dataset.Dataset, dev device.Device, threads, images int) (*bench.Step, error) {
	a, err := (&run{resolved: r}).startAdapter()
	if err != nil {
		return nil, err
	}
	var centers []byte // empty ones: nothing was released yet
	if r.prototypes != nil {
		if centers, err = prototype.New(*r.prototypes).MarshalBinary(); err != nil {
			return nil, err
		}
	}
	g, err := (&taskFactory{resolved: r, data: data, units: dataset.EachImage(data.Len()), dev: dev, threads: threads}).gradient()
	if err != nil {
		return nil, err
	}
	state, sum, ids := task.EncodeParameters(r.finetune().ClipNorm, centers, a.Flat()), make([]int32, r.finetune().Dim+1), make([]uint32, images)
	for i := range ids {
		ids[i] = uint32(i)
	}
	return &bench.Step{Images: len(ids), HostBytes: r.hostBytes(threads), Run: func(ctx context.Context) error {
		if err := g.SetParameters(state); err != nil {
			return err
		}
		clear(sum)
		return g.Accumulate(ctx, 0, [32]byte{1}, ids, sum)
	}}, nil
}

// pretrainWork is one step of a pre-training.
func pretrainWork(n benchNet, dev device.Device, threads int) (*bench.Step, error) {
	spec := n.spec()
	p, err := newPretrainer(spec, workData(n.image, workClassNames()))
	if err != nil {
		return nil, err
	}
	if err := p.prepareDescent(spec.Train); err != nil {
		return nil, err
	}
	i := -1
	return &bench.Step{
		Images: pretrainImages,
		Run: func(ctx context.Context) error {
			i++
			return p.differentiate(ctx, i)
		},
		Update: func() error { return p.descend(i) },
	}, p.compile(dev, threads)
}

// sampleWork draws some images with adapters throughout.
func sampleWork(n benchNet, dev device.Device, threads int) (*bench.Step, error) {
	r, err := benchRun(n, 1)
	if err != nil {
		return nil, err
	}
	a, err := (&run{resolved: r}).startAdapter()
	if err != nil {
		return nil, err
	}
	g := &generator{
		base: r.base, adapter: a, times: r.times, classes: workClassNames(),
		settings: config.Sample{Sampler: "dpm++", Steps: sampleSteps}, threads: threads, dev: dev,
	}
	return g.step(sampleImages)
}

// step draws n images and forgets them.
func (g *generator) step(n int) (*bench.Step, error) {
	d, err := g.compileAll()
	if err != nil {
		return nil, err
	}
	return &bench.Step{Images: n, Run: func(ctx context.Context) error {
		return d.draw(ctx, upTo(n), func(int, []uint8) error { return nil })
	}}, nil
}

func classifierWork(image device.Shape, dev device.Device, threads int) (*bench.Step, error) {
	c := classifier.DefaultConfig(workClasses, threads)
	c.Batch = classifierBatch
	return classifierStep(workData(image, workClassNames()), dev, c)
}

// classifierStep is one step of a classifier's training, which is taken apart at
// its own report of each step.
func classifierStep(data dataset.Dataset, dev device.Device, c classifier.Config) (*bench.Step, error) {
	c.Epochs = 1 << 14
	next, stop := iter.Pull(func(yield func(error) bool) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c.Observe = func(int, int) {
			if ctx.Err() == nil && !yield(nil) {
				cancel()
			}
		}
		if _, err := classifier.Train(ctx, dev, data, c); ctx.Err() == nil {
			yield(err)
		}
	})
	return &bench.Step{Images: c.Batch, Close: stop, Run: func(ctx context.Context) error {
		err, ok := next()
		if !ok {
			return fmt.Errorf("the classifier's training has ended")
		}
		return err
	}}, nil
}
