package pipeline

import (
	"bytes"
	"context"
	"testing"

	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
)

// trained is an adapter away from its start and prototypes that differ.
func trained(t testing.TB, r *run) *model {
	t.Helper()
	a, err := r.startAdapter()
	if err != nil {
		t.Fatal(err)
	}
	s := draws.New(draws.SeedKey(6, "generator test")).Stream(0, 0, draws.Noise)
	flat := a.Flat()
	for i := range flat {
		flat[i] += float32(s.Normal()) / 20
	}
	if err := a.SetFlat(flat); err != nil {
		t.Fatal(err)
	}
	m := &model{adapter: a}
	if r.prototypes == nil {
		return m
	}
	m.centers = prototype.New(*r.prototypes)
	for i := range m.centers.Pixels {
		m.centers.Pixels[i] = float32(s.Float64())
	}
	m.centers.Round = 2
	return m
}

func TestAnImageIsAFunctionOfItsIndex(t *testing.T) {
	r := tinyRun(t)
	m := trained(t, r)
	for _, sampler := range []string{"ddpm", "ddim", "dpm++"} {
		r.spec.Sample.Sampler, r.spec.Sample.Steps = sampler, 3
		images := func(a *adapter.Adapter, m *model, n, threads int) [][]byte {
			g := r.generator(a, m)
			g.threads = threads
			reported := 0
			g.onProgress = func(done, total int) {
				if reported++; done != reported || total != n {
					t.Errorf("progress %d of %d after %d images of %d", done, total, reported, n)
				}
			}
			d, err := g.sample(context.Background(), n)
			if err != nil {
				t.Fatal(err)
			}
			if d.Len() != n || reported != n {
				t.Errorf("%d images and %d reports, want %d", d.Len(), reported, n)
			}
			var all [][]byte
			for i := range n {
				if d.Label(i) != i%3 {
					t.Errorf("image %d is of class %d", i, d.Label(i))
				}
				all = append(all, d.Image(i))
			}
			return all
		}
		many := images(m.adapter, m, 21, 2)
		few := images(m.adapter, m, 7, 1)
		for i := range few {
			if !bytes.Equal(few[i], many[i]) {
				t.Fatalf("%s: image %d of 7 by one thread is not image %d of 21 by two", sampler, i, i)
			}
		}
		if bytes.Equal(many[0], many[3]) {
			t.Errorf("%s: two images of a class are the same", sampler)
		}
		if without := images(m.adapter, nil, 7, 1); bytes.Equal(bytes.Join(without, nil), bytes.Join(few, nil)) {
			t.Errorf("%s: the prototypes change nothing", sampler)
		}
	}
}

func TestAdaptersAreOffOutsideTheirTimes(t *testing.T) {
	r := tinyRun(t)
	g := r.generator(trained(t, r).adapter, nil)
	d, err := g.denoiser()
	if err != nil {
		t.Fatal(err)
	}
	if d.Base == nil || d.Times != r.times {
		t.Error("time_range [0.2, 0.8] samples with adapters at all times")
	}
	r = tinyRun(t, "time_range: [0.2, 0.8]", "time_range: [0, 1]", "batch: 16", everyone)
	if d, err = r.generator(trained(t, r).adapter, nil).denoiser(); err != nil || d.Base != nil {
		t.Errorf("time_range [0, 1] needs no plain network (error %v)", err)
	}
}

// TestTrainedWeightsAreOffOutsideTheirTimes: where no step lies in the times that
// were trained, what was trained changes no image; where all do, it does.
//
// Tried: the plain network with all that the adapter has, as it was for full
// fine-tuning.
func TestTrainedWeightsAreOffOutsideTheirTimes(t *testing.T) {
	for _, changes := range [][]string{asFull, asLoDA} {
		r := tinyRun(t, append([]string{"batch: 16", everyone}, changes...)...)
		r.spec.Sample.Steps = 2 // at timesteps 999 and 499
		draw := func(times diffusion.Range, change float32) []uint8 {
			a, err := r.startAdapter()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range a.Parameters() {
				if p.Name == "conv_in.weight" || p.Name == "conv_in.lora_B.weight" {
					a.Tensor(p.Name)[0] += change
				}
			}
			g := r.generator(a, nil)
			g.times = times
			d, err := g.sample(context.Background(), 1)
			if err != nil {
				t.Fatal(err)
			}
			return d.Image(0)
		}
		early, all := diffusion.Range{From: 0, To: 400}, diffusion.Range{From: 400, To: 1000}
		if !bytes.Equal(draw(early, 0), draw(early, 1)) {
			t.Errorf("%s: trained weights work outside their times", r.adapter.Kind)
		}
		if bytes.Equal(draw(all, 0), draw(all, 1)) {
			t.Errorf("%s: trained weights do nothing", r.adapter.Kind)
		}
	}
}

func TestPublicClasses(t *testing.T) {
	r := tinyRun(t)
	d, err := r.publicGenerator().sample(context.Background(), 4)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(d.Classes()); n != 3 {
		t.Errorf("%d public classes, want those of the base", n)
	}
	g := r.publicGenerator()
	g.classes = g.classes[1:]
	if _, err := g.sample(context.Background(), 4); err == nil {
		t.Error("a wrong number of public classes is accepted")
	}
}

func TestChooseCluster(t *testing.T) {
	c := prototype.New(prototype.Spec{Classes: 2, Clusters: 3, Side: 2, Rounds: 1})
	copy(c.Weights, []float32{0, 0, 1, 0.25, 0.5, 0.25})
	for _, tc := range []struct {
		class int
		u     float64
		want  int
	}{{0, 0, 2}, {0, 0.999999, 2}, {1, 0, 0}, {1, 0.2499, 0}, {1, 0.25, 1}, {1, 0.7499, 1}, {1, 0.75, 2}, {1, 0.999999, 2}} {
		if got := chooseCluster(c, tc.class, tc.u); got != tc.want {
			t.Errorf("class %d at %v: cluster %d, want %d", tc.class, tc.u, got, tc.want)
		}
	}
}
