// Package plan holds the frozen description of one phase's private mechanism:
// who takes part, how much one example may contribute, how much noise its sum
// gets and how often. Sampler, clip, noise and accountant all read the same
// Mechanism, so that a mismatch between them cannot be built, and the ledger
// stores its digest.
//
// All privacy quantities are integers in grid units. Where the accountant needs
// floating-point numbers, SampleRate rounds up and NoiseMultiplier rounds down,
// so that the accounted mechanism is never more private than the real one.
package plan

import (
	"fmt"
	"math"
	"math/big"
)

// Mechanism couples sampler, clip, noise and accounting of one phase. Every
// released step of the phase is
//
//	round(Σ_{i in sample} v_i + N(0, SigmaInt²)),  v_i ∈ ℤ^Dim, ‖v_i‖₂ ≤ Delta,
//
// an example being in the sample with probability QThreshold/2⁶⁴, independently
// of all others. Make one with New; Validate holds one that came from elsewhere.
type Mechanism struct {
	// Phase names the phase within its run, such as "prototypes-0" or "finetune".
	Phase string
	// QThreshold: an example takes part if and only if its 64-bit coin is below
	// it. Zero if Everyone.
	QThreshold uint64
	// Everyone makes every example take part (sampling rate 1).
	Everyone bool
	// Dim is the number of private coordinates: those of the gradient, then the
	// loss, then the clip indicator, where these two are present. The count
	// coordinate that rides behind them is extra and stripped before the noise.
	Dim int
	// Delta is the bound on the L2 norm of one contribution, side coordinates
	// included, in grid units.
	Delta int64
	// SigmaInt is the standard deviation of the noise, in grid units.
	SigmaInt int64
	// ClipNorm is C, the L2 norm to which gradients are clipped; the grid unit
	// is ClipNorm/GradientDelta. Adaptive clipping begins with it: it is the
	// unit of the grid alone, and neither Delta nor SigmaInt depends on it.
	ClipNorm float64
	// Steps is the number of planned steps, Reserve the number of further
	// charges that are paid for in advance (redone steps after a crash).
	Steps, Reserve int
	// Divisor is the public constant q·N of the declared nominal data set size
	// N: the released mean is the noised sum times MeanScale.
	Divisor float64
	// LossDelta is what one example adds to the loss coordinate at most, in grid
	// units: a loss in [0, LossBound] is mapped to [0, LossDelta]. Both are 0
	// where there is no such coordinate.
	LossDelta int64
	LossBound float64
	// ClipDelta is what an example whose gradient was scaled down adds to the
	// clip indicator, in grid units. 0: there is no such coordinate.
	ClipDelta int64
}

const (
	// TailBits states the batch bound: more than BatchBound examples take part
	// in a step with probability at most 2^-TailBits, if the data set has the
	// nominal size. An overflow would cost utility, never privacy.
	TailBits = 40
	// NoiseTail is how many standard deviations of noise fit into a word beside
	// the largest sum. P(|N(0,1)| > 10) < 2e-23.
	NoiseTail = 10
	// MinUnitsPerCoordinate is the least Delta/√Dim: a coarser grid would lose
	// more than 1/16 of the clipping norm to rounding.
	MinUnitsPerCoordinate = 8
	// SideShare is LossDelta and ClipDelta over GradientDelta as New chooses
	// them: each side coordinate lengthens Delta, and with it the noise, by
	// SideShare²/2 = 0.1 %.
	SideShare = 0.045

	maxWord    = math.MaxInt32
	maxCharges = 1 << 31
	maxDim     = 1 << 30
	maxNominal = 1 << 40
	minClip    = 1e-30
	maxClip    = 1e30
)

// SampleRate returns the realised sampling rate QThreshold/2⁶⁴, rounded up to
// the next float64.
func (m Mechanism) SampleRate() float64 {
	if m.Everyone {
		return 1
	}
	f, _ := new(big.Float).SetPrec(53).SetMode(big.ToPositiveInf).SetUint64(m.QThreshold).Float64()
	return math.Ldexp(f, -64)
}

// NoiseMultiplier returns SigmaInt/Delta, rounded down to a float64.
func (m Mechanism) NoiseMultiplier() float64 {
	s, d := float64(m.SigmaInt), float64(m.Delta) // exact: both are below 2⁵³
	z := s / d
	if math.FMA(z, d, -s) > 0 {
		z = math.Nextafter(z, 0)
	}
	return z
}

// DeltaSq returns Delta², the bound of the exact check Σv² ≤ Δ².
func (m Mechanism) DeltaSq() uint64 { return uint64(m.Delta) * uint64(m.Delta) }

// GradientDim returns the number of coordinates that are the gradient's.
func (m Mechanism) GradientDim() int {
	n := m.Dim
	if m.LossDelta > 0 {
		n--
	}
	if m.ClipDelta > 0 {
		n--
	}
	return n
}

// GradientDelta returns the bound on the L2 norm of the gradient coordinates of
// one contribution: the largest integer Δ_g for which
//
//	Δ_g² + LossDelta² + ClipDelta² ≤ Delta².
func (m Mechanism) GradientDelta() int64 {
	return rootFloor(m.Delta*m.Delta - m.LossDelta*m.LossDelta - m.ClipDelta*m.ClipDelta)
}

// rootFloor returns ⌊√n⌋ for 0 ≤ n < 2⁶², by integers in the end.
func rootFloor(n int64) int64 {
	r := int64(math.Sqrt(float64(n)))
	for r*r > n {
		r--
	}
	for (r+1)*(r+1) <= n {
		r++
	}
	return r
}

// LossCoordinate returns the place of the loss coordinate, which is present
// where LossDelta is not 0.
func (m Mechanism) LossCoordinate() int { return m.GradientDim() }

// ClipCoordinate returns the place of the clip indicator, which is present where
// ClipDelta is not 0.
func (m Mechanism) ClipCoordinate() int { return m.Dim - 1 }

// GridUnit returns the size of one grid unit, ClipNorm/GradientDelta, in the
// units of the gradient.
func (m Mechanism) GridUnit() float64 { return m.ClipNorm / float64(m.GradientDelta()) }

// MeanScale returns the factor that turns a noised sum in grid units into the
// released mean: GridUnit/Divisor.
func (m Mechanism) MeanScale() float64 { return m.GridUnit() / m.Divisor }

// LossScale returns the factor that turns the noised loss coordinate into the
// released mean loss: LossBound/(LossDelta·Divisor).
func (m Mechanism) LossScale() float64 { return m.LossBound / float64(m.LossDelta) / m.Divisor }

// ClipShareScale returns the factor that turns the noised clip indicator into
// the released share of clipped gradients: 1/(ClipDelta·Divisor).
func (m Mechanism) ClipShareScale() float64 { return 1 / float64(m.ClipDelta) / m.Divisor }

// NoiseStd returns the standard deviation of the noise in the released mean,
// SigmaInt·MeanScale, per coordinate.
func (m Mechanism) NoiseStd() float64 { return float64(m.SigmaInt) * m.MeanScale() }

// Charges returns how often the phase may be charged: Steps + Reserve.
func (m Mechanism) Charges() int { return m.Steps + m.Reserve }

// Nominal returns N, the declared nominal data set size: Divisor/q.
func (m Mechanism) Nominal() int64 { return int64(m.nominal()) }

func (m Mechanism) nominal() float64 { return math.Max(1, math.Round(m.Divisor/m.SampleRate())) }

// BatchBound returns a bound on the number of examples in one step, exceeded
// with probability at most 2^-TailBits at the nominal data set size.
//
// It is Bernstein's inequality for Bin(N, q), P(X ≥ Nq+t) ≤
// exp(-t²/(2Nq(1-q) + 2t/3)), solved for t, and never above N. It lies within a
// few per cent of the exact quantile, and needs only operations that IEEE 754
// rounds alike on every machine: replicas agree on it.
func (m Mechanism) BatchBound() int64 {
	q, n := m.SampleRate(), m.nominal()
	if m.Everyone {
		return int64(n)
	}
	const l = TailBits * math.Ln2
	mean := float64(n * q)
	variance := float64(mean * (1 - q))
	root := math.Sqrt(float64(l*l/9) + float64(2*l*variance))
	return int64(math.Min(n, math.Ceil(float64(mean+l/3)+root)))
}

// Validate reports the first thing that makes m impossible or unsafe: a value
// out of range, a grid too coarse for the dimension, or a word too small for
// the largest batch and the noise. It compares only values that every machine
// computes alike.
func (m Mechanism) Validate() error {
	if err := m.validateFields(); err != nil {
		return fmt.Errorf("mechanism of phase %q: %w", m.Phase, err)
	}
	if dim, delta := m.GradientDim(), m.GradientDelta(); delta*delta < MinUnitsPerCoordinate*MinUnitsPerCoordinate*int64(dim) {
		return fmt.Errorf("mechanism of phase %q: the grid is too coarse: Delta is %d, %d coordinates need at least %d·√%d; use a smaller batch or a smaller noise multiplier",
			m.Phase, delta, dim, MinUnitsPerCoordinate, dim)
	}
	// Neither product overflows an int64: BatchBound ≤ 2⁴⁰ only meets a Delta
	// that the division has found small enough.
	batch := m.BatchBound()
	if room := maxWord - NoiseTail*m.SigmaInt; room < 0 || batch > room/m.Delta {
		return fmt.Errorf("mechanism of phase %q: a sum of %d contributions of norm %d and noise of standard deviation %d do not fit 32-bit words; use a smaller Delta",
			m.Phase, batch, m.Delta, m.SigmaInt)
	}
	return nil
}

func (m Mechanism) validateFields() error {
	if err := validatePhase(m.Phase); err != nil {
		return err
	}
	switch {
	case m.Everyone && m.QThreshold != 0:
		return fmt.Errorf("field QThreshold is %d, it must be 0 when everyone takes part", m.QThreshold)
	case !m.Everyone && m.QThreshold == 0:
		return fmt.Errorf("field QThreshold is 0: nobody would ever take part")
	case m.Dim < 1 || m.Dim > maxDim:
		return fmt.Errorf("field Dim is %d, it must lie in [1, %d]", m.Dim, maxDim)
	case m.Delta < 1 || m.Delta > maxWord:
		return fmt.Errorf("field Delta is %d, it must lie in [1, %d]", m.Delta, maxWord)
	case m.SigmaInt < 1 || m.SigmaInt > maxWord:
		return fmt.Errorf("field SigmaInt is %d, it must lie in [1, %d]", m.SigmaInt, maxWord)
	case !(m.ClipNorm >= minClip && m.ClipNorm <= maxClip):
		return fmt.Errorf("field ClipNorm is %v, it must lie in [%g, %g]", m.ClipNorm, minClip, maxClip)
	case m.Steps < 1 || m.Steps > maxCharges:
		return fmt.Errorf("field Steps is %d, it must lie in [1, %d]", m.Steps, maxCharges)
	case m.Reserve < 0 || m.Reserve > maxCharges:
		return fmt.Errorf("field Reserve is %d, it must lie in [0, %d]", m.Reserve, maxCharges)
	case !(m.Divisor > 0) || m.Divisor/m.SampleRate() > maxNominal:
		return fmt.Errorf("field Divisor is %v, it must be positive and stand for at most %d examples", m.Divisor, int64(maxNominal))
	}
	return m.validateSide()
}

// validateSide checks the side coordinates against a Delta that is in range.
func (m Mechanism) validateSide() error {
	for _, side := range []struct {
		name  string
		delta int64
	}{{"LossDelta", m.LossDelta}, {"ClipDelta", m.ClipDelta}} {
		switch {
		case side.delta < 0 || side.delta >= m.Delta:
			return fmt.Errorf("field %s is %d, it must lie in [0, Delta)", side.name, side.delta)
		case side.delta > 0 && side.delta < MinUnitsPerCoordinate:
			return fmt.Errorf("the grid is too coarse: field %s is %d, it must be 0 or at least %d; use a smaller batch or a smaller noise multiplier",
				side.name, side.delta, MinUnitsPerCoordinate)
		}
	}
	switch {
	case m.LossDelta*m.LossDelta+m.ClipDelta*m.ClipDelta >= m.Delta*m.Delta:
		return fmt.Errorf("fields LossDelta %d and ClipDelta %d leave nothing of Delta %d for the gradient", m.LossDelta, m.ClipDelta, m.Delta)
	case m.GradientDim() < 1:
		return fmt.Errorf("field Dim is %d, which leaves no coordinate for the gradient", m.Dim)
	case m.LossDelta == 0 && math.Float64bits(m.LossBound) != 0: // nor a negative zero: one mechanism has one encoding
		return fmt.Errorf("field LossBound is %v, it must be 0 where there is no loss coordinate", m.LossBound)
	case m.LossDelta > 0 && !(m.LossBound >= minClip && m.LossBound <= maxClip):
		return fmt.Errorf("field LossBound is %v, it must lie in [%g, %g]", m.LossBound, minClip, maxClip)
	}
	return nil
}

func validatePhase(name string) error {
	if len(name) < 1 || len(name) > 64 {
		return fmt.Errorf("the phase's name must have 1 to 64 characters")
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("the phase's name holds %q; allowed are a-z, 0-9 and '-'", c)
		}
	}
	return nil
}
