package diffusion

import (
	"math"
	"slices"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
)

func testPreparation(t *testing.T) *Preparation {
	t.Helper()
	return &Preparation{
		Tables: mustTables(t, Cosine), Prediction: Velocity,
		Codec: Codec{Image: device.Shape{C: 1, H: 8, W: 6}, Factor: 2},
		Times: Fractions(0.35, 0.95, 1000), Mix: Mix{None: 0.1, Class: 0.2, Both: 0.3, Prototype: 0.4},
		NoLabel: 10, PrototypeChannels: 2,
	}
}

func testImage(c Codec) []uint8 {
	image := make([]uint8, c.Size())
	for i := range image {
		image[i] = uint8(i * 37)
	}
	return image
}

// prototype is any values: 2 channels of 4x3.
func testPrototype() []float32 {
	p := make([]float32, 24)
	for i := range p {
		p[i] = float32(i+1) / 30
	}
	return p
}

func TestPreparedExampleIsWhatItSays(t *testing.T) {
	p := testPreparation(t)
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	image, n := testImage(p.Codec), p.Codec.Size()
	values, grid := make([]float32, n), make([]float32, n)
	Levels(values, image)
	p.Codec.Unshuffle(grid, values)
	e := p.NewExample()
	for id := range uint64(50) {
		if err := p.Prepare(e, draws.New(draws.SeedKey(1, "")), id, 0, image, 4, testPrototype()); err != nil {
			t.Fatal(err)
		}
		a, s := p.Tables.Signal[e.Timestep], p.Tables.Noise[e.Timestep]
		clean, noise := make([]float32, n), make([]float32, n)
		p.Prediction.Clean(clean, e.Sample[:n], e.Target, a, s)
		near(t, "x0 of the target", clean, grid, 1e-5)
		p.Prediction.Eps(noise, e.Sample[:n], e.Target, a, s)
		sum := 0.0
		for _, z := range noise {
			sum += float64(z) * float64(z)
		}
		if mean := sum / float64(n); mean < 0.2 || mean > 2.5 { // 48 squares of normals; chance below 1e-5 each side
			t.Errorf("example %d: mean square of its noise is %v", id, mean)
		}
	}
}

func TestPreparationIsAFunctionOfKeyExampleAndCopy(t *testing.T) {
	p := testPreparation(t)
	prepare := func(seed uint64, id uint64, k int) *Example {
		e := p.NewExample()
		if err := p.Prepare(e, draws.New(draws.SeedKey(seed, "")), id, k, testImage(p.Codec), 4, testPrototype()); err != nil {
			t.Fatal(err)
		}
		return e
	}
	want := prepare(1, 5, 2)
	again := prepare(1, 5, 2)
	if !slices.Equal(again.Sample, want.Sample) || !slices.Equal(again.Target, want.Target) || again.Timestep != want.Timestep || again.Class != want.Class {
		t.Error("the same names gave another example")
	}
	for name, other := range map[string]*Example{"key": prepare(2, 5, 2), "example": prepare(1, 6, 2), "copy": prepare(1, 5, 3)} {
		if slices.Equal(other.Target, want.Target) {
			t.Errorf("another %s gave the same noise", name)
		}
	}
}

// TestConditionsAndTimes counts over many examples. A count's deviation of
// five standard errors comes by chance with 6e-7.
func TestConditionsAndTimes(t *testing.T) {
	p := testPreparation(t)
	const examples = 20_000
	d, e, image := draws.New(draws.SeedKey(3, "")), p.NewExample(), testImage(p.Codec)
	counts := map[[2]bool]float64{}
	early, n := 0.0, p.Codec.Size()
	for id := range uint64(examples) {
		if err := p.Prepare(e, d, id, 1, image, 4, testPrototype()); err != nil {
			t.Fatal(err)
		}
		class := e.Class == 4
		if !class && e.Class != p.NoLabel {
			t.Fatalf("class %d is neither the label nor the no-label row", e.Class)
		}
		zero := !slices.ContainsFunc(e.Sample[n:], func(v float32) bool { return v != 0 })
		if !zero && !slices.Equal(e.Sample[n:], testPrototype()) {
			t.Fatal("the prototype's channels are neither it nor zero")
		}
		counts[[2]bool{class, !zero}]++
		if e.Timestep < 350 || e.Timestep >= 950 {
			t.Fatalf("timestep %d lies outside the range", e.Timestep)
		}
		if e.Timestep < 500 {
			early++
		}
	}
	check := func(what string, got, p float64) {
		if math.Abs(got-p*examples) > 5*math.Sqrt(examples*p*(1-p)) {
			t.Errorf("%s: %v of %v, want a share of %v", what, got, examples, p)
		}
	}
	check("none", counts[[2]bool{false, false}], p.Mix.None)
	check("class only", counts[[2]bool{true, false}], p.Mix.Class)
	check("both", counts[[2]bool{true, true}], p.Mix.Both)
	check("prototype only", counts[[2]bool{false, true}], p.Mix.Prototype)
	check("timesteps below 500", early, 0.25)
}

func TestLabelDropAlone(t *testing.T) {
	p := testPreparation(t)
	p.PrototypeChannels, p.Mix = 0, LabelDrop(0)
	e := p.NewExample()
	for id := range uint64(300) {
		if err := p.Prepare(e, draws.New(draws.SeedKey(1, "")), id, 0, testImage(p.Codec), 7, nil); err != nil {
			t.Fatal(err)
		}
		if e.Class != 7 {
			t.Fatal("a label was dropped with probability 0")
		}
	}
}

// inverter is an augmentation that the test can see.
type inverter struct{}

func (inverter) Apply(dst, src []float32, _ device.Shape, _ *draws.Stream) {
	for i, v := range src {
		dst[i] = -v
	}
}

func TestAugmentationIsApplied(t *testing.T) {
	p := testPreparation(t)
	plain, inverted := p.NewExample(), p.NewExample()
	d := draws.New(draws.SeedKey(1, ""))
	if err := p.Prepare(plain, d, 1, 0, testImage(p.Codec), 4, testPrototype()); err != nil {
		t.Fatal(err)
	}
	p.Augment = inverter{}
	if err := p.Prepare(inverted, d, 1, 0, testImage(p.Codec), 4, testPrototype()); err != nil {
		t.Fatal(err)
	}
	for i := range plain.clean {
		if plain.clean[i] != -inverted.clean[i] || plain.noise[i] != inverted.noise[i] {
			t.Fatal("the augmented image is not what the augmenter made, or took other noise")
		}
	}
}

func TestImpossiblePreparationsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Preparation){
		"empty times":         func(p *Preparation) { p.Times = Range{400, 400} },
		"times beyond T":      func(p *Preparation) { p.Times.To = 1001 },
		"negative times":      func(p *Preparation) { p.Times.From = -1 },
		"mix not whole":       func(p *Preparation) { p.Mix.None = 0.2 },
		"negative mix":        func(p *Preparation) { p.Mix = Mix{None: -1, Class: 2} },
		"prototype, no place": func(p *Preparation) { p.PrototypeChannels = 0 },
		"prediction":          func(p *Preparation) { p.Prediction = "" },
		"blocks":              func(p *Preparation) { p.Codec.Factor = 5 },
		"no-label row":        func(p *Preparation) { p.NoLabel = -1 },
	} {
		p := testPreparation(t)
		change(p)
		if p.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p := testPreparation(t)
	d, e := draws.New(draws.SeedKey(1, "")), p.NewExample()
	if p.Prepare(e, d, 0, 0, make([]uint8, 3), 0, testPrototype()) == nil {
		t.Error("an image of another size was accepted")
	}
	if p.Prepare(e, d, 0, 0, testImage(p.Codec), 0, nil) == nil {
		t.Error("a missing prototype was accepted")
	}
	if p.Prepare(e, d, 0, 1<<16, testImage(p.Codec), 0, testPrototype()) == nil {
		t.Error("a copy beyond the counter was accepted")
	}
}

func BenchmarkPrepare28(b *testing.B) {
	tables, err := NewTables(Cosine, 1000)
	if err != nil {
		b.Fatal(err)
	}
	p := &Preparation{
		Tables: tables, Prediction: Velocity, Codec: Codec{Image: device.Shape{C: 1, H: 28, W: 28}, Factor: 2},
		Times: Fractions(0.35, 0.95, 1000), Mix: LabelDrop(0.1), NoLabel: 10,
	}
	d, e, image := draws.New(draws.SeedKey(1, "")), p.NewExample(), testImage(p.Codec)
	for i := range b.N {
		if err := p.Prepare(e, d, uint64(i), 0, image, 1, nil); err != nil {
			b.Fatal(err)
		}
	}
}
