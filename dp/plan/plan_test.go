package plan

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mathext"
	"pgregory.net/rapid"
)

func example() Spec {
	return Spec{Phase: "finetune", SampleRate: 512. / 60000, Nominal: 60000, NoiseMultiplier: 1.1,
		ClipNorm: 0.01, Dim: 370_000, Steps: 1000, Reserve: 5}
}

func mustNew(t testing.TB, s Spec) Mechanism {
	t.Helper()
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// specs draws specifications that New should accept.
func specs() *rapid.Generator[Spec] {
	return rapid.Custom(func(t *rapid.T) Spec {
		s := Spec{
			Phase:           rapid.StringMatching(`[a-z0-9-]{1,64}`).Draw(t, "phase"),
			SampleRate:      math.Exp(-rapid.Float64Range(0, 12).Draw(t, "-log q")),
			Nominal:         rapid.IntRange(1, 100_000).Draw(t, "nominal"),
			NoiseMultiplier: math.Exp(rapid.Float64Range(-5, 5).Draw(t, "log z")),
			ClipNorm:        math.Exp(rapid.Float64Range(-60, 60).Draw(t, "log C")),
			Dim:             rapid.IntRange(1, 100_000).Draw(t, "dim"),
			Steps:           rapid.IntRange(1, 1<<31).Draw(t, "steps"),
		}
		if rapid.Bool().Draw(t, "loss") {
			s.LossBound = math.Exp(rapid.Float64Range(-13, 13).Draw(t, "log L"))
		}
		s.ClipShare = rapid.Bool().Draw(t, "clip share")
		if rapid.IntRange(0, 9).Draw(t, "everyone") == 0 {
			s.SampleRate = 1
		}
		s.Reserve = DefaultReserve(s.Steps) % maxCharges
		return s
	})
}

// The realised mechanism is never weaker than the requested one, its grid is
// the finest that fits, and its accounting values are on the safe side of the
// integers.
func TestNewIsConservative(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := specs().Draw(rt, "spec")
		m, err := New(s)
		if err != nil {
			if !strings.Contains(err.Error(), "too coarse") {
				rt.Fatalf("%+v: %v", s, err)
			}
			return
		}
		if m.NoiseMultiplier() < s.NoiseMultiplier {
			rt.Fatalf("noise multiplier %v below the requested %v", m.NoiseMultiplier(), s.NoiseMultiplier)
		}
		exact := big.NewRat(m.SigmaInt, m.Delta)
		if new(big.Rat).SetFloat64(m.NoiseMultiplier()).Cmp(exact) > 0 {
			rt.Fatalf("NoiseMultiplier %v is above SigmaInt/Delta", m.NoiseMultiplier())
		}
		if new(big.Rat).SetFloat64(math.Nextafter(m.NoiseMultiplier(), math.Inf(1))).Cmp(exact) <= 0 {
			rt.Fatalf("NoiseMultiplier %v is not the nearest float below SigmaInt/Delta", m.NoiseMultiplier())
		}
		if m.SampleRate() > s.SampleRate {
			rt.Fatalf("sampling rate %v above the requested %v", m.SampleRate(), s.SampleRate)
		}
		if !m.Everyone {
			rate := new(big.Rat).SetFrac(new(big.Int).SetUint64(m.QThreshold), new(big.Int).Lsh(big.NewInt(1), 64))
			if new(big.Rat).SetFloat64(m.SampleRate()).Cmp(rate) < 0 {
				rt.Fatalf("SampleRate %v below QThreshold/2^64", m.SampleRate())
			}
		}
		finer := m
		finer.Delta++
		finer.SigmaInt = ceilProduct(s.NoiseMultiplier, finer.Delta)
		if finer.Validate() == nil {
			rt.Fatalf("Delta %d would fit too", finer.Delta)
		}
		checkSide(rt, s, m)
		if needed := new(big.Rat).SetFloat64(s.NoiseMultiplier); new(big.Rat).SetFrac64(m.SigmaInt-1, m.Delta).Cmp(needed) >= 0 {
			rt.Fatalf("SigmaInt %d is larger than needed", m.SigmaInt)
		}
	})
}

// checkSide holds the side coordinates against integers of any size: present as
// asked for, within Delta with the gradient, and at the price that is stated.
func checkSide(t *rapid.T, s Spec, m Mechanism) {
	n := 0
	for _, c := range []struct {
		asked bool
		delta int64
	}{{s.LossBound != 0, m.LossDelta}, {s.ClipShare, m.ClipDelta}} {
		if c.asked != (c.delta != 0) {
			t.Fatalf("%+v has side coordinates of %d and %d", s, m.LossDelta, m.ClipDelta)
		}
		if c.asked {
			n++
			if share := float64(c.delta) / float64(m.GradientDelta()); math.Abs(share-SideShare) > 1/float64(m.GradientDelta()) {
				t.Fatalf("a side coordinate of %d is %v of %d", c.delta, share, m.GradientDelta())
			}
		}
	}
	if m.Dim != s.Dim+n || m.GradientDim() != s.Dim || m.LossBound != s.LossBound {
		t.Fatalf("%+v becomes %+v", s, m)
	}
	if n == 0 && m.GradientDelta() != m.Delta {
		t.Fatalf("without side coordinates the gradient has %d of %d", m.GradientDelta(), m.Delta)
	}
	square := func(v int64) *big.Int { return new(big.Int).Mul(big.NewInt(v), big.NewInt(v)) }
	length := func(gradient int64) *big.Int {
		sum := new(big.Int).Add(square(gradient), square(m.LossDelta))
		return sum.Add(sum, square(m.ClipDelta))
	}
	if length(m.GradientDelta()).Cmp(square(m.Delta)) > 0 || length(m.GradientDelta()+1).Cmp(square(m.Delta)) <= 0 {
		t.Fatalf("GradientDelta %d is not the largest beside %d and %d within %d", m.GradientDelta(), m.LossDelta, m.ClipDelta, m.Delta)
	}
}

// Each side coordinate costs 0.1 % of noise on the gradient.
func TestSideCoordinatesCostLittle(t *testing.T) {
	bare := mustNew(t, example())
	s := example()
	for n, want := range map[int]float64{1: 1.00103, 2: 1.00206} {
		s.LossBound, s.ClipShare = 1, n == 2
		m := mustNew(t, s)
		if m.NoiseMultiplier() < 1.1 || m.NoiseMultiplier() > 1.1*(1+1e-6) {
			t.Errorf("%d: the noise multiplier became %v", n, m.NoiseMultiplier())
		}
		if more := m.NoiseStd() / bare.NoiseStd(); more > want || more < 1+float64(n)*0.00099 {
			t.Errorf("%d side coordinates make the noise %.5f times as large, want at most %v", n, more, want)
		}
		// As large as the loss's own grid says.
		if got, want := m.LossScale()*float64(m.SigmaInt), 1.1*1.0010/SideShare/512; math.Abs(got/want-1) > 2e-3 {
			t.Errorf("the released loss has noise %v, want %v", got, want)
		}
	}
}

func TestRootFloor(t *testing.T) {
	for _, n := range []int64{0, 1, 2, 3, 4, 1<<53 - 1, 1 << 53, 1<<53 + 1, math.MaxInt32 * math.MaxInt32, math.MaxInt32*math.MaxInt32 - 1, math.MaxInt32*math.MaxInt32 + 1} {
		if got, want := rootFloor(n), new(big.Int).Sqrt(big.NewInt(n)); want.Cmp(big.NewInt(got)) != 0 {
			t.Errorf("⌊√%d⌋ is %d, want %v", n, got, want)
		}
	}
}

// 0.1 is a little more than a tenth as a float64: ten times that is above 1.
func TestCeilProductIsExact(t *testing.T) {
	for _, c := range []struct {
		z     float64
		delta int64
	}{{0.1, 10}, {1. / 3, 3}, {0.7, 10}, {1.1, 10}, {1.1, 2_000_000}, {1, 7}, {math.Nextafter(1, 2), 1 << 30}, {math.Nextafter(1, 0), 1 << 30}} {
		product := new(big.Rat).SetFloat64(c.z)
		product.Mul(product, new(big.Rat).SetInt64(c.delta))
		got := ceilProduct(c.z, c.delta)
		if new(big.Rat).SetInt64(got).Cmp(product) < 0 || new(big.Rat).SetInt64(got-1).Cmp(product) >= 0 {
			t.Errorf("⌈%v·%d⌉ is %d", c.z, c.delta, got)
		}
	}
}

func TestSampleRateRoundsUp(t *testing.T) {
	for _, threshold := range []uint64{1, 3, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<63 + 1, math.MaxUint64} {
		m := Mechanism{QThreshold: threshold}
		got := new(big.Float).SetMantExp(big.NewFloat(m.SampleRate()), 64)
		want := new(big.Float).SetUint64(threshold)
		if got.Cmp(want) < 0 {
			t.Errorf("threshold %d: SampleRate %v is below it", threshold, m.SampleRate())
		}
		below := new(big.Float).SetMantExp(big.NewFloat(math.Nextafter(m.SampleRate(), 0)), 64)
		if below.Cmp(want) >= 0 {
			t.Errorf("threshold %d: SampleRate %v is not the least float above it", threshold, m.SampleRate())
		}
	}
	if r := (Mechanism{Everyone: true}).SampleRate(); r != 1 {
		t.Errorf("everyone: SampleRate %v", r)
	}
}

// BatchBound is held against the exact binomial tail P(X > b) = I_q(b+1, N-b).
func TestBatchBoundHoldsTheBinomialTail(t *testing.T) {
	for _, n := range []int{1, 2, 10, 100, 1000, 60000, 1_000_000} {
		for _, q := range []float64{1e-9, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999} {
			m := Mechanism{QThreshold: uint64(math.Ldexp(q, 64)), Divisor: q * float64(n)}
			b := m.BatchBound()
			if b > int64(n) || b < 0 {
				t.Fatalf("N=%d q=%v: bound %d", n, q, b)
			}
			if b == int64(n) {
				continue // nothing lies above
			}
			if tail := mathext.RegIncBeta(float64(b)+1, float64(n)-float64(b), q); tail > 0x1p-40 {
				t.Errorf("N=%d q=%v: P(X > %d) = %g exceeds 2^-40", n, q, b, tail)
			}
			// Useful too: not far above ten standard deviations.
			mean := q * float64(n)
			if limit := mean + 8*math.Sqrt(mean) + 40; float64(b) > limit {
				t.Errorf("N=%d q=%v: bound %d is wasteful", n, q, b)
			}
		}
	}
	m := Mechanism{Everyone: true, Divisor: 60000}
	if b := m.BatchBound(); b != 60000 {
		t.Errorf("everyone of 60000: bound %d", b)
	}
}

// The largest sum and the noise fit a word together, at the bound and not above.
func TestWordFitsBatchAndNoise(t *testing.T) {
	m := mustNew(t, example())
	if sum := m.BatchBound()*m.Delta + NoiseTail*m.SigmaInt; sum > math.MaxInt32 || sum < math.MaxInt32-1000 {
		t.Errorf("largest value %d", sum)
	}
	if m.Delta < 2_000_000 {
		t.Errorf("Delta %d is coarser than the word needs", m.Delta)
	}
}

func TestScales(t *testing.T) {
	m := mustNew(t, example())
	if got, want := m.GridUnit()*float64(m.Delta), 0.01; math.Abs(got/want-1) > 1e-12 {
		t.Errorf("Delta grid units are %v, want the clipping norm %v", got, want)
	}
	if got, want := m.NoiseStd(), 1.1*0.01/512; math.Abs(got/want-1) > 1e-6 {
		t.Errorf("noise in the mean %v, want z·C/(qN) = %v", got, want)
	}
	if m.DeltaSq() != uint64(m.Delta*m.Delta) || m.Charges() != 1005 {
		t.Errorf("DeltaSq %d, Charges %d", m.DeltaSq(), m.Charges())
	}
}

func TestValidateRefuses(t *testing.T) {
	good := mustNew(t, example())
	for _, c := range []struct {
		name   string
		change func(*Mechanism)
		want   string
	}{
		{"no phase", func(m *Mechanism) { m.Phase = "" }, "1 to 64 characters"},
		{"long phase", func(m *Mechanism) { m.Phase = strings.Repeat("a", 65) }, "1 to 64 characters"},
		{"odd phase", func(m *Mechanism) { m.Phase = "Fine tune" }, `holds 'F'`},
		{"everyone with a threshold", func(m *Mechanism) { m.Everyone = true }, "must be 0 when everyone"},
		{"no threshold", func(m *Mechanism) { m.QThreshold = 0 }, "nobody"},
		{"dim 0", func(m *Mechanism) { m.Dim = 0 }, "Dim is 0"},
		{"dim negative", func(m *Mechanism) { m.Dim = -1 }, "Dim is -1"},
		{"dim huge", func(m *Mechanism) { m.Dim = maxDim + 1 }, "Dim is"},
		{"delta 0", func(m *Mechanism) { m.Delta = 0 }, "Delta is 0"},
		{"delta huge", func(m *Mechanism) { m.Delta = math.MaxInt64 }, "Delta is"},
		{"delta too large for the batch", func(m *Mechanism) { m.Delta += 100 }, "do not fit 32-bit"},
		{"sigma 0", func(m *Mechanism) { m.SigmaInt = 0 }, "SigmaInt is 0"},
		{"sigma negative", func(m *Mechanism) { m.SigmaInt = -5 }, "SigmaInt is -5"},
		{"sigma huge", func(m *Mechanism) { m.SigmaInt = math.MaxInt64 }, "SigmaInt is"},
		{"sigma too large for the word", func(m *Mechanism) { m.SigmaInt = math.MaxInt32 }, "do not fit 32-bit"},
		{"clip 0", func(m *Mechanism) { m.ClipNorm = 0 }, "ClipNorm is 0"},
		{"clip NaN", func(m *Mechanism) { m.ClipNorm = math.NaN() }, "ClipNorm is NaN"},
		{"clip infinite", func(m *Mechanism) { m.ClipNorm = math.Inf(1) }, "ClipNorm is +Inf"},
		{"steps 0", func(m *Mechanism) { m.Steps = 0 }, "Steps is 0"},
		{"reserve negative", func(m *Mechanism) { m.Reserve = -1 }, "Reserve is -1"},
		{"divisor 0", func(m *Mechanism) { m.Divisor = 0 }, "Divisor is 0"},
		{"divisor NaN", func(m *Mechanism) { m.Divisor = math.NaN() }, "Divisor is NaN"},
		{"divisor infinite", func(m *Mechanism) { m.Divisor = math.Inf(1) }, "Divisor is +Inf"},
		{"divisor of a larger data set", func(m *Mechanism) { m.Divisor *= 2 }, "do not fit 32-bit"},
		{"loss negative", func(m *Mechanism) { m.LossDelta = -9 }, "LossDelta is -9"},
		{"loss all of Delta", func(m *Mechanism) { m.LossDelta = m.Delta }, "LossDelta is"},
		{"clip negative", func(m *Mechanism) { m.ClipDelta = math.MinInt64 }, "ClipDelta is -"},
		{"clip huge", func(m *Mechanism) { m.ClipDelta = math.MaxInt64 }, "ClipDelta is 9"},
		{"clip coarse", func(m *Mechanism) { m.ClipDelta = 7 }, "too coarse"},
		{"nothing for the gradient", func(m *Mechanism) { m.LossDelta, m.ClipDelta, m.LossBound = m.Delta*3/4, m.Delta*3/4, 1 }, "leave nothing"},
		{"too little for the gradient", func(m *Mechanism) { m.ClipDelta = m.Delta - 1 }, "too coarse"},
		{"no coordinate for the gradient", func(m *Mechanism) { m.Dim, m.ClipDelta = 1, 100 }, "no coordinate"},
		{"a bound without a loss", func(m *Mechanism) { m.LossBound = 1 }, "no loss coordinate"},
		{"a negative zero for a bound", func(m *Mechanism) { m.LossBound = math.Copysign(0, -1) }, "no loss coordinate"},
		{"a loss without a bound", func(m *Mechanism) { m.LossDelta = 100 }, "LossBound is 0"},
		{"bound NaN", func(m *Mechanism) { m.LossDelta, m.LossBound = 100, math.NaN() }, "LossBound is NaN"},
		{"coarse grid", func(m *Mechanism) { m.Delta, m.SigmaInt = 4800, 5280 }, "too coarse"},
	} {
		m := good
		c.change(&m)
		err := m.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if _, err := m.MarshalBinary(); err == nil {
			t.Errorf("%s: encodes", c.name)
		}
		var back Mechanism
		if err := back.UnmarshalBinary(m.appendBinary(nil)); err == nil || back != (Mechanism{}) {
			t.Errorf("%s: decodes", c.name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{"rate 0", func(s *Spec) { s.SampleRate = 0 }, "sampling rate is 0"},
		{"rate above 1", func(s *Spec) { s.SampleRate = 1.5 }, "sampling rate is 1.5"},
		{"rate NaN", func(s *Spec) { s.SampleRate = math.NaN() }, "sampling rate is NaN"},
		{"rate below the coin", func(s *Spec) { s.SampleRate = 1e-20 }, "below 2^-64"},
		{"no examples", func(s *Spec) { s.Nominal = 0 }, "nominal data set size is 0"},
		{"no noise", func(s *Spec) { s.NoiseMultiplier = 0 }, "noise multiplier is 0"},
		{"noise NaN", func(s *Spec) { s.NoiseMultiplier = math.NaN() }, "noise multiplier is NaN"},
		{"loss bound NaN", func(s *Spec) { s.LossBound = math.NaN() }, "LossBound is NaN"},
		{"loss bound negative", func(s *Spec) { s.LossBound = -1 }, "LossBound is -1"},
		{"a grid too coarse for the loss", func(s *Spec) { s.Dim, s.LossBound, s.SampleRate, s.Nominal = 1, 1, 1, 1<<24 }, "too coarse"},
		{"a batch that no word holds", func(s *Spec) { s.SampleRate, s.Nominal = 1, 1<<35 }, "too coarse"},
	} {
		s := example()
		c.change(&s)
		if m, err := New(s); err == nil || !strings.Contains(err.Error(), c.want) || m != (Mechanism{}) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestDefaultReserve(t *testing.T) {
	for steps, want := range map[int]int{1: 3, 600: 3, 601: 4, 1000: 5, 14040: 71} {
		if got := DefaultReserve(steps); got != want {
			t.Errorf("%d steps: reserve %d, want %d", steps, got, want)
		}
	}
}

func TestEncodingRoundTripsAndIsCanonical(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m, err := New(specs().Draw(rt, "spec"))
		if err != nil {
			return
		}
		b, err := m.MarshalBinary()
		if err != nil {
			rt.Fatal(err)
		}
		var back Mechanism
		if err := back.UnmarshalBinary(b); err != nil || back != m {
			rt.Fatalf("round trip: %+v, %v", back, err)
		}
		if err := back.UnmarshalBinary(b[:rapid.IntRange(0, len(b)-1).Draw(rt, "cut")]); err == nil {
			rt.Fatal("a truncated encoding decodes")
		}
		if err := back.UnmarshalBinary(append(b, 0)); err == nil {
			rt.Fatal("an encoding with a trailing byte decodes")
		}
	})
}

// Every field changes the digest, and the digest of one fixed mechanism never
// changes: ledgers of earlier versions must stay readable.
func TestDigest(t *testing.T) {
	m := Mechanism{Phase: "finetune", QThreshold: 1 << 56, Dim: 3, Delta: 1000, SigmaInt: 1100,
		ClipNorm: 0.5, Steps: 10, Reserve: 3, Divisor: 4, LossDelta: 45, LossBound: 1.5, ClipDelta: 44}
	if got := fmt.Sprintf("%x", m.Digest()); got != "cf0ffb3cd92d449bceb81b09728bbe30debbdbba09a16df0ada2ca12353b4f40" {
		t.Errorf("the digest of a fixed mechanism became %s", got)
	}
	seen := map[[32]byte]string{m.Digest(): "unchanged"}
	for name, change := range map[string]func(*Mechanism){
		"Phase":      func(m *Mechanism) { m.Phase = "finetunf" },
		"QThreshold": func(m *Mechanism) { m.QThreshold++ },
		"Everyone":   func(m *Mechanism) { m.Everyone = true },
		"Dim":        func(m *Mechanism) { m.Dim++ },
		"Delta":      func(m *Mechanism) { m.Delta++ },
		"SigmaInt":   func(m *Mechanism) { m.SigmaInt++ },
		"ClipNorm":   func(m *Mechanism) { m.ClipNorm = 0.25 },
		"Steps":      func(m *Mechanism) { m.Steps++ },
		"Reserve":    func(m *Mechanism) { m.Reserve++ },
		"Divisor":    func(m *Mechanism) { m.Divisor = 5 },
		"LossDelta":  func(m *Mechanism) { m.LossDelta++ },
		"LossBound":  func(m *Mechanism) { m.LossBound = 1 },
		"ClipDelta":  func(m *Mechanism) { m.ClipDelta++ },
	} {
		c := m
		change(&c)
		if other, ok := seen[c.Digest()]; ok {
			t.Errorf("changing %s gives the digest of %s", name, other)
		}
		seen[c.Digest()] = name
	}
}

func FuzzUnmarshal(f *testing.F) {
	b, err := mustNew(f, example()).MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Mechanism
		if m.UnmarshalBinary(b) != nil {
			return
		}
		back, err := m.MarshalBinary()
		if err != nil || string(back) != string(b) {
			t.Fatalf("%x decodes but encodes as %x (%v)", b, back, err)
		}
	})
}
