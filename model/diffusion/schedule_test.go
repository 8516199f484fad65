package diffusion

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"github.com/dploda/dploda/internal/device"
)

func TestTablesTravelAsBits(t *testing.T) {
	for _, s := range []Schedule{Linear, Cosine} {
		want := mustTables(t, s)
		b, err := want.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got Tables
		if err := got.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.AlphaBar, want.AlphaBar) || !slices.Equal(got.Signal, want.Signal) || !slices.Equal(got.Noise, want.Noise) {
			t.Errorf("%s: the tables changed on their way", s)
		}
		for name, bad := range map[string][]byte{"empty": nil, "odd": b[:15], "rising": append(slices.Clone(b[8:]), b[:8]...), "NaN": append(slices.Clone(b[:8]), 255, 255, 255, 255, 255, 255, 255, 255)} {
			if err := got.UnmarshalBinary(bad); err == nil {
				t.Errorf("%s: %s tables were accepted", s, name)
			}
		}
		if got.Timesteps() != 1000 {
			t.Errorf("%s: refused tables changed the receiver", s)
		}
	}
}

// TestSameBitsEverywhere pins the bits of schedules and sampler coefficients.
func TestSameBitsEverywhere(t *testing.T) {
	h := fnv.New64a()
	for _, s := range []Schedule{Linear, Cosine} {
		tables := mustTables(t, s)
		b, _ := tables.MarshalBinary()
		h.Write(b)
		for _, k := range []Kind{DDPM, DDIM, DPM} {
			steps, err := Steps(tables, k, 30, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range steps {
				for _, x := range []float32{step.FromX, step.FromClean, step.FromLast, step.Noise} {
					_ = binary.Write(h, binary.LittleEndian, math.Float32bits(x))
				}
			}
		}
	}
	if got := h.Sum64(); got != 0xeef2fcd60cc47559 {
		t.Errorf("hash of the tables' bits = %#x", got)
	}
}

func TestPredictionsAgree(t *testing.T) {
	clean, noise := []float32{-1, 0.3, 0.9}, []float32{0.2, -1.7, 2.5}
	for _, p := range []Prediction{Epsilon, Velocity} {
		for _, at := range []int{0, 100, 500, 900} {
			tables := mustTables(t, Linear)
			a, s := tables.Signal[at], tables.Noise[at]
			x, target, got := make([]float32, 3), make([]float32, 3), make([]float32, 3)
			AddNoise(x, clean, noise, a, s)
			p.Target(target, clean, noise, a, s)
			p.Clean(got, x, target, a, s)
			near(t, string(p)+": x0 of the true target", got, clean, 1e-4)
			p.Eps(got, x, target, a, s)
			near(t, string(p)+": ε of the true target", got, noise, 1e-4)
		}
	}
}

func TestStepsOfEverySchedule(t *testing.T) {
	for _, s := range []Schedule{Linear, Cosine} {
		tables := mustTables(t, s)
		for _, k := range []Kind{DDPM, DDIM, DPM} {
			for _, n := range []int{1, 2, 12, 13, 250, 1000} {
				steps, err := Steps(tables, k, n, 0)
				if err != nil {
					t.Fatal(err)
				}
				if len(steps) != n || steps[0].Timestep != 999 {
					t.Fatalf("%s with %d steps: %d of them, from timestep %d", k, n, len(steps), steps[0].Timestep)
				}
				for i := 1; i < n; i++ {
					if steps[i].Timestep >= steps[i-1].Timestep || steps[i].Timestep < 0 {
						t.Fatalf("%s with %d steps: timestep %d after %d", k, n, steps[i].Timestep, steps[i-1].Timestep)
					}
				}
				end := steps[n-1] // the last step is the network's x0, without noise
				if end.FromX != 0 || end.FromClean != 1 || end.FromLast != 0 || end.Noise != 0 {
					t.Errorf("%s with %d steps ends in %+v", k, n, end)
				}
				followsTheTruth(t, tables, k, steps)
			}
		}
	}
}

// followsTheTruth: a network that knows x0 keeps a noiseless sampler on
// x = a·x0 + s·ε for the ε it started with, whatever the order.
func followsTheTruth(t *testing.T, tables *Tables, k Kind, steps []Step) {
	if k == DDPM {
		return
	}
	const x0, eps = 0.6, -1.3
	a, s := tables.Signal[999], tables.Noise[999]
	x := []float32{a*x0 + s*eps}
	for i, step := range steps[:len(steps)-1] {
		step.Advance(x, []float32{x0}, []float32{x0}, nil)
		next := steps[i+1].Timestep
		near(t, string(k)+" on its way", x, []float32{tables.Signal[next]*x0 + tables.Noise[next]*eps}, 2e-4)
	}
}

func TestRefusals(t *testing.T) {
	tables := mustTables(t, Cosine)
	for name, try := range map[string]func() error{
		"one timestep":       func() error { _, err := NewTables(Linear, 1); return err },
		"unknown schedule":   func() error { _, err := NewTables("sigmoid", 10); return err },
		"no steps":           func() error { _, err := Steps(tables, DDIM, 0, 0); return err },
		"too many steps":     func() error { _, err := Steps(tables, DDIM, 1001, 0); return err },
		"eta of another":     func() error { _, err := Steps(tables, DPM, 10, 0.5); return err },
		"eta above one":      func() error { _, err := Steps(tables, DDIM, 10, 1.5); return err },
		"eta is no number":   func() error { _, err := Steps(tables, DDIM, 10, math.NaN()); return err },
		"unknown sampler":    func() error { _, err := Steps(tables, "heun", 10, 0); return err },
		"unknown prediction": Prediction("sample").Validate,
		"odd image":          Codec{device.Shape{C: 1, H: 28, W: 27}, 2}.Validate,
		"no factor":          Codec{device.Shape{C: 1, H: 28, W: 28}, 0}.Validate,
		"empty image":        Codec{device.Shape{C: 0, H: 28, W: 28}, 1}.Validate,
	} {
		if try() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestBytesRoundTrip(t *testing.T) {
	all, back := make([]uint8, 256), make([]uint8, 256)
	for i := range all {
		all[i] = uint8(i)
	}
	values := make([]float32, 256)
	Levels(values, all)
	Bytes(back, values)
	if !slices.Equal(all, back) {
		t.Errorf("bytes change on the way: %v", back)
	}
	Bytes(back[:4], []float32{-7, -1.0001, 1.0001, 9})
	if !slices.Equal(back[:4], []uint8{0, 0, 255, 255}) {
		t.Errorf("values beyond [-1, 1] become %v", back[:4])
	}
}
