package account

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// reference is dp_accounting's default set of orders.
func reference() []float64 {
	return slices.DeleteFunc(slices.Clone(orders), func(a float64) bool {
		return a > 63 && a != 128 && a != 256 && a != 512 && a != 1024
	})
}

// One step's divergence equals a 40-digit computation, from above.
func TestDivergence(t *testing.T) {
	for _, row := range rows(t, "divergence.csv") {
		q, sigma, order := number(t, row, "q"), number(t, row, "sigma"), number(t, row, "order")
		got, want := rdp(q, sigma, order, AddRemove), number(t, row, "divergence")
		if got < want || got > want*(1+3*inflation) {
			t.Errorf("q=%v σ=%v α=%v: %v, want %v (relative %.2g)", q, sigma, order, got, want, got/want-1)
		}
	}
}

// The closed form for integer orders and the integral for all are each other's
// twins where both apply.
func TestIntegralEqualsClosedForm(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q := math.Exp(-rapid.Float64Range(0.001, 20).Draw(rt, "-log q"))
		sigma := math.Exp(rapid.Float64Range(math.Log(weakNoise), 4).Draw(rt, "log σ"))
		order := rapid.IntRange(2, 12).Draw(rt, "α")
		closed, integral := logExcessInteger(q, sigma, order), logExcessIntegral(q, sigma, float64(order))
		if math.Abs(closed-integral) > inflation/2*math.Max(1, math.Abs(closed)) {
			rt.Fatalf("q=%v σ=%v α=%d: closed form %v, integral %v", q, sigma, order, closed, integral)
		}
	})
}

// log A_α is convex in α and zero at α = 1, and the divergence never decreases
// in α or q, nor increases in σ: a wrong order would stick out.
func TestDivergenceIsOrdered(t *testing.T) {
	const slack = 1 + 3*inflation
	rapid.Check(t, func(rt *rapid.T) {
		q := rapid.Float64Range(1e-6, 1).Draw(rt, "q")
		sigma := rapid.Float64Range(0.3, 20).Draw(rt, "σ")
		set := orders[:110]
		divergence := make([]float64, len(set))
		for i, a := range set {
			divergence[i] = rdp(q, sigma, a, AddRemove)
		}
		for i := 1; i+1 < len(set); i++ {
			a, b, c := set[i-1], set[i], set[i+1]
			da, db, dc := divergence[i-1], divergence[i], divergence[i+1]
			if db*slack < da {
				rt.Fatalf("divergence %v at order %v, %v at %v", da, a, db, b)
			}
			if chord := ((c-b)*(a-1)*da + (b-a)*(c-1)*dc) / (c - a); (b-1)*db > chord*slack {
				rt.Fatalf("log A is not convex at order %v: %v above %v", b, (b-1)*db, chord)
			}
		}
		a := set[rapid.IntRange(0, len(set)-1).Draw(rt, "order")]
		if rdp(q, sigma*1.01, a, AddRemove) > rdp(q, sigma, a, AddRemove)*slack || rdp(q*0.99, sigma, a, AddRemove) > rdp(q, sigma, a, AddRemove)*slack {
			rt.Fatalf("more noise or less sampling costs more at order %v", a)
		}
	})
}

// looseDivergence is dp_accounting's: at fractional orders it sums the series of
// Mironov, Talwar, Zhang 2019, Section 3.3, with the absolute values of its
// binomial coefficients, which alternate in sign beyond the order. That is sound,
// and in the table up to 1.6 % of ε too much.
func looseDivergence(q, sigma, order float64) float64 {
	if q == 1 || order == math.Trunc(order) {
		return rdp(q, sigma, order, AddRemove)
	}
	z0 := sigma*sigma*math.Log(1/q-1) + 0.5
	lgamma := func(x float64) float64 { y, _ := math.Lgamma(x); return y }
	logErfc := func(x float64) float64 {
		if x < 20 {
			return math.Log(math.Erfc(x))
		}
		return -x*x - math.Log(x*math.Sqrt(math.Pi)) + math.Log1p(-0.5/(x*x)+0.75/(x*x*x*x))
	}
	sum := math.Inf(-1)
	for i := 0.0; i < 300; i++ {
		j := order - i
		binomial := lgamma(order+1) - lgamma(i+1) - lgamma(j+1)
		for _, half := range [2][2]float64{{i, i - z0}, {j, z0 - j}} {
			k := half[0]
			sum = logAdd(sum, binomial+k*math.Log(q)+(order-k)*math.Log1p(-q)+
				(k*k-k)/(2*sigma*sigma)+logErfc(half[1]/(math.Sqrt2*sigma))-math.Ln2)
		}
	}
	return sum / (order - 1)
}

// With looseDivergence our composition and conversion give dp_accounting's ε.
// With the exact divergence and our orders ε is never higher than that, and never
// below the truth.
func TestRDPEpsilonOfReferenceTable(t *testing.T) {
	for _, row := range rows(t, "epsilon.csv") {
		if row["kind"] == "replace_one" {
			continue
		}
		events, delta := phases(t, row["phases_q:sigma:T"]), number(t, row, "delta")
		want := number(t, row, "rdp_eps")
		loose := make(curve, len(reference()))
		for _, e := range events {
			for i, a := range reference() {
				loose[i] += float64(e.Steps) * looseDivergence(e.SampleRate, e.NoiseMultiplier, a)
			}
		}
		if got, _ := convert(reference(), loose, delta); math.Abs(got-want) > 1e-7*want {
			t.Errorf("%s: ε = %v with the reference's orders and divergence, want %v", row["id"], got, want)
		}
		full, order, err := RDPEpsilon(events, delta, AddRemove)
		if err != nil {
			t.Fatal(err)
		}
		if full > want*(1+1e-8) {
			t.Errorf("%s: ε = %v, the reference proves %v", row["id"], full, want)
		}
		if floor := number(t, row, "truth_eps") - number(t, row, "truth_unc"); full < floor {
			t.Errorf("%s: ε = %v (order %v) is below the truth %v", row["id"], full, order, floor)
		}
	}
}

// replacingTwin is the divergence of the pair for replacing an example, by a
// plain Riemann sum over the densities.
func replacingTwin(q, sigma, order float64) float64 {
	const n = 100_000
	p := pair{replacing, q, sigma}
	lo, hi := -15*sigma-1, 2*order+15*sigma
	terms := make([]float64, n)
	for i := range terms {
		y := lo + (hi-lo)*(float64(i)+0.5)/n
		terms[i] = -y*y/(2*sigma*sigma) + logMixture(q, (2*y-1)/(2*sigma*sigma)) + (order-1)*p.loss(y)
	}
	most := slices.Max(terms)
	var sum float64
	for _, x := range terms {
		sum += math.Exp(x - most)
	}
	return (most + math.Log(sum*(hi-lo)/n/(sigma*math.Sqrt(2*math.Pi)))) / (order - 1)
}

// The divergence of replacing equals a plain sum, and replacing costs more than
// removing.
func TestDivergenceOfReplacing(t *testing.T) {
	for _, q := range []float64{0.001, 0.02, 0.5} {
		for _, sigma := range []float64{0.5, 1, 4} {
			for _, order := range []float64{1.1, 2, 3.5, 12, 40} {
				got, want := rdp(q, sigma, order, ReplaceOne), replacingTwin(q, sigma, order)
				full := 2 * order / (sigma * sigma)
				if want = math.Min(want, full); math.Abs(got-want) > 1e-8*want+1e-11 {
					t.Errorf("q=%v σ=%v α=%v: %v, want %v", q, sigma, order, got, want)
				}
				if one := rdp(q, sigma, order, AddRemove); got < one {
					t.Errorf("q=%v σ=%v α=%v: replacing costs %v, removing %v", q, sigma, order, got, one)
				}
			}
		}
	}
}
