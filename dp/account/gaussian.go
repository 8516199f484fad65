package account

import "math"

// logTail returns log(1 - Φ(z)).
func logTail(z float64) float64 {
	if z < 10 {
		return math.Log(0.5 * math.Erfc(z/math.Sqrt2))
	}
	// Mills' ratio by its continued fraction.
	ratio := z
	for k := 60.0; k > 0; k-- {
		ratio = z + k/ratio
	}
	return -z*z/2 - 0.5*math.Log(2*math.Pi) - math.Log(ratio)
}

// gaussianEpsilon returns the least ε of the Gaussian mechanism whose means lie
// mu standard deviations apart, at δ, rounded up: Balle, Wang 2018 (arXiv
// 1805.06530), Theorem 8,
//
//	δ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ).
//
// Compositions are of this kind too, with μ² = Σ μᵢ².
func gaussianEpsilon(mu, delta float64) float64 {
	fits := func(epsilon float64) bool {
		with, without := logTail(epsilon/mu-mu/2), logTail(epsilon/mu+mu/2)
		difference := -math.Expm1(math.Min(0, epsilon+without-with))
		rounding := 0x1p-48 * (1 + math.Abs(with) + epsilon)
		return with+math.Log(difference+rounding) <= math.Log(delta)
	}
	switch {
	case mu == 0 || fits(0):
		return 0
	case math.IsInf(mu*mu, 1):
		return math.Inf(1)
	}
	hi := mu*mu/2 + mu
	for !fits(hi) {
		if hi *= 2; math.IsInf(hi, 1) {
			return hi
		}
	}
	return bisect(0, hi, fits)
}
