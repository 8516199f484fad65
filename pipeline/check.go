package pipeline

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/unet"
)

// CheckFile is what ExportCheck writes, all float32: sample [n, channels,
// height, width], timestep [n], label [n] where the network has classes, and
// prediction; of a run also the images that it samples from given noise.
const CheckFile = "check.safetensors"

// checkExamples is how many inputs a check has.
const checkExamples = 4

// checkSteps are those of its sampler, DDIM without fresh noise.
const checkSteps = 10

// writeCheck writes what the base predicts.
func (b *Base) writeCheck(folder string) error {
	c := newCheck(b, nil, diffusion.Range{From: 0, To: b.Traits.Timesteps})
	if err := c.predict(b, nil); err != nil {
		return err
	}
	return safetensors.Write(filepath.Join(folder, CheckFile), c.tensors(b.Config), nil)
}

// writeCheck writes what the network predicts at timesteps where the adapter is
// on, and the images that it samples from given noise.
func (m *sharedModel) writeCheck(folder string) error {
	c := newCheck(m.base, m.adapter, m.times())
	if err := c.predict(m.base, m.adapter); err != nil {
		return err
	}
	sampled, err := m.sampled()
	if err != nil {
		return err
	}
	return safetensors.Write(filepath.Join(folder, CheckFile), append(c.tensors(m.base.Config), sampled...), nil)
}

// sampled is the run's first images by DDIM: noise [n, channels, height, width]
// in the network's grid, class [n], prototype [n, 1, height, width] where there
// are some, and images [n, channels, height, width] as bytes, 0 to 255.
func (m *sharedModel) sampled() ([]safetensors.Tensor, error) {
	g, err := m.generator(&Sampled{Turn: m.Classes, Sample: config.Sample{Sampler: "ddim", Steps: checkSteps, Guidance: m.Sample.Guidance}}, NewDevice(), 1)
	if err != nil {
		return nil, err
	}
	images, err := g.sample(context.Background(), checkExamples)
	if err != nil {
		return nil, err
	}
	codec := m.base.Codec()
	grid, size := codec.Grid(), codec.Size()
	noise, class := make([]float32, checkExamples*size), make([]float32, checkExamples)
	pixels := make([]float32, checkExamples*size)
	var prototypes []float32
	random := draws.New(g.key)
	indices := slices.Collect(upTo(checkExamples))
	for i, r := range g.requests(indices) {
		random.Stream(r.Index, 0, draws.Start).Normals(noise[i*size : (i+1)*size])
		class[i] = float32(r.Class)
		prototypes = append(prototypes, r.Prototype...)
		for p, b := range images.Image(i) {
			pixels[i*size+p] = float32(b)
		}
	}
	tensors := []safetensors.Tensor{
		{Name: "noise", Dims: []int{checkExamples, grid.C, grid.H, grid.W}, Data: noise},
		{Name: "class", Dims: []int{checkExamples}, Data: class},
		{Name: "images", Dims: []int{checkExamples, codec.Image.C, codec.Image.H, codec.Image.W}, Data: pixels},
	}
	if prototypes != nil {
		tensors = append(tensors, safetensors.Tensor{Name: "prototype", Dims: []int{checkExamples, 1, grid.H, grid.W}, Data: prototypes})
	}
	return tensors, nil
}

// checkBatch is a batch of inputs in diffusers' order, and predictions.
type checkBatch struct {
	sample, prediction []float32
	timestep           []float32
	label              []float32 // nil where the network has no classes
}

func newCheck(b *Base, a *adapter.Adapter, times diffusion.Range) *checkBatch {
	rows := b.Config.NumClassEmbeds
	if a != nil && a.Spec.Classes > 0 {
		rows = a.Spec.Classes + 1
	}
	size := b.Config.InChannels * b.Config.SampleHeight * b.Config.SampleWidth
	c := &checkBatch{sample: make([]float32, checkExamples*size)}
	random := draws.New(draws.SeedKey(1, "check"))
	for i := range checkExamples {
		random.Stream(uint64(i), 0, draws.Noise).Normals(c.sample[i*size : (i+1)*size])
		c.timestep = append(c.timestep, float32(times.From+i*max(times.To-times.From-1, 0)/(checkExamples-1)))
		if rows > 0 {
			c.label = append(c.label, float32((rows-1+i)%rows)) // "no label" first
		}
	}
	return c
}

// predict fills in the predictions of a base with an adapter, nil for none.
func (c *checkBatch) predict(b *Base, a *adapter.Adapter) error {
	spec, set := adapter.Spec{Kind: adapter.None}, b.SetParams
	if a != nil {
		spec = a.Spec
		set = func(exe device.Executable, list *device.OpList) error { return a.SetParams(exe, list, b.Base) }
	}
	list, err := denoiseList(b.Config, spec)
	if err != nil {
		return err
	}
	exe, err := NewDevice().Compile(list)
	if err != nil {
		return err
	}
	if err := set(exe, list); err != nil {
		return err
	}
	stream, err := exe.NewStream()
	if err != nil {
		return err
	}
	table := unet.TimeTable(b.Config, b.Traits.Timesteps)
	n, size := len(c.timestep), len(c.sample)/len(c.timestep)
	for i := range n {
		if err := stream.SetInput(diffusion.SampleInput, i, c.sample[i*size:(i+1)*size]); err != nil {
			return err
		}
		if err := stream.SetInput(diffusion.TimeInput, i, table[int(c.timestep[i])]); err != nil {
			return err
		}
		if c.label != nil {
			if err := stream.SetIndex(diffusion.ClassIndex, i, int(c.label[i])); err != nil {
				return err
			}
		}
	}
	if err := stream.Run(); err != nil {
		return err
	}
	out := b.Config.OutChannels * b.Config.SampleHeight * b.Config.SampleWidth
	c.prediction = make([]float32, n*out)
	for i := range n {
		if err := stream.Output(diffusion.OutputName, i, c.prediction[i*out:(i+1)*out]); err != nil {
			return err
		}
	}
	return nil
}

// tensors are the batch as check.safetensors has it.
func (c *checkBatch) tensors(config unet.Config) []safetensors.Tensor {
	n := len(c.timestep)
	tensors := []safetensors.Tensor{
		{Name: "sample", Dims: []int{n, config.InChannels, config.SampleHeight, config.SampleWidth}, Data: c.sample},
		{Name: "timestep", Dims: []int{n}, Data: c.timestep},
		{Name: "prediction", Dims: []int{n, config.OutChannels, config.SampleHeight, config.SampleWidth}, Data: c.prediction},
	}
	if c.label != nil {
		tensors = append(tensors, safetensors.Tensor{Name: "label", Dims: []int{n}, Data: c.label})
	}
	return tensors
}
