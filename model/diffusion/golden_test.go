package diffusion

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// golden was written by tools/golden_diffusion.py with diffusers.
type golden struct {
	Schedules []struct {
		Schedule Schedule
		AlphaBar []float64 `json:"alpha_bar"`
		Rows     []struct {
			T                             int
			Clean, Noise, Noisy, Velocity []float32
		}
	}
	Samplers []struct {
		Kind       Kind
		Schedule   Schedule
		Prediction Prediction
		Steps      int
		Eta        float64
		Times      []int
		Start      []float32
		Noise      [][]float32
		Path       [][]float32
	}
	Unshuffled []float32
}

func readGolden(t *testing.T) golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/diffusers.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func mustTables(t *testing.T, s Schedule) *Tables {
	t.Helper()
	tables, err := NewTables(s, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// near fails unless got is within tolerance of want, relative for values
// beyond 1.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tolerance*max(1, math.Abs(float64(want[i])))) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestSchedulesAgainstDiffusers(t *testing.T) {
	g := readGolden(t)
	if len(g.Schedules) != 2 {
		t.Fatalf("the golden file has %d schedules", len(g.Schedules))
	}
	for _, want := range g.Schedules {
		tables := mustTables(t, want.Schedule)
		for i, a := range want.AlphaBar {
			if math.Abs(tables.AlphaBar[i]-a) > 1e-6 {
				t.Fatalf("%s: ᾱ at %d is %v, want %v", want.Schedule, i, tables.AlphaBar[i], a)
			}
		}
		for _, row := range want.Rows {
			a, s := tables.Signal[row.T], tables.Noise[row.T]
			got := make([]float32, len(row.Clean))
			AddNoise(got, row.Clean, row.Noise, a, s)
			near(t, "noisy image", got, row.Noisy, 1e-5)
			Velocity.Target(got, row.Clean, row.Noise, a, s)
			near(t, "velocity", got, row.Velocity, 1e-5)
			Epsilon.Target(got, row.Clean, row.Noise, a, s)
			near(t, "ε", got, row.Noise, 0)
		}
	}
}

// fakeNetwork is tools/golden_diffusion.py's network.
func fakeNetwork(x []float32, timestep int) []float32 {
	out := make([]float32, len(x))
	for i := range x {
		out[i] = 0.5*x[i] + 0.3*x[(i+1)%len(x)] - 0.2 + float32(timestep)/2000
	}
	return out
}

func TestSamplersAgainstDiffusers(t *testing.T) {
	g := readGolden(t)
	kinds := map[Kind]int{}
	for _, c := range g.Samplers {
		kinds[c.Kind]++
		tables := mustTables(t, c.Schedule)
		steps, err := Steps(tables, c.Kind, c.Steps, c.Eta)
		if err != nil {
			t.Fatal(err)
		}
		x := slices.Clone(c.Start)
		clean, last := make([]float32, len(x)), make([]float32, len(x))
		for i, step := range steps {
			if step.Timestep != c.Times[i] {
				t.Fatalf("%s with %d steps: step %d is at timestep %d, want %d", c.Kind, c.Steps, i, step.Timestep, c.Times[i])
			}
			clean, last = last, clean
			c.Prediction.Clean(clean, x, fakeNetwork(x, step.Timestep), tables.Signal[step.Timestep], tables.Noise[step.Timestep])
			if !kernel.Clamp(clean, 1) {
				t.Fatal("not a number")
			}
			step.Advance(x, clean, last, c.Noise[i])
			near(t, string(c.Kind)+" "+string(c.Schedule)+" "+string(c.Prediction), x, c.Path[i], 1e-5)
			copy(x, c.Path[i]) // each step on its own: a clipped value may not hide the next step's error
		}
	}
	for _, k := range []Kind{DDPM, DDIM, DPM} {
		if kinds[k] < 4 {
			t.Errorf("the golden file has only %d runs of %s", kinds[k], k)
		}
	}
}

func TestUnshuffleAgainstTorch(t *testing.T) {
	c := Codec{Image: device.Shape{C: 2, H: 4, W: 6}, Factor: 2}
	image := make([]float32, c.Size())
	for i := range image {
		image[i] = float32(i)
	}
	grid, back := make([]float32, c.Size()), make([]float32, c.Size())
	c.Unshuffle(grid, image)
	near(t, "unshuffled", grid, readGolden(t).Unshuffled, 0)
	c.Shuffle(back, grid)
	near(t, "shuffled back", back, image, 0)
	if got, want := c.Grid(), (device.Shape{C: 8, H: 2, W: 3}); got != want {
		t.Errorf("grid %v, want %v", got, want)
	}
}
