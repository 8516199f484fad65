// Package diffusion is the mathematics of a denoising diffusion model: noise
// schedules, what the network predicts, training examples and samplers. It
// knows a network only as an executable of a device.
//
// Everything here is a function of shipped tables, keys and images, computed
// with correctly rounded operations in a fixed order: the same inputs give the
// same bits on any machine, lane and number of threads.
package diffusion

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dploda/dploda/model/fmath"
)

// Schedule names a noise schedule, as diffusers' beta_schedule does.
type Schedule string

// The schedules.
const (
	// Linear has β rising evenly, from 1e-4 to 0.02 in the paper (Ho, Jain,
	// Abbeel 2020, section 4).
	Linear Schedule = "linear"
	// ScaledLinear has sqrt(β) rising evenly (Rombach et al. 2022, in their code).
	ScaledLinear Schedule = "scaled_linear"
	// Cosine has ᾱ = cos²((t/T + 0.008)/1.008 · π/2) and β <= 0.999 (Nichol and
	// Dhariwal 2021, equation 17).
	Cosine Schedule = "squaredcos_cap_v2"
)

// Tables holds a schedule's values at the timesteps t = 0..T-1:
// x_t = Signal[t]·x_0 + Noise[t]·ε.
type Tables struct {
	AlphaBar []float64 // ᾱ_t, in (0, 1), falling
	Signal   []float32 // sqrt(ᾱ_t)
	Noise    []float32 // sqrt(1-ᾱ_t)
}

// The first and last β of the schedules that have them, where nothing else is
// said.
const (
	FirstBeta = 1e-4
	LastBeta  = 0.02
)

// NewTables computes the tables of a schedule over the given number of
// timesteps (1000 in the papers), between FirstBeta and LastBeta.
func NewTables(s Schedule, timesteps int) (*Tables, error) {
	return NewTablesBetween(s, FirstBeta, LastBeta, timesteps)
}

// NewTablesBetween is NewTables for other ends of β, 0 < first <= last < 1,
// which Cosine does not look at.
func NewTablesBetween(s Schedule, first, last float64, timesteps int) (*Tables, error) {
	if timesteps < 2 || timesteps > 1<<16 {
		return nil, fmt.Errorf("a noise schedule needs 2 to 65536 timesteps, but has %d", timesteps)
	}
	if !(first > 0 && first <= last && last < 1) {
		return nil, fmt.Errorf("a noise schedule's β must rise between 0 and 1, not from %v to %v", first, last)
	}
	var beta func(t int) float64
	switch s {
	case Linear:
		beta = func(t int) float64 {
			return first + float64((last-first)*float64(t))/float64(timesteps-1)
		}
	case ScaledLinear:
		from, to := math.Sqrt(first), math.Sqrt(last)
		beta = func(t int) float64 {
			root := from + float64((to-from)*float64(t))/float64(timesteps-1)
			return float64(root * root)
		}
	case Cosine:
		beta = func(t int) float64 {
			return min(1-cosineBar(t+1, timesteps)/cosineBar(t, timesteps), 0.999)
		}
	default:
		return nil, fmt.Errorf("unknown noise schedule %q: use %s, %s or %s", s, Linear, ScaledLinear, Cosine)
	}
	bar := make([]float64, timesteps)
	product := 1.0
	for t := range bar {
		product = float64(product * (1 - beta(t)))
		bar[t] = product
	}
	return fromAlphaBar(bar)
}

func cosineBar(t, timesteps int) float64 {
	_, c := fmath.SinCos(float64((float64(t)/float64(timesteps)+0.008)/1.008*math.Pi) / 2)
	return float64(c * c)
}

func fromAlphaBar(bar []float64) (*Tables, error) {
	t := &Tables{AlphaBar: bar, Signal: make([]float32, len(bar)), Noise: make([]float32, len(bar))}
	last := 1.0
	for i, a := range bar {
		if !(a > 0 && a < last) {
			return nil, fmt.Errorf("the noise schedule's ᾱ must fall from below 1 to above 0, but does not at timestep %d", i)
		}
		last = a
		t.Signal[i] = float32(math.Sqrt(a))
		t.Noise[i] = float32(math.Sqrt(1 - a))
	}
	return t, nil
}

// Timesteps returns T.
func (t *Tables) Timesteps() int { return len(t.AlphaBar) }

// MarshalBinary returns the bits of ᾱ; the leader of a run ships them.
func (t *Tables) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, 8*len(t.AlphaBar))
	for _, a := range t.AlphaBar {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(a))
	}
	return b, nil
}

// UnmarshalBinary restores what MarshalBinary returned.
func (t *Tables) UnmarshalBinary(b []byte) error {
	if len(b)%8 != 0 || len(b) < 16 || len(b) > 8<<16 {
		return fmt.Errorf("a noise schedule cannot have %d bytes", len(b))
	}
	bar := make([]float64, len(b)/8)
	for i := range bar {
		bar[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	made, err := fromAlphaBar(bar)
	if err != nil {
		return err
	}
	*t = *made
	return nil
}
