package diffusion

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
	"github.com/dploda/dploda/model/draws"
)

// fakeExecutable is a network that a test can foresee: each lane's prediction
// is fakeNetwork of its sample, plus its class, its prototype's sum and bias.
type fakeExecutable struct {
	device.Executable
	lanes int
	bias  float32
	runs  atomic.Int64
	fail  error
}

func (f *fakeExecutable) NewStream() (device.Stream, error) {
	return &fakeStream{f: f, sample: make([][]float32, f.lanes), time: make([]float32, f.lanes), class: make([]int, f.lanes), out: make([][]float32, f.lanes)}, nil
}

type fakeStream struct {
	device.Stream
	f      *fakeExecutable
	sample [][]float32
	time   []float32
	class  []int
	out    [][]float32
}

func (s *fakeStream) SetInput(name string, lane int, data []float32) error {
	switch name {
	case SampleInput:
		s.sample[lane] = slices.Clone(data)
	case TimeInput:
		s.time[lane] = data[0]
	default:
		return fmt.Errorf("no input %q", name)
	}
	return nil
}

func (s *fakeStream) SetIndex(name string, lane, row int) error {
	if name != ClassIndex {
		return fmt.Errorf("no index %q", name)
	}
	s.class[lane] = row
	return nil
}

func (s *fakeStream) Run() error {
	s.f.runs.Add(1)
	for lane, sample := range s.sample {
		if sample != nil {
			s.out[lane] = fakePrediction(sample, int(s.time[lane]), s.class[lane], s.f.bias)
		}
	}
	return s.f.fail
}

func (s *fakeStream) Output(name string, lane int, dst []float32) error {
	if name != OutputName || len(s.out[lane]) != len(dst) {
		return fmt.Errorf("no output %q of %d values", name, len(dst))
	}
	copy(dst, s.out[lane])
	return nil
}

const fakeSize, fakePrototype = 16, 4 // 1x4x4 images in blocks of 2, one prototype channel of 2x2

func fakePrediction(sample []float32, timestep, class int, bias float32) []float32 {
	out := fakeNetwork(sample[:fakeSize], timestep)
	for i := range out {
		out[i] += 0.07*float32(class) + bias
		for _, p := range sample[fakeSize:] {
			out[i] += 0.1 * p
		}
	}
	return out
}

func fakeTime() [][]float32 {
	rows := make([][]float32, 1000)
	for t := range rows {
		rows[t] = []float32{float32(t)}
	}
	return rows
}

func fakeSampler(t *testing.T, k Kind) (*Sampler, *Denoiser, []Request) {
	t.Helper()
	s := &Sampler{
		Tables: mustTables(t, Cosine), Prediction: Velocity,
		Codec: Codec{Image: device.Shape{C: 1, H: 4, W: 4}, Factor: 2},
		Kind:  k, Steps: 12, Key: draws.SeedKey(5, "samples"), Threads: 3,
	}
	d := &Denoiser{Adapted: &fakeExecutable{lanes: 4}, Lanes: 4, Time: fakeTime(), NoLabel: 9, PrototypeChannels: 1}
	requests := make([]Request, 11)
	for i := range requests {
		requests[i] = Request{Index: uint64(100 + i), Class: i % 3}
		if i%2 == 0 {
			requests[i].Prototype = []float32{0.1, 0.2, float32(i) / 10, -0.5}
		}
	}
	return s, d, requests
}

func sampled(t *testing.T, s *Sampler, d *Denoiser, requests []Request) map[uint64][]uint8 {
	t.Helper()
	images := map[uint64][]uint8{}
	err := s.Sample(context.Background(), d, requests, func(i int, image []uint8) {
		images[requests[i].Index] = slices.Clone(image)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != len(requests) {
		t.Fatalf("%d images for %d requests", len(images), len(requests))
	}
	return images
}

// reference samples one image by the definition, alone.
func reference(t *testing.T, s *Sampler, d *Denoiser, r Request) []uint8 {
	t.Helper()
	steps, err := Steps(s.Tables, s.Kind, s.Steps, s.Eta)
	if err != nil {
		t.Fatal(err)
	}
	source := draws.New(s.Key)
	x, z := make([]float32, fakeSize), make([]float32, fakeSize)
	source.Stream(r.Index, 0, draws.Start).Normals(x)
	clean, last := make([]float32, fakeSize), make([]float32, fakeSize)
	for i, step := range steps {
		exe := d.Adapted
		if d.Base != nil && !d.Times.Contains(step.Timestep) {
			exe = d.Base
		}
		bias := exe.(*fakeExecutable).bias
		prototype := append(r.Prototype, make([]float32, fakePrototype-len(r.Prototype))...)
		p := fakePrediction(append(slices.Clone(x), prototype...), step.Timestep, r.Class, bias)
		if s.Guidance != 0 {
			u := fakePrediction(append(slices.Clone(x), make([]float32, fakePrototype)...), step.Timestep, d.NoLabel, bias)
			for j := range p {
				p[j] = float32((1+s.Guidance)*p[j]) - float32(s.Guidance*u[j])
			}
		}
		clean, last = last, clean
		s.Prediction.Clean(clean, x, p, s.Tables.Signal[step.Timestep], s.Tables.Noise[step.Timestep])
		kernel.Clamp(clean, 1)
		if step.Noise != 0 {
			source.Stream(r.Index, uint16(i), draws.Step).Normals(z)
		}
		step.Advance(x, clean, last, z)
	}
	pixels, image := make([]float32, fakeSize), make([]uint8, fakeSize)
	s.Codec.Shuffle(pixels, x)
	Bytes(image, pixels)
	return image
}

func TestSamplerAgainstItsDefinition(t *testing.T) {
	for _, k := range []Kind{DDPM, DDIM, DPM} {
		for _, w := range []float32{0, 1.5} {
			s, d, requests := fakeSampler(t, k)
			s.Guidance = w
			d.Base, d.Times = &fakeExecutable{lanes: 4, bias: 0.2}, Fractions(0.35, 0.95, 1000)
			images := sampled(t, s, d, requests)
			for _, r := range requests {
				if want := reference(t, s, d, r); !slices.Equal(images[r.Index], want) {
					t.Errorf("%s with guidance %v: image %d is %v, want %v", k, w, r.Index, images[r.Index], want)
				}
			}
		}
	}
}

// TestImageDependsOnItsRequestAlone: order, company, group size and threads
// leave its bytes alone.
func TestImageDependsOnItsRequestAlone(t *testing.T) {
	s, d, requests := fakeSampler(t, DDPM)
	want := sampled(t, s, d, requests)
	slices.Reverse(requests)
	requests = requests[2:]
	s.Threads = 1
	d.Lanes = 3
	d.Adapted = &fakeExecutable{lanes: 3}
	for index, image := range sampled(t, s, d, requests) {
		if !slices.Equal(image, want[index]) {
			t.Errorf("image %d changed with its company", index)
		}
	}
	s.Key = draws.SeedKey(6, "samples")
	for index, image := range sampled(t, s, d, requests) {
		if slices.Equal(image, want[index]) {
			t.Errorf("image %d is the same under another key", index)
		}
	}
}

func TestAdaptersAreOffOutsideTheirTimes(t *testing.T) {
	s, d, requests := fakeSampler(t, DDIM)
	base := &fakeExecutable{lanes: 4}
	d.Base, d.Times = base, Fractions(0.35, 0.95, 1000)
	sampled(t, s, d, requests)
	// Timesteps 999, 916, 832, ..., 82: seven of them lie in [350, 950).
	if on, off := d.Adapted.(*fakeExecutable).runs.Load(), base.runs.Load(); on != 3*7 || off != 3*5 {
		t.Errorf("three groups ran the adapted network %d times and the base %d times, want 21 and 15", on, off)
	}
}

func TestGuidanceZeroCostsOneEvaluation(t *testing.T) {
	for w, want := range map[float32]int64{0: 3 * 12, 2: 2 * 3 * 12} {
		s, d, requests := fakeSampler(t, DPM)
		s.Guidance = w
		sampled(t, s, d, requests)
		if got := d.Adapted.(*fakeExecutable).runs.Load(); got != want {
			t.Errorf("guidance %v: %d evaluations, want %d", w, got, want)
		}
	}
}

func TestSamplingStopsOnErrors(t *testing.T) {
	discard := func(int, []uint8) {}
	s, d, requests := fakeSampler(t, DDIM)
	broken := errors.New("broken")
	d.Adapted = &fakeExecutable{lanes: 4, fail: broken}
	if err := s.Sample(context.Background(), d, requests, discard); !errors.Is(err, broken) {
		t.Errorf("the device's error became %v", err)
	}
	d.Adapted = &fakeExecutable{lanes: 4, bias: float32(math.NaN())}
	if err := s.Sample(context.Background(), d, requests, discard); err == nil {
		t.Error("NaN predictions gave images")
	}
	d.Adapted = &fakeExecutable{lanes: 4}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Sample(ctx, d, requests, discard); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled sampler returned %v", err)
	}
	requests[3].Prototype = []float32{1}
	if err := s.Sample(context.Background(), d, requests, discard); err == nil {
		t.Error("a prototype of another size was accepted")
	}
	if err := s.Sample(context.Background(), d, nil, discard); err != nil {
		t.Errorf("no requests: %v", err)
	}
	d.Time = d.Time[:10]
	if err := s.Sample(context.Background(), d, nil, discard); err == nil {
		t.Error("a time table of another length was accepted")
	}
}
