package optim

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"testing"
)

type trajectory struct{ Gradients, Path [][]float32 }

type golden struct {
	Start, Rates     []float32
	Adam, AdamW, SGD trajectory
	EMA              struct{ Params, Average [][]float32 }
}

func readGolden(t *testing.T) golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/torch.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// must returns the value of a constructor whose settings are known to be good.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func checkNear(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 1e-6 {
			t.Fatalf("%s: coordinate %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestAgainstTorch(t *testing.T) {
	g := readGolden(t)
	dim := len(g.Start)
	for _, c := range []struct {
		name string
		o    Optimizer
		want trajectory
	}{
		{"adam", must(NewAdam(dim, AdamConfig{Beta1: 0.9, Beta2: 0.99, Eps: 1e-8})), g.Adam},
		{"adamw", must(NewAdam(dim, AdamConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-6, WeightDecay: 0.1})), g.AdamW},
		{"sgd", must(NewSGD(dim, 0.9)), g.SGD},
	} {
		t.Run(c.name, func(t *testing.T) {
			params := slices.Clone(g.Start)
			for i, grad := range c.want.Gradients {
				if err := c.o.Step(params, grad, g.Rates[i]); err != nil {
					t.Fatal(err)
				}
				checkNear(t, fmt.Sprintf("step %d", i), params, c.want.Path[i])
			}
			if len(c.want.Path) < 20 {
				t.Errorf("the golden file has only %d steps", len(c.want.Path))
			}
		})
	}
	t.Run("ema", func(t *testing.T) {
		e := must(NewEMA(g.Start, 0.6))
		for i, p := range g.EMA.Params {
			if err := e.Update(p); err != nil {
				t.Fatal(err)
			}
			checkNear(t, fmt.Sprintf("update %d", i), e.Average(), g.EMA.Average[i])
		}
	})
}

// drift is a deterministic gradient of any length.
func drift(dim, step int) []float32 {
	g := make([]float32, dim)
	for i := range g {
		g[i] = float32((i*31+step*17)%101)/50 - 1
	}
	return g
}

func optimizers(dim int) map[string]func() Optimizer {
	dp := AdamConfig{Beta1: 0.9, Beta2: 0.99, NoiseVariance: 0.05, NoiseFloor: 1e-4}
	return map[string]func() Optimizer{
		"adam":    func() Optimizer { return must(NewAdam(dim, DefaultAdam())) },
		"dp-adam": func() Optimizer { return must(NewAdam(dim, dp)) },
		"sgd":     func() Optimizer { return must(NewSGD(dim, 0.9)) },
	}
}

// TestResumeIsBitExact stops after each of several steps, restores into a
// fresh optimizer and compares every later parameter's bits.
func TestResumeIsBitExact(t *testing.T) {
	const dim, steps = 67, 12
	for name, make := range optimizers(dim) {
		t.Run(name, func(t *testing.T) {
			o, params := make(), drift(dim, 99)
			var states [][]byte
			var path [][]float32
			for i := range steps {
				states = append(states, must(o.MarshalState()))
				path = append(path, slices.Clone(params))
				if err := o.Step(params, drift(dim, i), 1e-2); err != nil {
					t.Fatal(err)
				}
			}
			for at, state := range states {
				resumed, p := make(), slices.Clone(path[at])
				if err := resumed.UnmarshalState(state); err != nil {
					t.Fatal(err)
				}
				for i := at; i < steps; i++ {
					if err := resumed.Step(p, drift(dim, i), 1e-2); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(p, params) {
					t.Fatalf("resumed after step %d, the parameters differ", at)
				}
			}
		})
	}
}

func TestAverageResumes(t *testing.T) {
	const dim = 9
	e := must(NewEMA(drift(dim, 0), 0.95))
	for i := range 5 {
		if err := e.Update(drift(dim, i)); err != nil {
			t.Fatal(err)
		}
	}
	resumed := must(NewEMA(make([]float32, dim), 0.95))
	if err := resumed.UnmarshalState(must(e.MarshalState())); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		for _, x := range []*EMA{e, resumed} {
			if err := x.Update(drift(dim, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(e.Average(), resumed.Average()) {
		t.Error("the resumed average differs")
	}
}

// TestNoiseCorrection: with a gradient that is noise of known variance around a
// small mean, plain Adam shrinks the step by the noise's root and DP-Adam
// removes it again (DP-AdamBC, equation 3).
func TestNoiseCorrection(t *testing.T) {
	const dim, mean, sigma = 4000, 0.1, 1.0
	plain := must(NewAdam(dim, AdamConfig{Beta1: 0.99, Beta2: 0.999, Eps: 1e-8}))
	corrected := must(NewAdam(dim, AdamConfig{Beta1: 0.99, Beta2: 0.999, NoiseVariance: sigma * sigma, NoiseFloor: 1e-3}))
	a, b := make([]float32, dim), make([]float32, dim)
	word := uint64(1)
	for range 300 {
		g := make([]float32, dim)
		for i := range g { // ±sigma by a linear congruential bit: variance exactly sigma²
			word = word*6364136223846793005 + 1442695040888963407
			g[i] = mean + sigma*float32(1-2*float64(word>>63))
		}
		for _, s := range []struct {
			o *Adam
			p []float32
		}{{plain, a}, {corrected, b}} {
			if err := s.o.Step(s.p, g, 1e-3); err != nil {
				t.Fatal(err)
			}
		}
	}
	sum := func(xs []float32) (s float64) {
		for _, x := range xs {
			s -= float64(x)
		}
		return s / float64(len(xs))
	}
	// Plain: 300 steps of 1e-3·mean/sqrt(mean²+sigma²) = 0.03. Corrected: the
	// denominator falls to between sqrt(floor) = 0.03 and a few times mean.
	if got := sum(a); math.Abs(got-0.03) > 0.003 {
		t.Errorf("plain Adam moved by %v, want 0.03", got)
	}
	if got := sum(b); got < 4*sum(a) {
		t.Errorf("DP-Adam moved by %v, plain by %v", got, sum(a))
	}
}

// TestSameBitsEverywhere pins the bits of a run of each optimizer.
func TestSameBitsEverywhere(t *testing.T) {
	want := map[string]uint64{"adam": 0x10c8fa0bb76ed9c0, "dp-adam": 0xa142e44158f4233e, "sgd": 0x7ef07a81e45005af}
	const dim = 67
	for name, make := range optimizers(dim) {
		o, params := make(), drift(dim, 3)
		for i := range 50 {
			if err := o.Step(params, drift(dim, i), 3e-3); err != nil {
				t.Fatal(err)
			}
		}
		h := fnv.New64a()
		h.Write(encodeState(0, nil, params))
		h.Write(must(o.MarshalState()))
		if h.Sum64() != want[name] {
			t.Errorf("%s: hash %#x, want %#x", name, h.Sum64(), want[name])
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []AdamConfig{
		{Beta1: 1, Beta2: 0.9}, {Beta1: 0.9, Beta2: -0.1}, {Beta1: math.NaN()},
		{Eps: -1}, {WeightDecay: -1}, {NoiseVariance: -1}, {NoiseVariance: 1},
	} {
		if _, err := NewAdam(3, c); err == nil {
			t.Errorf("Adam accepted %+v", c)
		}
	}
	if _, err := NewSGD(3, 1); err == nil {
		t.Error("SGD accepted momentum 1")
	}
	if _, err := NewEMA(nil, 1); err == nil {
		t.Error("an average accepted decay 1")
	}
	for name, make := range optimizers(3) {
		params := []float32{1, 2, 3}
		if err := make().Step(params, drift(4, 0), 1); err == nil {
			t.Errorf("%s accepted a gradient of another length", name)
		}
		if !slices.Equal(params, []float32{1, 2, 3}) {
			t.Errorf("%s changed parameters on an error", name)
		}
	}
	if err := must(NewEMA(drift(3, 0), 0.5)).Update(drift(2, 0)); err == nil {
		t.Error("an average accepted another length")
	}
}

func TestStateOfAnotherOptimizerIsRefused(t *testing.T) {
	a := must(NewAdam(4, DefaultAdam()))
	state := must(a.MarshalState())
	before := slices.Clone(state)
	foreign := map[string][]byte{
		"empty":          nil,
		"truncated":      state[:len(state)-1],
		"longer":         append(slices.Clone(state), 0),
		"another kind":   must(must(NewSGD(12, 0)).MarshalState()),
		"another size":   must(must(NewAdam(5, DefaultAdam())).MarshalState()),
		"another header": append([]byte("OPT2"), state[4:]...),
	}
	for name, s := range foreign {
		if err := a.UnmarshalState(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if !slices.Equal(must(a.MarshalState()), before) {
		t.Error("a refused state changed the optimizer")
	}
}

func BenchmarkAdam(b *testing.B) {
	const dim = 1 << 18
	a, params, grad := must(NewAdam(dim, DefaultAdam())), make([]float32, dim), drift(dim, 0)
	b.SetBytes(dim)
	for range b.N {
		_ = a.Step(params, grad, 1e-3)
	}
}
