package account

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"gonum.org/v1/gonum/dsp/fourier"
)

// discretization is how much of ε the lattice may cost.
const discretization = 5e-5

// leastError is the error of ε below which no finer lattice is tried.
const leastError = 1e-8

// mostPoints bounds a window: beyond it the lattice becomes coarser, which is
// pessimistic too.
const mostPoints = 1 << 20

// cutOff is the logarithm of the part of δ that goes to each of the losses that
// are not followed: a step's top, and what lies above the window.
var cutOff = math.Log(1e-5)

// mostPasses bounds how often a lattice is refined.
const mostPasses = 8

// negligible is how low a step's losses are followed, in units of the inverse
// tilt: tilted, what lies lower has a mass of e^(-negligible) of its own.
const negligible = 40

// Crosscheck's tolerance: pessimistic ε of both methods may differ by so much in
// the wrong direction where both are near the truth.
const crossRelative, crossAbsolute = 1e-3, 1e-4

// Meter computes the ε of a growing composition, again and again: after every
// step of a training. It keeps the spectra of the steps until they are too few
// points for what was spent, which happens whenever a number of steps doubles.
// Epsilon is the same function as the package's. A Meter is for one goroutine.
type Meter struct {
	delta     float64
	adjacency Adjacency
	tolerance float64
	// directions are those looked at: all of the adjacency's.
	directions []direction
	curves     map[direction]*curvature
}

// curvature is a window with its spectra, and what it was made for.
type curvature struct {
	steps   []step
	window  window
	spectra []spectrum
	fft     *fourier.FFT
}

// NewMeter returns a meter at δ.
func NewMeter(delta float64, a Adjacency) (*Meter, error) {
	if err := validateDelta(delta); err != nil {
		return nil, err
	}
	if a > ReplaceOne {
		return nil, fmt.Errorf("there is no adjacency %d", a)
	}
	return &Meter{delta, a, discretization, a.directions(), map[direction]*curvature{}}, nil
}

// Epsilon returns what Epsilon does.
func (m *Meter) Epsilon(events []Event) (Guarantee, error) {
	c, err := merge(events, m.adjacency)
	if err != nil {
		return Guarantee{}, err
	}
	g := Guarantee{Epsilon: m.epsilon(c), Delta: m.delta, Adjacency: m.adjacency}
	if g.RDPEpsilon, g.RDPOrder, err = RDPEpsilon(events, m.delta, m.adjacency); err != nil {
		return Guarantee{}, err
	}
	return g, g.check()
}

// check compares the two methods. Both are upper bounds; that of privacy loss
// distributions is the lower one unless something is wrong.
func (g Guarantee) check() error {
	if g.Epsilon > g.RDPEpsilon*(1+crossRelative)+crossAbsolute {
		return fmt.Errorf("the accountants contradict each other: ε = %v by privacy loss distributions, %v by Rényi DP at order %v, at δ = %v",
			g.Epsilon, g.RDPEpsilon, g.RDPOrder, g.Delta)
	}
	return nil
}

func (m *Meter) epsilon(c composition) float64 {
	switch {
	case c.unnoised:
		return math.Inf(1)
	case len(c.kinds) == 0:
		return gaussianEpsilon(math.Sqrt(c.mu2)*(1+0x1p-50), m.delta)
	case c.distance(m.adjacency) <= m.delta:
		return 0
	case math.IsInf(c.mu2, 1):
		return c.mu2
	}
	var worst float64
	for _, d := range m.directions {
		worst = math.Max(worst, m.along(d, c))
	}
	return worst
}

// along returns ε in one direction.
func (m *Meter) along(d direction, c composition) float64 {
	var exact, rounded []step
	for i, k := range c.kinds {
		p := pair{d, k.q, k.sigma}
		exact = append(exact, step{p, float64(c.counts[i])})
		rounded = append(rounded, step{p, float64(uint64(1) << bits.Len64(uint64(c.counts[i])-1))})
	}
	if c.mu2 > 0 { // one Gaussian mechanism, whatever the direction
		all := step{pair{removing, 1, 1 / math.Sqrt(c.mu2) * (1 - 0x1p-50)}, 1}
		exact, rounded = append(exact, all), append(rounded, all)
	}
	curve := m.curves[d]
	if curve == nil || !slices.Equal(curve.steps, rounded) {
		curve = newCurvature(rounded, m.delta, m.tolerance)
		m.curves[d] = curve
	}
	found := curve.solve(exact, m.delta)
	if found.exhausted {
		found = newCurvature(exact, m.delta, m.tolerance).solve(exact, m.delta)
	}
	return found.epsilon
}

func (c *curvature) solve(steps []step, delta float64) answer {
	counts := make([]float64, len(steps))
	for i, s := range steps {
		counts[i] = s.count
	}
	return c.window.solve(c.fft, c.spectra, counts, delta)
}

// newCurvature chooses a spacing and a window, and computes the spectra.
//
// Spreading each of n losses over a cell adds spacing²/6 to its variance and half
// of that to its mean; in terms of ε, with the slope of log δ there,
//
//	n·(slope+1)·spacing²/12.
//
// A first, coarse lattice tells ε and slope, the next ones are as fine as they ask
// and tilted to ε.
func newCurvature(steps []step, delta, tolerance float64) *curvature {
	logDelta := math.Log(delta)
	var n float64
	logMass := make([]float64, len(steps))
	for i, s := range steps {
		n += s.count
		logMass[i] = logDelta + cutOff - math.Log(s.count*float64(len(steps)))
	}
	m := newMoments(steps, logMass)
	logPart := logDelta + cutOff
	top, tail := m.chernoff(logPart)
	lowest := m.below(logPart)
	// To begin with, a tilt that the tails do not dominate yet.
	mean := m.mean()
	best := bisect(leastExponent, mostExponent, func(s float64) bool { return m.cumulant(s)-s*mean > 4 })
	last, spacing, bottom := answer{slope: math.Max(best, tail), norm: 1}, 0.0, 0.0
	estimate, _ := m.chernoff(logDelta)
	target := math.Max(tolerance, 1e-3) * estimate
	for pass := 1; ; pass++ {
		before := spacing
		spacing = math.Sqrt(12 * target / (n * (last.slope + 1)))
		norm := last.norm
		if before > 0 {
			norm *= math.Sqrt(spacing / before) // as a density's
		}
		// Spreading lowers the loss of a composition too, by Hoeffding's inequality
		// no further than this.
		spread := spacing * math.Sqrt(-logPart*n/2)
		tilt, width := m.tilting(best, last.epsilon, lowest-spread, top, logPart, func(tilt float64) bool {
			charge := (n*norm + 1) * window{spacing: spacing, tilt: tilt, size: mostPoints}.roundoff()
			if last.epsilon == 0 {
				return m.cumulant(tilt)-tilt*mean+math.Log(charge) < logDelta+math.Log(0.1)
			}
			return m.cumulant(tilt)-tilt*last.epsilon+math.Log(charge) < logDelta+math.Log(target*last.slope/4)
		})
		width = math.Max(width, top-bottom)
		size := 1 << 8
		for size < mostPoints && float64(size-4)*spacing < width {
			size *= 2
		}
		spacing = width / float64(size-4)
		c := &curvature{steps, window{spacing, tilt, size, int(math.Ceil(top / spacing)), tail}, nil, fourier.NewFFT(size)}
		for i, s := range steps {
			c.spectra = append(c.spectra, c.window.transform(c.fft, s.discretize(spacing, logMass[i], -negligible/tilt)))
		}
		found := c.solve(steps, delta)
		switch enough := n*(found.slope+1)*spacing*spacing/12 <= 1.1*math.Max(leastError, tolerance*found.epsilon); {
		case found.epsilon == 0 || size == mostPoints || pass == mostPasses:
			return c
		case math.IsInf(found.epsilon, 1): // so coarse that the charges exceed δ
			target /= 16
			continue
		case enough && last.epsilon > 0 && !found.exhausted:
			return c
		}
		target = math.Max(leastError, tolerance*found.epsilon)
		_, best = minimize(leastExponent, mostExponent, func(s float64) float64 { return m.cumulant(s) - s*found.epsilon })
		if last = found; last.exhausted {
			last.epsilon = 0
		}
		bottom = 0.4 * last.epsilon
	}
}
