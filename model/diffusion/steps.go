package diffusion

import (
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/device/cpu/kernel"
	"github.com/dploda/dploda/model/fmath"
)

// Kind names a sampler.
type Kind string

// The samplers.
const (
	DDPM Kind = "ddpm" // ancestral (Ho, Jain, Abbeel 2020, algorithm 2, small variance)
	DDIM Kind = "ddim" // Song, Meng, Ermon 2021, equation 12
	DPM  Kind = "dpm"  // DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), last step to x0
)

// Step is one step of a sampler. All the samplers here are linear in the
// present image x_t, the network's estimate of x0 (clipped) and the estimate of
// the step before: with z standard normal,
//
//	x' = FromX·x_t + FromClean·x0 + FromLast·x0_before + Noise·z
type Step struct {
	Timestep                          int
	FromX, FromClean, FromLast, Noise float32
}

// level is a point on the noise schedule: x = a·x0 + s·ε.
type level struct{ a, s float64 }

func levelOf(alphaBar float64) level {
	return level{math.Sqrt(alphaBar), math.Sqrt(1 - alphaBar)}
}

// logSNR is λ = log(a/s).
func (l level) logSNR() float64 { return fmath.Log(l.a / l.s) }

// Steps lists a sampler's steps from noise to image. Timesteps are spaced
// evenly and start at T-1 ("trailing": Lin et al. 2024, table 2). eta is DDIM's
// share of fresh noise: 0 is deterministic, 1 is DDPM; the other kinds need 0.
func Steps(t *Tables, k Kind, steps int, eta float64) ([]Step, error) {
	if steps < 1 || steps > t.Timesteps() {
		return nil, fmt.Errorf("a sampler over %d timesteps can take 1 to %d steps, not %d", t.Timesteps(), t.Timesteps(), steps)
	}
	if !(eta >= 0 && eta <= 1) || (eta != 0 && k != DDIM) {
		return nil, fmt.Errorf("eta must lie in [0, 1], and be 0 for any sampler but ddim, but is %v for %s", eta, k)
	}
	times := make([]int, steps)
	levels := make([]level, steps+1) // the last is the image itself
	for i := range times {
		ahead := float64(i) * (float64(t.Timesteps()) / float64(steps))
		times[i] = int(math.RoundToEven(float64(t.Timesteps())-float64(ahead))) - 1
		levels[i] = levelOf(t.AlphaBar[times[i]])
	}
	levels[steps] = level{1, 0}
	out := make([]Step, steps)
	for i := range out {
		switch k {
		case DDPM:
			out[i] = ddim(levels[i], levels[i+1], 1)
		case DDIM:
			out[i] = ddim(levels[i], levels[i+1], eta)
		case DPM:
			out[i] = dpm(levels, i)
		default:
			return nil, fmt.Errorf("unknown sampler %q: use %s, %s or %s", k, DDPM, DDIM, DPM)
		}
		out[i].Timestep = times[i]
	}
	return out, nil
}

// ddim is the step from one level to the next with ε = (x - a·x0)/s taken from
// the clipped x0. At eta 1 its mean and variance are the posterior's that
// ancestral sampling draws from.
func ddim(from, to level, eta float64) Step {
	fresh := 0.0 // variance of the fresh noise
	if eta > 0 {
		ratio := from.a / to.a
		fresh = float64(eta*eta) * (float64(to.s*to.s) / float64(from.s*from.s)) * (1 - float64(ratio*ratio))
	}
	direction := math.Sqrt(max(float64(to.s*to.s)-float64(fresh), 0)) / from.s
	return Step{
		FromX:     float32(direction),
		FromClean: float32(to.a - float64(direction*from.a)),
		Noise:     float32(math.Sqrt(fresh)),
	}
}

// dpm is step i of DPM-Solver++(2M): first order at both ends.
func dpm(levels []level, i int) Step {
	from, to := levels[i], levels[i+1]
	if to.s == 0 {
		return Step{FromClean: 1}
	}
	fromX := to.s / from.s
	k := to.a - float64(fromX*from.a) // a'·(1 - exp(-h))
	if i == 0 {
		return Step{FromX: float32(fromX), FromClean: float32(k)}
	}
	h := to.logSNR() - from.logSNR()
	before := from.logSNR() - levels[i-1].logSNR()
	half := k * h / (2 * before)
	return Step{FromX: float32(fromX), FromClean: float32(k + half), FromLast: float32(-half)}
}

// Advance takes one step of x in place. clean is the network's estimate of x0,
// already clipped; last the one of the step before; z fresh normal numbers,
// unread when the step has no noise.
func (s Step) Advance(x, clean, last, z []float32) {
	kernel.Combine(x, s.FromX, x, s.FromClean, clean)
	if s.FromLast != 0 {
		kernel.AddScaled(x, s.FromLast, last)
	}
	if s.Noise != 0 {
		kernel.AddScaled(x, s.Noise, z)
	}
}
