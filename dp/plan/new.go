package plan

import (
	"fmt"
	"math"
)

// Spec says in real numbers what a phase should be; New puts it on the grid.
type Spec struct {
	Phase           string
	SampleRate      float64 // q in (0, 1]; 1 means that everyone takes part
	Nominal         int     // N, the declared public data set size
	NoiseMultiplier float64 // z: the noise's standard deviation is at least z·Δ
	ClipNorm        float64 // C, in the units of the gradient
	Dim             int     // coordinates of the gradient; New adds the side coordinates
	Steps, Reserve  int     // planned steps, and further charges paid in advance
	LossBound       float64 // L, the largest loss that the loss coordinate tells; 0: no such coordinate
	ClipShare       bool    // with a clip indicator
}

// New returns the Mechanism of s with the finest grid that 32-bit words allow.
// The realised sampling rate is at most s.SampleRate (by less than 2^-64) and
// the realised noise multiplier at least s.NoiseMultiplier.
func New(s Spec) (Mechanism, error) {
	switch {
	case !(s.SampleRate > 0 && s.SampleRate <= 1):
		return Mechanism{}, fmt.Errorf("phase %q: the sampling rate is %v, it must lie in (0, 1]", s.Phase, s.SampleRate)
	case s.Nominal < 1 || s.Nominal > maxNominal:
		return Mechanism{}, fmt.Errorf("phase %q: the nominal data set size is %d, it must lie in [1, %d]", s.Phase, s.Nominal, int64(maxNominal))
	case !(s.NoiseMultiplier > 0 && s.NoiseMultiplier <= maxWord):
		return Mechanism{}, fmt.Errorf("phase %q: the noise multiplier is %v, it must lie in (0, %d]", s.Phase, s.NoiseMultiplier, maxWord)
	}
	m := Mechanism{
		Phase:    s.Phase,
		Everyone: s.SampleRate == 1,
		Dim:      s.Dim,
		ClipNorm: s.ClipNorm,
		Steps:    s.Steps,
		Reserve:  s.Reserve,
		Divisor:  s.SampleRate * float64(s.Nominal),
	}
	if !m.Everyone {
		m.QThreshold = uint64(math.Ldexp(s.SampleRate, 64)) // exact, then rounded down
		if m.QThreshold == 0 {
			return Mechanism{}, fmt.Errorf("phase %q: the sampling rate %v is below 2^-64", s.Phase, s.SampleRate)
		}
	}
	m.Delta, m.SigmaInt = finestGrid(m.BatchBound(), s.NoiseMultiplier)
	m.addSide(s)
	if err := m.Validate(); err != nil {
		return Mechanism{}, err
	}
	return m, nil
}

// addSide gives each side coordinate of s SideShare of what is left of Delta for
// the gradient.
func (m *Mechanism) addSide(s Spec) {
	n := 0.0
	if s.LossBound != 0 {
		n++
	}
	if s.ClipShare {
		n++
	}
	// Δ² = Δ_g² (1 + n·SideShare²). One unit at least, so that a coordinate
	// that the grid is too coarse for is refused and not forgotten.
	side := int64(math.Round(float64(m.Delta) * SideShare / math.Sqrt(1+float64(n*SideShare*SideShare))))
	side = max(1, side)
	if s.LossBound != 0 {
		m.LossDelta, m.LossBound = side, s.LossBound
		m.Dim++
	}
	if s.ClipShare {
		m.ClipDelta = side
		m.Dim++
	}
}

// DefaultReserve returns the charges set aside for redone steps: half a per
// cent of the planned ones, at least three.
func DefaultReserve(steps int) int { return max(3, (steps+199)/200) }

// finestGrid returns the largest Δ, with the least σ ≥ z·Δ, for which
// batch·Δ + NoiseTail·σ fits a word.
func finestGrid(batch int64, z float64) (delta, sigma int64) {
	delta = int64(maxWord/(float64(batch)+float64(NoiseTail*z))) + 1 // the quotient may have been rounded down
	for ; delta > 1; delta-- {
		sigma = ceilProduct(z, delta)
		if batch*delta+NoiseTail*sigma <= maxWord {
			return delta, sigma
		}
	}
	return 1, ceilProduct(z, 1) // if it does not fit, Validate says so
}

// ceilProduct returns ⌈z·delta⌉ of the exact product.
func ceilProduct(z float64, delta int64) int64 {
	d := float64(delta)
	s := math.Ceil(z * d)
	if math.FMA(z, d, -s) > 0 {
		s++
	}
	if math.FMA(z, d, -(s-1)) <= 0 {
		s--
	}
	return int64(s)
}
