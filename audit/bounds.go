package audit

import (
	"math"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// varianceBounds returns the interval that the mean square of n independent
// values round(N(0, σ²))/σ leaves with probability at most alarm; rounding is
// what rounding moves a value by at most, in units of σ.
//
// For X ~ χ²_n, P(X ≥ n + 2√(nx) + 2x) and P(X ≤ n − 2√(nx)) are at most
// exp(−x) (Laurent, Massart 2000, Lemma 1); rounding moves the norm by at most
// √n·rounding.
func varianceBounds(n int, rounding, alarm float64) (lo, hi float64) {
	size, x := float64(n), math.Log(2/alarm)
	spread := 2 * math.Sqrt(x/size)
	lo = math.Max(0, math.Sqrt(math.Max(0, 1-spread))-rounding)
	hi = math.Sqrt(1+spread+2*x/size) + rounding
	return lo * lo, hi * hi
}

// normalBound returns what |N(0, 1)| exceeds with probability alarm.
func normalBound(alarm float64) float64 { return -distuv.UnitNormal.Quantile(alarm / 2) }

// equalBound returns a number that the count of equal values among n pairs of
// independent round(N(0, σ²)) exceeds with probability at most alarm. A pair is
// equal with probability at most 1/(σ√(2π)), the largest probability of any
// value.
func equalBound(n int, sigma, alarm float64) int {
	p := 1 / (sigma * math.Sqrt(2*math.Pi))
	for k := range n {
		if binomialTail(n, k+1, p) <= alarm {
			return k
		}
	}
	return n
}

// binomialTail returns P(Bin(n, p) ≥ k) = I_p(k, n−k+1).
func binomialTail(n, k int, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n:
		return 0
	}
	return mathext.RegIncBeta(float64(k), float64(n-k+1), p)
}
