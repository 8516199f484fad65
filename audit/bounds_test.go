package audit

import (
	"math"
	"math/big"
	"testing"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// naiveTail is P(Bin(n, p) ≥ k) in big numbers, term by term.
func naiveTail(n, k int, p float64) float64 {
	up := new(big.Float).SetPrec(300).SetFloat64(p)
	down := new(big.Float).SetPrec(300).Sub(big.NewFloat(1), up)
	sum := new(big.Float).SetPrec(300)
	for i := max(k, 0); i <= n; i++ {
		term := new(big.Float).SetPrec(300).SetInt(new(big.Int).Binomial(int64(n), int64(i)))
		for range i {
			term.Mul(term, up)
		}
		for range n - i {
			term.Mul(term, down)
		}
		sum.Add(sum, term)
	}
	f, _ := sum.Float64()
	return f
}

// Against big numbers for small n and the incomplete beta function for larger
// ones. A tail that starts one term late fails.
func TestBinomialTail(t *testing.T) {
	for _, n := range []int{1, 2, 7, 40} {
		for _, p := range []float64{1e-6, 0.1, 0.5, 0.7310585786300049, 0.999} {
			for k := -1; k <= n+1; k++ {
				got, want := binomialTail(n, k, p), naiveTail(n, k, p)
				if math.Abs(got-want) > 1e-12*want {
					t.Errorf("P(Bin(%d, %v) ≥ %d) is %v, want %v", n, p, k, got, want)
				}
			}
		}
	}
	for _, c := range []struct {
		n, k int
		p    float64
	}{{1000, 520, 0.5}, {1000, 480, 0.5}, {100_000, 150, 0.001}, {100_000, 50, 0.001}, {20_000, 19_000, 0.94}} {
		got, want := binomialTail(c.n, c.k, c.p), mathext.RegIncBeta(float64(c.k), float64(c.n-c.k+1), c.p)
		if math.Abs(got-want) > 1e-8*want {
			t.Errorf("P(Bin(%d, %v) ≥ %d) is %v, want %v", c.n, c.p, c.k, got, want)
		}
	}
}

// The limits of Clopper and Pearson err with at most the stated probability,
// found by adding up the outcomes at which they do; and not with much less,
// where the number of outcomes lets them.
func TestClopperPearson(t *testing.T) {
	const n, alarm = 400, 0.01
	for p := 0.05; p < 0.99; p += 0.05 {
		var low, high float64
		for k := 0; k <= n; k++ {
			if atLeast(n, k, alarm) > p {
				low += binomialTerm(n, k, p)
			}
			if atMost(n, k, alarm) < p {
				high += binomialTerm(n, k, p)
			}
		}
		if low > alarm || high > alarm || low < alarm/3 || high < alarm/3 {
			t.Errorf("p = %v: the lower limit errs with %v, the upper one with %v, stated is %v", p, low, high, alarm)
		}
	}
	if atLeast(n, 0, alarm) > 1e-15 || atMost(n, n, alarm) < 1-1e-15 {
		t.Error("nothing seen is not enough to say something")
	}
}

// The bound of a test is that of its definition, and 0 where δ alone explains it.
func TestTwoWorldBound(t *testing.T) {
	got := twoWorldBound(1000, 700, 1200, 60, 0.01, 1e-4)
	// scipy: log((beta.ppf(5e-5, 700, 301) - 0.01)/beta.ppf(1-5e-5, 61, 1140))
	if want := math.Log((atLeast(1000, 700, 5e-5) - 0.01) / atMost(1200, 60, 5e-5)); got != want || got < 2 || got > math.Log(0.69/0.05) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := twoWorldBound(1000, 100, 1000, 0, 0.2, 1e-4); got != 0 {
		t.Errorf("δ explains all, but the bound is %v", got)
	}
	if got := twoWorldBound(1000, 100, 1000, 100, 0, 1e-4); got != 0 {
		t.Errorf("the worlds look alike, but the bound is %v", got)
	}
}

// The variance's interval against the exact distribution of χ²: it is left with
// at most the stated probability. It is no wider than it must be by a third, so
// that factors of 2/3 and 3/2 of σ lie far outside.
func TestVarianceBounds(t *testing.T) {
	for _, n := range []int{100, 5000, 200_000} {
		const alarm = 1e-9
		lo, hi := varianceBounds(n, 0, alarm)
		size := float64(n)
		if n <= 5000 { // where the incomplete gamma function is known to be right
			out := mathext.GammaIncReg(size/2, lo*size/2) + mathext.GammaIncRegComp(size/2, hi*size/2)
			if out > alarm {
				t.Errorf("%d values: left with probability %v", n, out)
			}
		}
		wide := 1 + 6.2*math.Sqrt(2/size) // of a normal approximation, at the same rate
		if hi-1 > 1.7*(wide-1) && n > 100 {
			t.Errorf("%d values: up to %v, %v would do", n, hi, wide)
		}
	}
	lo, hi := varianceBounds(1000, 0.1, 1e-9)
	if l, h := varianceBounds(1000, 0, 1e-9); !(lo < l && h < hi) {
		t.Error("rounding does not widen the interval")
	}
}

func TestEqualBound(t *testing.T) {
	for _, c := range []struct {
		n     int
		sigma float64
	}{{200_000, 3e7}, {20_000, 100}} {
		k := equalBound(c.n, c.sigma, 1e-9)
		mean := float64(c.n) / (c.sigma * math.Sqrt(2*math.Pi))
		poisson := distuv.Poisson{Lambda: mean}
		if over := poisson.Survival(float64(k)); over > 1.1e-9 {
			t.Errorf("more than %d equal values have probability %v", k, over)
		}
		if over := poisson.Survival(float64(k - 1)); over < 0.5e-9 {
			t.Errorf("%d would do", k-1)
		}
	}
}

// ε of the Gaussian mechanism against values of scipy: brentq on
// norm.cdf(mu/2-e/mu) - exp(e)*norm.cdf(-mu/2-e/mu).
func TestGaussianEpsilon(t *testing.T) {
	for _, c := range []struct{ mu, delta, want float64 }{{1, 0.05, 1.5690}, {1.5, 0.2, 1.6246}, {1, 1e-3, 3.1390}, {2, 0.3, 2.1930}} {
		if got := gaussianEpsilon(c.mu, c.delta); math.Abs(got-c.want) > 6e-4 {
			t.Errorf("mu %v, δ %v: ε %v, want %v", c.mu, c.delta, got, c.want)
		}
	}
}

// gaussianEpsilon returns ε at δ of N(0, 1) against N(mu, 1) (Balle, Wang 2018,
// arXiv 1805.06530, Theorem 8): the accountant's twin for everyone's steps.
func gaussianEpsilon(mu, delta float64) float64 {
	return bisect(0, 1000, func(e float64) bool {
		n := distuv.UnitNormal
		return n.CDF(mu/2-e/mu)-math.Exp(e)*n.CDF(-mu/2-e/mu) > delta
	})
}
