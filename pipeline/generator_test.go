package pipeline

import (
	"bytes"
	"context"
	"testing"

	"github.com/dploda/dploda/model/adapter"
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
