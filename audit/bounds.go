package audit

import (
	"math"

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

// binomialTail returns P(Bin(n, p) ≥ k), summed from k away from the mean: every
// term is positive and smaller than the one before.
func binomialTail(n, k int, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	case float64(k) <= float64(n)*p:
		return 1 - binomialTail(n, n-k+1, 1-p)
	}
	term := binomialTerm(n, k, p)
	sum, odds := 0.0, p/(1-p)
	for i := k; i <= n && term > sum*1e-17; i++ {
		sum += term
		term *= float64(n-i) / float64(i+1) * odds
	}
	return math.Min(1, sum)
}

// binomialTerm returns P(Bin(n, p) = k) for p in (0, 1).
func binomialTerm(n, k int, p float64) float64 {
	return math.Exp(logGamma(n+1) - logGamma(k+1) - logGamma(n-k+1) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}

func logGamma(x int) float64 {
	l, _ := math.Lgamma(float64(x))
	return l
}

// atLeast returns the lower limit of Clopper and Pearson 1934: after k successes
// in n trials the probability of success is above it, but for a false-alarm rate
// of at most alarm.
func atLeast(n, k int, alarm float64) float64 {
	return bisect(0, 1, func(p float64) bool { return binomialTail(n, k, p) <= alarm })
}

// atMost returns the upper limit of Clopper and Pearson.
func atMost(n, k int, alarm float64) float64 { return 1 - atLeast(n, n-k, alarm) }

// bisect returns the largest x in [lo, hi] found to be low: low(lo) is taken to
// be true, and low to turn from true to false once.
func bisect(lo, hi float64, low func(x float64) bool) float64 {
	for range 60 {
		if mid := (lo + hi) / 2; low(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// twoWorldBound returns a lower bound on ε at δ from a test of one mechanism:
// it said "with" in hits of the trials with the canary and in misses of the
// trials without. (ε, δ) demands P(with | with) ≤ exp(ε)·P(with | without) + δ;
// the bound exceeds the mechanism's ε with probability at most alarm.
func twoWorldBound(with, hits, without, misses int, delta, alarm float64) float64 {
	hit, miss := atLeast(with, hits, alarm/2), atMost(without, misses, alarm/2)
	if hit <= delta {
		return 0
	}
	return math.Max(0, math.Log((hit-delta)/miss))
}

// oneRunP bounds the probability that at least correct of guesses are right, of
// the fair coins of n examples in one run of an (ε, δ) mechanism: Steinke, Nasr,
// Jagielski 2023 (arXiv 2305.08846), Theorem 5.2. A mechanism with δ = 0 is no
// better than guesses that are right with probability exp(ε)/(1+exp(ε))
// independently; δ adds to that
//
//	2nδ · max_{i ≤ correct} P(correct > Bin ≥ correct − i)/i.
func oneRunP(n, guesses, correct int, epsilon, delta float64) float64 {
	right := 1 / (1 + math.Exp(-epsilon))
	below, most := 0.0, 0.0
	for i := 1; i <= correct; i++ {
		below += binomialTerm(guesses, correct-i, right)
		most = math.Max(most, below/float64(i))
	}
	return math.Min(1, binomialTail(guesses, correct, right)+2*float64(n)*delta*most)
}

// oneRunBound returns the lower bound on ε at δ that exceeds a mechanism's ε with
// probability at most alarm.
func oneRunBound(n, guesses, correct int, delta, alarm float64) float64 {
	const largest = 30 // above it binomialTerm would lose the chance of a wrong guess
	return bisect(0, largest, func(epsilon float64) bool { return oneRunP(n, guesses, correct, epsilon, delta) <= alarm })
}
