package account

import (
	"math"

	"gonum.org/v1/gonum/dsp/fourier"
)

// step is one kind of step and how many there are.
type step struct {
	pair
	count float64
}

// window is the part of the composed lattice that is computed: size points, a
// power of two, the last one at index last. Their masses are computed tilted, by
// e^(tilt·loss), which moves the bulk of the composed losses to where ε is looked
// for: rounding errors are then small beside δ, not beside one.
type window struct {
	spacing, tilt float64
	size, last    int
	tail          float64 // exponent of the Chernoff bound on what lies above
}

// spectrum is the discrete Fourier transform of one step's tilted lattice, kept
// as logarithms so that any number of steps is a product.
type spectrum struct {
	logAbs, arg   []float64
	logMoment     float64 // log E[e^(tilt·loss)]
	tailMoment    float64 // the same at the window's tail exponent
	logInfinite   float64
	norm          float64 // Euclidean norm of the tilted masses
	relativeError float64
}

// transform computes the spectrum. Losses outside the window wrap around it.
func (w window) transform(fft *fourier.FFT, l lattice) spectrum {
	s := spectrum{
		logMoment: l.logMoment(w.tilt), tailMoment: l.logMoment(w.tail), logInfinite: l.logInfinite,
		relativeError: l.relativeError(),
	}
	tilted := make([]float64, w.size)
	for i, m := range l.mass {
		if m > 0 {
			tilted[(l.first+i)&(w.size-1)] += m * math.Exp(w.tilt*l.loss(i)-s.logMoment)
		}
	}
	s.norm = norm(tilted)
	// The logarithm and the exponential of a tilted mass.
	s.relativeError += 0x1p-50 * (1 + math.Abs(s.logMoment) + w.tilt*l.spacing*float64(max(-l.first, l.first+len(l.mass))))
	coefficients := fft.Coefficients(nil, tilted)
	s.logAbs, s.arg = make([]float64, len(coefficients)), make([]float64, len(coefficients))
	for i, c := range coefficients {
		s.logAbs[i] = 0.5 * math.Log(real(c)*real(c)+imag(c)*imag(c))
		s.arg[i] = math.Atan2(imag(c), real(c))
	}
	return s
}

// invisible is the logarithm of an amplitude that is left out of the product. All
// that are left out are covered by the charge for rounding.
const invisible = -50

// compose returns the tilted masses of the composition, by lattice index modulo
// the window's size.
func (w window) compose(fft *fourier.FFT, spectra []spectrum, counts []float64) []float64 {
	coefficients := make([]complex128, w.size/2+1)
	for i := range coefficients {
		var logAbs, arg float64
		for j, s := range spectra {
			if counts[j] > 0 {
				logAbs += counts[j] * s.logAbs[i]
				arg += counts[j] * s.arg[i]
			}
		}
		if logAbs > invisible {
			abs := math.Exp(logAbs) / float64(w.size)
			sin, cos := math.Sincos(arg)
			coefficients[i] = complex(abs*cos, abs*sin)
		}
	}
	return fft.Sequence(nil, coefficients)
}

// answer is what a window says.
type answer struct {
	epsilon float64
	slope   float64 // -d(log δ)/dε there
	norm    float64 // Euclidean norm of the composition's tilted masses
	// exhausted says that ε may be lower still, but not inside the window.
	exhausted bool
}

// solve returns the least ε at which the composition of counts steps is (ε, δ)
// in this direction. It is exact for the lattices up to what is charged to δ, all
// of it upwards:
//
//   - what the lattices put at infinity;
//   - what lies above the window, by Chernoff's bound. It wraps around to below,
//     where it is not trusted. What lies below the window wraps around to above
//     and is counted there as if it were larger;
//   - the rounding errors of masses, transforms and sums.
func (w window) solve(fft *fourier.FFT, spectra []spectrum, counts []float64, delta float64) answer {
	var cumulant, above, relative, n, norms float64
	left := delta
	for i, s := range spectra {
		cumulant += counts[i] * s.logMoment
		above += counts[i] * s.tailMoment
		left -= counts[i] * math.Exp(s.logInfinite)
		relative += counts[i] * s.relativeError
		n += counts[i]
		norms += s.norm
	}
	left -= math.Exp(above - w.tail*float64(w.last+1)*w.spacing)
	if !(left > 0) {
		return answer{epsilon: math.Inf(1)}
	}
	decay, decayLess := math.Exp(-w.tilt*w.spacing), math.Exp(-(w.tilt+1)*w.spacing)
	relative += 0x1p-50 / -math.Expm1(-w.tilt*w.spacing) // the recursion below
	scale := math.Log(left) - math.Log1p(relative) - cumulant
	masses := w.compose(fft, spectra, counts)
	found := answer{norm: norm(masses)}
	absolute := w.roundoff() * ((n+1)*found.norm + norms)
	// With weights relative to e^(tilt·loss) at the current point a, over the
	// points l from there on:
	var excess float64 // Σ mass·e^(-tilt(l-a))·(1-e^(a-l)): δ(a)
	var other float64  // Σ mass·e^(-(tilt+1)(l-a))
	width := -math.Expm1(-w.spacing)
	for i := w.last; i > w.last-w.size; i-- {
		nextExcess := decay * (excess + width*other)
		nextOther := masses[i&(w.size-1)] + decayLess*other
		a := float64(i) * w.spacing
		if limit := math.Exp(scale + w.tilt*a); nextExcess+absolute > limit {
			// ε is in the cell above a, where δ is linear in e^ε.
			if i == w.last {
				return answer{epsilon: math.Inf(1)}
			}
			top := a + w.spacing
			room := math.Exp(scale+w.tilt*top) - absolute - excess
			epsilon := top + math.Log1p(-math.Max(0, math.Min(width, room/other)))
			found.epsilon, found.slope = math.Max(0, epsilon)*(1+0x1p-50), (other-room)/(excess+room)
			return found
		}
		excess, other = nextExcess, nextOther
		if i <= 0 {
			return found
		}
	}
	found.epsilon, found.slope, found.exhausted = float64(w.last-w.size+1)*w.spacing, other/excess, true
	return found
}

// roundoff bounds the error of δ by rounding in and between the transforms, in
// units of
//
//	(steps+1)·|composed masses| + Σ over kinds |one step's masses|   (Euclidean norms).
//
// With e = 20·log2(size) units in the last place, and room for twiddle factors,
// a transform errs in each coefficient by at most e times the input's sum, which
// is one, and in norm by e times the input's norm (Higham 2002, Theorem 24.2). A
// power of n multiplies a coefficient's error by n and by the coefficient to the
// power n-1: that is at most 2n·e of the result where the coefficient is above a
// half, and less than the error itself where it is not. Logarithm and exponential
// err by n times some units of the result. The sum for δ has the weights
// (x+spacing)·e^(-tilt·x) at most, x the distance above ε: Cauchy and Schwarz.
func (w window) roundoff() float64 {
	r := math.Exp(-2 * w.tilt * w.spacing)
	gap := -math.Expm1(-2 * w.tilt * w.spacing)
	weights := math.Min(1/gap, w.spacing*w.spacing*(1+r)/(gap*gap*gap))
	e := 0x1p-53 * 20 * math.Log2(float64(w.size))
	return (2*e + 0x1p-47) * math.Sqrt(weights)
}

// norm returns the Euclidean norm.
func norm(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}
