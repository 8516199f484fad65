package account

import "math"

// inflation covers the floating-point error of one order's divergence: all
// sums below are of non-negative terms, each with a relative error below 1e-10.
const inflation = 1e-9

// weakNoise is the noise multiplier below which amplification by sampling is no
// longer computed; the divergence without sampling is an upper bound.
const weakNoise = 0.1

// orders are the Rényi orders that are tried: dp_accounting's default set and
// some more where large data sets and tiny δ need them.
var orders = func() []float64 {
	var set []float64
	for i := 1; i < 100; i++ {
		set = append(set, 1+float64(i)/10)
	}
	for a := 11.0; a < 64; a++ {
		set = append(set, a)
	}
	return append(set, 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 2048, 4096)
}()

// mostReplacing is the highest order tried under replace-one adjacency: beyond,
// the error bound of the quadrature is not good enough.
const mostReplacing = 63

// rdp returns an upper bound on the Rényi divergence of the given order,
// ε(α) = log(A_α)/(α-1), of one step of the Gaussian mechanism with noise
// multiplier sigma on a Poisson sample of rate q. Under AddRemove it covers
// adding and removing an example: Mironov, Talwar, Zhang 2019, Theorem 4 and
// Section 3.3. Under ReplaceOne it is the divergence of the dominating pair: a
// Rényi divergence is an integral of hockey-stick divergences with weights that
// are not negative.
func rdp(q, sigma, order float64, a Adjacency) float64 {
	if q == 0 {
		return 0
	}
	if sigma == 0 {
		return math.Inf(1)
	}
	// Without sampling; also a bound with it, by quasi-convexity.
	mu := a.sensitivity() / sigma
	full := order / 2 * mu * mu * (1 + inflation)
	if q == 1 || sigma < weakNoise || (a == ReplaceOne && order > mostReplacing) {
		return full
	}
	var logExcess float64
	switch {
	case a == ReplaceOne:
		logExcess = logExcessReplacing(q, sigma, order)
	case order == math.Trunc(order):
		logExcess = logExcessInteger(q, sigma, int(order))
	default:
		logExcess = logExcessIntegral(q, sigma, order)
	}
	return math.Min(full, softplus(logExcess)/(order-1)*(1+inflation))
}

// logExcessInteger returns log(A_α - 1) for an integer order, from
//
//	A_α - 1 = Σ_{k=2}^α C(α,k) (1-q)^(α-k) q^k (exp((k²-k)/2σ²) - 1).
//
// It is equation 3 of the paper less the binomial theorem, which removes the 1
// that would swallow a small excess.
func logExcessInteger(q, sigma float64, order int) float64 {
	a := float64(order)
	logQ, logRest := math.Log(q), math.Log1p(-q)
	logFactorial, _ := math.Lgamma(a + 1)
	sum := math.Inf(-1)
	for i := 2; i <= order; i++ {
		k := float64(i)
		below, _ := math.Lgamma(k + 1)
		above, _ := math.Lgamma(a - k + 1)
		term := logFactorial - below - above + k*logQ + (a-k)*logRest
		sum = logAdd(sum, term+logExpm1((k*k-k)/(2*sigma*sigma)))
	}
	return sum
}

// logExcessIntegral returns log(A_α - 1) for any order, from
//
//	A_α - 1 = ∫ N(z; 0, σ²) ((1+w)^α - 1 - αw) dz,  w = q (exp((2z-1)/2σ²) - 1),
//
// whose integrand is nowhere negative (Bernoulli) because ∫ N(z; 0, σ²) w dz = 0
// was taken out. It is summed by the trapezoidal rule over all z that matter.
// The integrand is analytic for |Im z| < πσ², so with step h the rule's error is
// below exp(-2πd/h) times the integral of the modulus on Im z = ±d; with d =
// σ·min(πσ/2, 4) and h as chosen that is below exp(-70) (Trefethen, Weideman
// 2014, Theorem 5.1).
func logExcessIntegral(q, sigma, order float64) float64 {
	h := sigma / math.Max(16, math.Ceil(8/sigma))
	from, to := math.Floor(-12*sigma/h), math.Ceil((order+12*sigma)/h)
	sum := math.Inf(-1)
	for i := from; i <= to; i++ {
		z := i * h
		density := -z * z / (2 * sigma * sigma)
		sum = logAdd(sum, density+logConvexity(logMixture(q, (2*z-1)/(2*sigma*sigma)), order))
	}
	return sum + math.Log(h/(sigma*math.Sqrt(2*math.Pi)))
}

// logExcessReplacing returns log(A_α - 1) for replacing an example,
//
//	A_α - 1 = ∫ Q(y) ((1+w)^α - 1 - αw) dy,  1+w = P(y)/Q(y),
//
// with P and Q as in pair, by the same rule. On Im y = ±d the denominator of P/Q
// is at least 1/√2 of what it is on the real axis, so that the error grows by
// 2^((α-1)/2) at most.
func logExcessReplacing(q, sigma, order float64) float64 {
	p := pair{replacing, q, sigma}
	h := sigma / math.Max(16, math.Ceil(8/sigma))
	from, to := math.Floor(-(1+12*sigma)/h), math.Ceil((2*order+12*sigma)/h)
	sum := math.Inf(-1)
	for i := from; i <= to; i++ {
		y := i * h
		density := -y*y/(2*sigma*sigma) + logMixture(q, (-2*y-1)/(2*sigma*sigma))
		sum = logAdd(sum, density+logConvexity(p.loss(y), order))
	}
	return sum + math.Log(h/(sigma*math.Sqrt(2*math.Pi)))
}

// logConvexity returns log((1+w)^α - 1 - αw) for logRatio = log(1+w).
func logConvexity(logRatio, order float64) float64 {
	if order*logRatio > 600 {
		return order * logRatio // leaving out 1 + αw errs upwards
	}
	w := math.Expm1(logRatio)
	if math.Abs(order*w) < 1e-3 { // the binomial series, free of cancellation
		series := 1 + (order-2)/3*w*(1+(order-3)/4*w*(1+(order-4)/5*w))
		return math.Log(order*(order-1)/2*w*w) + math.Log(series)
	}
	return math.Log(math.Expm1(order*logRatio) - order*w)
}

// softplus returns log(1 + eˣ).
func softplus(x float64) float64 {
	if x > 0 {
		return x + math.Log1p(math.Exp(-x))
	}
	return math.Log1p(math.Exp(x))
}

// logAdd returns log(eˣ + eʸ).
func logAdd(x, y float64) float64 {
	if x < y {
		x, y = y, x
	}
	if math.IsInf(x, -1) {
		return x
	}
	return x + math.Log1p(math.Exp(y-x))
}

// logExpm1 returns log(eˣ - 1) for x > 0.
func logExpm1(x float64) float64 {
	if x > 30 {
		return x + math.Log1p(-math.Exp(-x))
	}
	return math.Log(math.Expm1(x))
}
