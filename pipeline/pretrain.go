package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/floatbits"
	"github.com/dploda/dploda/internal/optim"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
)

// PretrainOptions are what a pre-training takes besides its config.
type PretrainOptions struct {
	Out     string // the base's folder
	Data    string // takes the place of the config's folder
	Threads int    // 0: all cores; divided among the workers
	// Workers share the steps out; 0: this process computes alone. What comes
	// out does not depend on it.
	Workers   int
	Processes bool // each worker is a process of its own
}

// pretrainState is the checkpoint's name in the base's folder; it goes away
// when the base is complete.
const pretrainState = "pretrain.state"

// checkpointSteps is how often a pre-training saves what it has.
const checkpointSteps = 250

// Pretrain trains a base on public images and writes its folder. An
// interrupted one goes on from its last checkpoint.
func Pretrain(ctx context.Context, spec *config.PretrainSpec, opts PretrainOptions, obs Observer) error {
	if _, err := os.Stat(filepath.Join(opts.Out, unet.ConfigFile)); err == nil {
		return fmt.Errorf("%s holds a finished base; choose another --out", opts.Out)
	}
	if err := os.MkdirAll(opts.Out, 0o755); err != nil {
		return err
	}
	if opts.Threads < 1 {
		opts.Threads = runtime.NumCPU()
	}
	obs.Stage("read the public images")
	data, err := openPublic(spec, opts.Data)
	if err != nil {
		return err
	}
	p, err := newPretrainer(spec, data)
	if err != nil {
		return err
	}
	if err := p.prepareDescent(spec.Train); err != nil {
		return err
	}
	state := filepath.Join(opts.Out, pretrainState)
	begin, err := p.load(state)
	if err != nil {
		return err
	}
	if begin > 0 {
		obs.Note(fmt.Sprintf("going on from step %d", begin))
	}
	obs.Stage("pre-train")
	if err := p.trainBy(ctx, spec, opts, begin, obs); err != nil {
		return err
	}
	base, err := p.averaged()
	if err != nil {
		return err
	}
	if err := base.Save(opts.Out); err != nil {
		return err
	}
	obs.Note(fmt.Sprintf("base of %d parameters in %s", len(p.weights), opts.Out))
	if err := os.Remove(state); !errors.Is(err, os.ErrNotExist) { // a short one never saved
		return err
	}
	return nil
}

// trainBy trains in this process or with workers.
func (p *pretrainer) trainBy(ctx context.Context, spec *config.PretrainSpec, opts PretrainOptions, begin int, obs Observer) error {
	p.dev, p.threads = NewDevice(), opts.Threads
	if opts.Workers == 0 {
		if err := p.compile(p.dev, opts.Threads); err != nil {
			return err
		}
		return p.train(ctx, begin, opts.Out, obs)
	}
	stop := ctx
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	var err error
	if p.ring, err = startRing(ctx, p, spec, opts, obs, broken); err != nil {
		return err
	}
	defer p.ring.crew.close()
	if err = p.train(ctx, begin, opts.Out, obs); err != nil {
		err = p.ring.crew.explain(err, stop.Err() != nil)
		if stop.Err() == nil {
			err = fmt.Errorf("%w; the same command goes on from the last checkpoint", err)
		}
		return err
	}
	return nil
}

// openPublic opens the images of a pre-training as it is told to see them.
// folder, if given, takes the place of the config's.
func openPublic(spec *config.PretrainSpec, folder string) (dataset.Dataset, error) {
	data, err := openTrain(spec.Data, folder)
	if err != nil {
		return nil, err
	}
	if h := spec.Train.Handwriting; h != nil {
		if data, err = redraw(data, h, spec.Seed); err != nil {
			return nil, err
		}
	}
	if spec.Classes == config.ClassesBroad {
		return broaden(data, spec.BroadClasses)
	}
	return data, nil
}

// startBase is a base of a spec before its first step.
func startBase(spec *config.PretrainSpec, data dataset.Dataset, d *draws.Draws) (*Base, error) {
	c, h, w := data.Shape()
	traits := Traits{
		Format: 1, Image: [3]int{c, h, w}, Unshuffle: spec.Codec.Unshuffle, PrototypeChannel: spec.PrototypeChannel,
		Prediction: diffusion.Velocity, Schedule: diffusion.Cosine, Timesteps: 1000,
		NoLabelRow: spec.Classes != config.ClassesNone, PublicData: spec.Name, ImagesSeen: spec.Train.Images, ConfigHash: spec.Hash(),
	}
	if spec.Prediction == "epsilon" {
		traits.Prediction = diffusion.Epsilon
	}
	switch spec.Schedule {
	case "linear":
		traits.Schedule = diffusion.Linear
	case "scaled_linear":
		traits.Schedule = diffusion.ScaledLinear
	}
	base := &Base{Traits: traits}
	codec := base.Codec()
	if err := codec.Validate(); err != nil {
		return nil, err
	}
	rows := 0
	if traits.NoLabelRow {
		rows = len(data.Classes()) + 1
	}
	network, err := pretrainConfig(spec.UNet, codec.Grid(), base.PrototypeChannels(), rows)
	if err != nil {
		return nil, err
	}
	if base.Base, err = unet.NewBase(network, d); err != nil || spec.Start == "" {
		return base, err
	}
	start, err := LoadBase(spec.Start)
	if err != nil {
		return nil, err
	}
	return base, base.beginFrom(start)
}

// newPretrainer builds the network and everything that its steps need.
func newPretrainer(spec *config.PretrainSpec, data dataset.Dataset) (*pretrainer, error) {
	d := draws.New(draws.SeedKey(spec.Seed, "pretrain"))
	base, err := startBase(spec, data, d)
	if err != nil {
		return nil, err
	}
	tables, times, err := base.Schedule()
	if err != nil {
		return nil, err
	}
	m := spec.Train.ConditionMix
	p := &pretrainer{
		base: base, data: data, time: times, draws: d, batch: spec.Train.Batch, weights: base.Flat(),
		exponent: firstExponent, hash: pretrainHash(spec, base.Traits.StartHash), grids: spec.Grids,
		preparation: &diffusion.Preparation{
			Tables: tables, Prediction: base.Traits.Prediction, Codec: base.Codec(), Times: diffusion.Range{From: 0, To: base.Traits.Timesteps},
			Mix:     diffusion.Mix{None: m.None, Class: m.Class, Both: m.Both, Prototype: m.Prototype},
			NoLabel: base.Config.NumClassEmbeds - 1, PrototypeChannels: base.PrototypeChannels(),
		},
	}
	if err := p.preparation.Validate(); err != nil {
		return nil, err
	}
	if base.PrototypeChannel() {
		p.flow = newPublicPrototypes(data, base.Codec().Grid().H)
	}
	steps := max(1, spec.Train.Images/spec.Train.Batch)
	if p.rates, err = (optim.Schedule{Shape: optim.Cosine, Peak: spec.Train.LearningRate, WarmUp: spec.Train.Warmup, Steps: steps}).Table(); err != nil {
		return nil, err
	}
	return p, nil
}

// prepareDescent allocates what turns a batch's gradient into new weights.
func (p *pretrainer) prepareDescent(t config.Train) error {
	adam := optim.DefaultAdam()
	adam.WeightDecay = float32(t.WeightDecay)
	var err error
	if p.optimizer, err = optim.NewAdam(len(p.weights), adam); err != nil {
		return err
	}
	p.gradient, p.sum = make([]float32, len(p.weights)), make([]int32, len(p.weights))
	p.average, err = optim.NewEMA(p.weights, float32(t.EMA))
	return err
}

// pretrainHash is what a checkpoint belongs to: the config and, where there is
// one, the base that the training began from.
func pretrainHash(spec *config.PretrainSpec, start string) string {
	if start == "" {
		return spec.Hash()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s from %s", spec.Hash(), start))
	return hex.EncodeToString(sum[:])
}

// pretrainConfig is UNet2DModel's config for a network of the given grid.
func pretrainConfig(u config.UNet, grid device.Shape, prototypes, classRows int) (unet.Config, error) {
	keys, err := json.Marshal(u) // in config.json's own names
	if err != nil {
		return unet.Config{}, err
	}
	c, _, err := unet.ParseConfig(keys)
	if err != nil {
		return c, err
	}
	if h, w := u.SampleSize[0], u.SampleSize[1]; h != grid.H || w != grid.W {
		return c, fmt.Errorf("unet.sample_size is %dx%d, but the images become %dx%d after codec.unshuffle (heights first)", h, w, grid.H, grid.W)
	}
	c.InChannels, c.OutChannels = grid.C+prototypes, grid.C
	c.NumClassEmbeds = classRows
	return c, c.Validate()
}

// train takes the steps from begin on, with pictures into folder on the way,
// and saves the state there now and then, and when it is stopped.
func (p *pretrainer) train(ctx context.Context, begin int, folder string, obs Observer) error {
	state := filepath.Join(folder, pretrainState)
	m := newMeter(time.Now, begin)
	for i := begin; i < len(p.rates); i++ {
		if err := p.step(ctx, i); err != nil {
			if ctx.Err() != nil {
				err = errors.Join(ctx.Err(), p.save(state, i))
			}
			return err
		}
		progress := Progress{Stage: "pre-train", Done: i + 1, Total: len(p.rates), Unit: "steps"}
		if perStep := m.advance(i + 1); perStep > 0 {
			progress.Rate = float64(p.batch) / perStep
			progress.Left = time.Duration(float64(len(p.rates)-i-1) * perStep * float64(time.Second))
		}
		obs.Progress(progress)
		if (i+1)%checkpointSteps == 0 {
			if err := p.save(state, i+1); err != nil {
				return err
			}
		}
		if gridAt(i+1, len(p.rates), p.grids) {
			if err := p.drawGrid(ctx, folder, i+1); err != nil {
				if ctx.Err() != nil {
					err = errors.Join(ctx.Err(), p.save(state, i+1))
				}
				return err
			}
		}
	}
	return nil
}

// save stores everything that the step numbered next needs.
func (p *pretrainer) save(path string, next int) error {
	moments, err := p.optimizer.MarshalState()
	if err != nil {
		return err
	}
	average, err := p.average.MarshalState()
	if err != nil {
		return err
	}
	content, err := checkpoint.Encode([]checkpoint.Section{
		{Name: "config", Data: []byte(p.hash)},
		{Name: "step", Data: binary.LittleEndian.AppendUint64(nil, uint64(next))},
		{Name: "exponent", Data: binary.LittleEndian.AppendUint64(nil, uint64(p.exponent))},
		{Name: "weights", Data: floatbits.Append(nil, p.weights)},
		{Name: "moments", Data: moments},
		{Name: "average", Data: average},
	})
	if err != nil {
		return err
	}
	return writeFile(path, content)
}

// load restores a saved state and returns the next step, 0 if there is none.
func (p *pretrainer) load(path string) (int, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	damaged := func(err error) (int, error) {
		return 0, fmt.Errorf("%s is damaged; remove it to begin anew: %w", path, err)
	}
	sections, err := checkpoint.Decode(content)
	if err != nil {
		return damaged(err)
	}
	var parts [6][]byte
	for i, name := range []string{"config", "step", "weights", "moments", "average", "exponent"} {
		if parts[i], err = checkpoint.Find(sections, name); err != nil && name == "exponent" {
			return 0, fmt.Errorf("%s is of an earlier version, which summed gradients in another way; remove it to begin anew", path)
		} else if err != nil {
			return damaged(err)
		}
	}
	if string(parts[0]) != p.hash {
		return 0, fmt.Errorf("%s belongs to another config, or to another base to start from; choose another --out", path)
	}
	if len(parts[1]) != 8 || len(parts[5]) != 8 {
		return damaged(fmt.Errorf("its step and exponent have %d and %d bytes", len(parts[1]), len(parts[5])))
	}
	p.exponent = int(int64(binary.LittleEndian.Uint64(parts[5])))
	if err := floatbits.Read(p.weights, parts[2]); err != nil {
		return damaged(err)
	}
	if err := p.optimizer.UnmarshalState(parts[3]); err != nil {
		return damaged(err)
	}
	if err := p.average.UnmarshalState(parts[4]); err != nil {
		return damaged(err)
	}
	return int(binary.LittleEndian.Uint64(parts[1])), nil
}
