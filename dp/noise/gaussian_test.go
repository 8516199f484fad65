package noise

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/big"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// Tests draw under fixed keys, so that they either always pass or always fail.
// Stated false-alarm rates are over the choice of key.
func testKey(name string) *[32]byte {
	key := sha256.Sum256([]byte(name))
	return &key
}

func drawn(name string, sigma int64, n int) []int32 {
	dst := make([]int32, n)
	fill(dst, sigma, testKey(name), 2)
	return dst
}

// probability returns P(round(N(0, σ²)) = v), accurate in the tails.
func probability(v, sigma float64) float64 {
	v = math.Abs(v)
	upper := math.Erfc((v+0.5)/(sigma*math.Sqrt2)) / 2
	if v == 0 {
		return 1 - 2*upper
	}
	return math.Erfc((v-0.5)/(sigma*math.Sqrt2))/2 - upper
}

// chiSquare returns the p-value of Pearson's test of counts against expected
// counts. Cells expecting fewer than 10 are pooled.
func chiSquare(counts, expected []float64) float64 {
	var sum, pooledCount, pooledExpected float64
	cells := -1.0
	add := func(count, expect float64) {
		sum += (count - expect) * (count - expect) / expect
		cells++
	}
	for i, expect := range expected {
		if expect < 10 {
			pooledCount += counts[i]
			pooledExpected += expect
			continue
		}
		add(counts[i], expect)
	}
	if pooledExpected >= 1 {
		add(pooledCount, pooledExpected)
	} else if pooledCount > 5 { // P(Poisson(1) > 5) < 6e-4, and none is expected
		return 0
	}
	return distuv.ChiSquared{K: cells}.Survival(sum)
}

// fit returns the p-value of values as round(N(0, σ²)), one cell an integer.
func fit(values []int32, sigma float64) float64 {
	reach := int(9*sigma) + 1
	counts, expected := make([]float64, 2*reach+1), make([]float64, 2*reach+1)
	for i := range expected {
		expected[i] = float64(len(values)) * probability(float64(i-reach), sigma)
	}
	for _, v := range values {
		if i := int(v) + reach; i >= 0 && i < len(counts) {
			counts[i]++
		} else {
			return 0 // P(|N| > 9) = 2e-19
		}
	}
	return chiSquare(counts, expected)
}

// The distribution on the grid, integer by integer, against exact erfc
// probabilities. False alarm: 1e-6 for each σ. The same test rejects 2/3 and 3/2
// of σ, and even 1.01 of it.
func TestSmallSigmaFitsErfc(t *testing.T) {
	const n = 2_000_000
	for _, sigma := range []int64{1, 2, 3, 4, 5} {
		values := drawn(fmt.Sprint("small ", sigma), sigma, n)
		if p := fit(values, float64(sigma)); p < 1e-6 {
			t.Errorf("σ = %d: p = %.2g", sigma, p)
		}
		for _, wrong := range []float64{2. / 3, 3. / 2, 0.99, 1.01} {
			if p := fit(values, float64(sigma)*wrong); p > 1e-12 {
				t.Errorf("σ = %d: accepted as %v of it, p = %.2g", sigma, wrong, p)
			}
		}
	}
}

// varianceFits tests σ by Σv², which is σ²·χ² with one degree a draw (rounding
// adds 1/12 to the variance). False alarm: 1e-6.
func varianceFits(values []int32, sigma float64) bool {
	sum := 0.0
	for _, v := range values {
		sum += float64(v) * float64(v)
	}
	d := distuv.ChiSquared{K: float64(len(values))}
	x := sum / (sigma*sigma + 1./12)
	return x > d.Quantile(5e-7) && x < d.Quantile(1-5e-7)
}

// Invariant 1's measure: a thousand draws tell the right σ from 2/3 and 3/2 of
// it, at any size of σ.
func TestVarianceRejectsTwoThirdsAndThreeHalves(t *testing.T) {
	for _, sigma := range []int64{1, 100, 1_000_000, 200_000_000} {
		values := drawn(fmt.Sprint("variance ", sigma), sigma, 1000)
		if !varianceFits(values, float64(sigma)) {
			t.Errorf("σ = %d is rejected", sigma)
		}
		if varianceFits(values, float64(sigma)*2/3) || varianceFits(values, float64(sigma)*3/2) {
			t.Errorf("2/3 or 3/2 of σ = %d is accepted", sigma)
		}
	}
}

// At σ = 1e6: moments, quantiles, tails and low bits of four million draws.
// Each |z| > 5.5 is a false alarm of 4e-8, each p < 1e-6 one of 1e-6.
func TestLargeSigma(t *testing.T) {
	const n, sigma = 4_000_000, 1_000_000
	values := drawn("large", sigma, n)

	var m1, m2, m3, m4, m6 float64
	for _, v := range values {
		y := float64(v) / sigma
		m1 += y
		m2 += y * y
		m3 += y * y * y
		m4 += y * y * y * y
		m6 += y * y * y * y * y * y
	}
	for _, c := range []struct {
		name                string
		sum, mean, variance float64 // of one draw's power
	}{
		{"first", m1, 0, 1}, {"second", m2, 1, 2}, {"third", m3, 0, 15},
		{"fourth", m4, 3, 96}, {"sixth", m6, 15, 10395 - 225},
	} {
		if z := (c.sum/n - c.mean) / math.Sqrt(c.variance/n); math.Abs(z) > 5.5 {
			t.Errorf("%s moment %v, want %v (z = %.1f)", c.name, c.sum/n, c.mean, z)
		}
	}

	// Bins of width σ/16, the proposal's cells, from -7σ to 7σ: a wrong weight of
	// a single cell would show; so would the seam to the tail at 4σ.
	const perSigma, reach = 16, 7
	counts, expected := make([]float64, 2*reach*perSigma), make([]float64, 2*reach*perSigma)
	cumulative := func(i int) float64 {
		return math.Erfc(-float64(i-reach*perSigma)/perSigma/math.Sqrt2) / 2
	}
	for i := range expected {
		expected[i] = n * (cumulative(i+1) - cumulative(i))
	}
	for _, v := range values {
		counts[int(math.Floor(float64(v)*perSigma/sigma))+reach*perSigma]++
	}
	if p := chiSquare(counts, expected); p < 1e-6 {
		t.Errorf("bins: p = %.2g", p)
	}

	// v mod 2^j is uniform to within exp(-2π²σ²/4^j).
	for _, j := range []int{1, 2, 5, 8, 12} {
		counts, expected := make([]float64, 1<<j), make([]float64, 1<<j)
		for i := range expected {
			expected[i] = n / float64(len(expected))
		}
		for _, v := range values {
			counts[v&(1<<j-1)]++
		}
		if p := chiSquare(counts, expected); p < 1e-6 {
			t.Errorf("mod 2^%d: p = %.2g", j, p)
		}
	}
}

// The tail beyond 4σ, one draw in 15,787, has its own path.
func TestTail(t *testing.T) {
	const n, sigma = 10_000_000, 1000
	counts, expected := make([]float64, 16), make([]float64, 16)
	tail := func(i int) float64 { // the edges are integers in grid units
		return n * math.Erfc(((4+float64(i)/8)*sigma-0.5)/sigma/math.Sqrt2)
	}
	for i := range expected {
		expected[i] = tail(i) - tail(i+1)
	}
	expected[15] = tail(15)
	negative := 0.0
	for part := range 10 {
		for _, v := range drawn(fmt.Sprint("tail ", part), sigma, n/10) {
			y := math.Abs(float64(v)) / sigma
			if y < 4 {
				continue
			}
			counts[min(15, int((y-4)*8))]++
			if v < 0 {
				negative++
			}
		}
	}
	total := 0.0
	for _, c := range counts {
		total += c
	}
	if p := chiSquare(counts, expected); p < 1e-6 {
		t.Errorf("p = %.2g, counts %v, expected %v", p, counts, expected)
	}
	if z := (negative - total/2) / math.Sqrt(total/4); math.Abs(z) > 5.5 {
		t.Errorf("%v of %v are negative", negative, total)
	}
}

// karney is the twin: algorithm N of C. F. F. Karney, "Sampling exactly from the
// normal distribution" (2016), with deviates cut after 64 bits.
func karney(s *stream) float64 {
	uniform := func() float64 { return float64(s.word()>>11) * 0x1p-53 }
	h := func() bool { // true with probability exp(-1/2)
		u := uniform()
		if u >= 0.5 {
			return true
		}
		for {
			v := uniform()
			if v >= u {
				return false
			}
			if u = uniform(); u >= v {
				return true
			}
		}
	}
	b := func(k int, x float64) bool { // true with probability exp(-x(2k+x)/(2k+2))
		y, even := x, true
		for {
			z := uniform()
			if z >= y || uniform() >= (2*float64(k)+x)/(2*float64(k)+2) {
				return even
			}
			y, even = z, !even
		}
	}
	all := func(n int, trial func() bool) bool {
		for range n {
			if !trial() {
				return false
			}
		}
		return true
	}
	for {
		k := 0
		for h() {
			k++
		}
		if !all(k*(k-1), h) {
			continue
		}
		x := uniform()
		if all(k+1, func() bool { return b(k, x) }) {
			if s.word()&1 == 1 {
				return -(float64(k) + x)
			}
			return float64(k) + x
		}
	}
}

// Two samples, ours and the twin's, fit the same distribution and one another.
func TestKarneyTwin(t *testing.T) {
	const n, sigma = 500_000, 4
	ours := drawn("ours", sigma, n)
	twin := make([]int32, n)
	s := openStream("twin")
	for i := range twin {
		twin[i] = int32(math.Round(sigma * karney(s)))
	}
	if p := fit(twin, sigma); p < 1e-6 {
		t.Fatalf("the twin itself does not fit: p = %.2g", p)
	}
	// Homogeneity: with equal sizes, Σ(a-b)²/(a+b) is χ².
	a, b := map[int32]float64{}, map[int32]float64{}
	for i := range n {
		a[ours[i]]++
		b[twin[i]]++
	}
	var sum, cells float64
	for v := int32(-16); v <= 16; v++ {
		sum += (a[v] - b[v]) * (a[v] - b[v]) / (a[v] + b[v])
		cells++
	}
	if p := (distuv.ChiSquared{K: cells - 1}).Survival(sum); p < 1e-6 {
		t.Errorf("ours and Karney's differ: p = %.2g", p)
	}
}

// The proposal: slots belong to cells as the weights say, every weight covers
// its cell's density, and the bounds of the fast path hold.
func TestCellTable(t *testing.T) {
	c := cells()
	owned := map[uint8]uint64{}
	for _, cell := range c.slot {
		owned[cell]++
	}
	if owned[tailCell] != tailWeight {
		t.Errorf("the tail owns %d slots", owned[tailCell])
	}
	for i, w := range c.weight {
		if owned[uint8(i)] != w {
			t.Errorf("cell %d owns %d slots, its weight is %d", i, owned[uint8(i)], w)
		}
		start, end := density(float64(i)/16), density(float64(i+1)/16)
		if p := envelope * start / float64(w); p > 1-1e-9 {
			t.Errorf("cell %d: acceptance probability %v", i, p)
		} else if peak := float64(c.peak[i]) * 0x1p-32; math.Abs(p-peak) > 0x1p-31 {
			t.Errorf("cell %d: peak %v, want %v", i, peak, p)
		}
		if p, sure := envelope*end/float64(w), float64(c.sure[i])*0x1p-32; sure > p*(1+1e-14) || p-sure > 0x1p-31 {
			t.Errorf("cell %d: sure %v, the end accepts with %v", i, sure, p)
		}
	}
	for j := range 100 {
		y := 4 + float64(j)/4
		if p := envelope * math.Ldexp(density(y), j+3) / tailWeight; p > 1 {
			t.Errorf("tail block %d: acceptance probability %v", j, p)
		}
	}
	// The method's cost: attempts for each draw.
	if attempts := 4096. / 16 / envelope / math.Sqrt(math.Pi/2); attempts > 1.05 {
		t.Errorf("%v attempts a draw", attempts)
	}
}

func density(y float64) float64 { return math.Exp(-y * y / 2) }

// Where the fast path decides, it decides as exact arithmetic does. Deviates are
// put on both sides of the acceptance probability, at every distance.
func TestFastPathAgreesWithExact(t *testing.T) {
	s := openStream("fast path")
	g := newGaussian(1_000_000)
	decided, undecided := 0, 0
	check := func(i int, u, x uint64) {
		c := g.bodyCandidate(i)
		c.u.set(u, 51)
		c.x.set(x, 64)
		fast, exact := g.cells.judge(i, u>>19, x), c.judge()
		switch {
		case fast == unsure:
			undecided++
		case exact == unsure:
			t.Fatalf("cell %d, u %#x, x %#x: the fast path decides what 51 bits cannot", i, u, x)
		case fast != exact:
			t.Fatalf("cell %d, u %#x, x %#x: fast path %v, exact %v", i, u, x, fast, exact)
		default:
			decided++
		}
	}
	for n := range 6000 {
		i, x := n%bodyCells, s.word()
		switch n / bodyCells % 8 {
		case 0:
			x = 0
		case 1:
			x = math.MaxUint64
		}
		y := (float64(i) + float64(x)*0x1p-64) / 16
		p := int64(envelope * density(y) / float64(g.cells.weight[i]) * (1 << 51))
		step := int64(1) << (26 + s.bits(4)) // the margin is 2³¹
		for _, u := range []int64{p - step, p, p + step, int64(s.bits(51))} {
			if u >= 0 && u < 1<<51 {
				check(i, uint64(u), x)
			}
		}
	}
	if decided < 1000 || undecided < 1000 {
		t.Errorf("%d decided, %d undecided: the cases miss their aim", decided, undecided)
	}
}

// The 128-bit rounding equals exact rounding, and leaves what it cannot know.
func TestFastRoundingAgreesWithExact(t *testing.T) {
	s := openStream("rounding")
	open := 0
	for n := range 20000 {
		sigma := int64(s.bits(31)>>(s.bits(5)%31)) | 1
		g := newGaussian(sigma)
		i, x := uint64(n%bodyCells), s.word()
		if n%2 == 0 { // next to a half-integer: σ(i·2⁶⁴+x) = (m+½)·2⁶⁸
			edge := new(big.Int).SetUint64(i * g.sigma >> 4)
			edge.Lsh(edge, 68).Add(edge, new(big.Int).Lsh(big.NewInt(1), 67))
			edge.Quo(edge, new(big.Int).SetUint64(g.sigma))
			edge.Sub(edge, new(big.Int).Lsh(new(big.Int).SetUint64(i), 64))
			if !edge.IsUint64() {
				continue
			}
			x = edge.Uint64() + s.bits(2) - 2
		}
		c := g.bodyCandidate(int(i))
		c.x.set(x, 64)
		fast, ok := g.round(i, x)
		exact, exactOK := c.round(g.sigma)
		if ok != exactOK || ok && fast != exact {
			t.Fatalf("σ %d, cell %d, x %#x: %d %v, exact %d %v", sigma, i, x, fast, ok, exact, exactOK)
		}
		if !ok {
			open++
		}
	}
	if open < 100 {
		t.Errorf("only %d undecided roundings seen", open)
	}
}

func TestExpNeg(t *testing.T) {
	one := new(big.Float).SetPrec(300).SetInt64(1)
	for _, z := range []float64{0, 1e-9, 0.1, 0.5, 0.999, 1, 1.5, 8, 33.25, 100} {
		zi, _ := new(big.Float).SetMantExp(big.NewFloat(z), 60).Int(nil)
		want := math.Exp(-z)
		fineLo, fineHi := expNeg(zi, 60, 300)
		for _, prec := range []uint{1, 4, 20, 64, 128} {
			lo, hi := expNeg(zi, 60, prec)
			if width := new(big.Int).Sub(hi, lo); width.Cmp(big.NewInt(3)) > 0 {
				t.Errorf("z = %v at %d bits: bounds %v apart", z, prec, width)
			}
			if new(big.Int).Lsh(lo, 300-prec).Cmp(fineLo) > 0 || new(big.Int).Lsh(hi, 300-prec).Cmp(fineHi) < 0 {
				t.Errorf("z = %v: bounds at %d bits do not enclose those at 300", z, prec)
			}
		}
		fine, _ := new(big.Float).Quo(new(big.Float).SetInt(fineLo), new(big.Float).SetMantExp(one, 300)).Float64()
		if math.Abs(fine-want) > 1e-13*want+1e-80 {
			t.Errorf("exp(-%v) = %v, want %v", z, fine, want)
		}
	}
}

func TestSigmaOutsideTheWord(t *testing.T) {
	for _, sigma := range []int64{0, -1, 1 << 31} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("σ = %d is accepted", sigma)
				}
			}()
			newGaussian(sigma)
		}()
	}
	// The largest σ that fits: draws reach beyond the word and wrap.
	g, s := newGaussian(1<<31-1), openStream("wrap")
	wrapped := 0
	for range 10000 {
		if v := g.draw(s); v != int64(int32(v)) {
			wrapped++
		}
	}
	if math.Abs(float64(wrapped)-3173) > 260 { // P(|N| > 1) = 0.3173, 5.6 deviations
		t.Errorf("%d of 10000 draws lie beyond the word, want 3173", wrapped)
	}
}
