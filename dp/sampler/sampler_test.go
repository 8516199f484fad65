package sampler

import (
	"crypto/aes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/dploda/dploda/dp/plan"
)

func mechanism(q float64) plan.Mechanism {
	m := plan.Mechanism{Phase: "finetune", Dim: 1, Delta: 1000, SigmaInt: 1000, ClipNorm: 1, Steps: 1, Divisor: 1}
	if q == 1 {
		m.Everyone = true
	} else {
		m.QThreshold = uint64(math.Ldexp(q, 64))
	}
	return m
}

func secret(seed byte) (s [32]byte) {
	for i := range s {
		s[i] = seed
	}
	return s
}

func planAt(step uint64, q float64) Plan {
	return Plan{Run: [16]byte{1}, Mechanism: mechanism(q), Step: step, Nonce: [16]byte{byte(step), byte(step >> 8), 7}}
}

// The key derivation and the coin, written again with HMAC alone (RFC 5869).
func naiveCoin(secret [32]byte, p Plan, id uint32) uint64 {
	mac := func(key []byte, data ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, d := range data {
			h.Write(d)
		}
		return h.Sum(nil)
	}
	info := "dploda plan keys 1\n" +
		"\x00\x00\x00\x00\x00\x00\x00\x0epoisson sample" +
		"\x00\x00\x00\x00\x00\x00\x00\x08finetune" + string(p.Run[:])
	var step [8]byte
	binary.BigEndian.PutUint64(step[:], p.Step)
	key := mac(mac(make([]byte, 32), secret[:]), []byte(info), step[:], p.Nonce[:], []byte{1})
	block, _ := aes.NewCipher(key)
	out := make([]byte, 16)
	block.Encrypt(out, []byte{15: byte(id), 14: byte(id >> 8), 13: byte(id >> 16), 12: byte(id >> 24)})
	return binary.BigEndian.Uint64(out)
}

func TestCoinIsTheDocumentedFunction(t *testing.T) {
	p := planAt(300, 0.1)
	s := Coins(secret(9), p)
	for _, id := range []uint32{0, 1, 255, 256, 70000, 1 << 24, math.MaxUint32} {
		if got, want := s.Coin(id), naiveCoin(secret(9), p, id); got != want {
			t.Errorf("id %d: coin %x, want %x", id, got, want)
		}
	}
}

// Invariant 3: the sample is a function of secret, run, phase, step, nonce and
// id. Asking twice, in another order, or for a larger data set changes nobody's
// coin; changing any of them gives another sample.
// (Tried without the nonce in the key.)
func TestSampleDependsOnThePlanAlone(t *testing.T) {
	const n = 5000
	p := planAt(4, 0.1)
	want := Coins(secret(1), p).Sample(n)
	if !slices.IsSorted(want) || len(want) == 0 {
		t.Fatalf("%d ids, ascending: %v", len(want), slices.IsSorted(want))
	}
	s := Coins(secret(1), p)
	var backwards []uint32
	for id := n - 1; id >= 0; id-- {
		if s.Takes(uint32(id)) {
			backwards = append(backwards, uint32(id))
		}
	}
	slices.Reverse(backwards)
	if !slices.Equal(backwards, want) || !slices.Equal(s.Sample(n), want) {
		t.Error("the sample depends on the order of the calls")
	}
	if larger := s.Sample(2 * n); !slices.Equal(larger[:len(want)], want) || larger[len(want)] < n {
		t.Error("examples that were added changed the coins of others")
	}
	if smaller := s.Sample(n / 2); !slices.Equal(smaller, want[:len(smaller)]) {
		t.Error("examples that were removed changed the coins of others")
	}

	for name, other := range map[string]*Sampler{
		"secret": Coins(secret(2), p),
		"run":    Coins(secret(1), Plan{[16]byte{2}, p.Mechanism, p.Step, p.Nonce}),
		"step":   Coins(secret(1), Plan{p.Run, p.Mechanism, 5, p.Nonce}),
		"nonce":  Coins(secret(1), Plan{p.Run, p.Mechanism, p.Step, [16]byte{8}}),
		"phase": func() *Sampler {
			m := p.Mechanism
			m.Phase = "prototypes-0"
			return Coins(secret(1), Plan{p.Run, m, p.Step, p.Nonce})
		}(),
	} {
		// 500 of 5000 in each; independent samples share 50 ± 6.7. Seven
		// deviations: a false alarm in 1e-11.
		if both := shared(want, other.Sample(n)); both > 100 {
			t.Errorf("another %s shares %d of %d ids", name, both, len(want))
		}
	}
}

func shared(a, b []uint32) int {
	in := map[uint32]bool{}
	for _, id := range a {
		in[id] = true
	}
	n := 0
	for _, id := range b {
		if in[id] {
			n++
		}
	}
	return n
}

func TestThreshold(t *testing.T) {
	p := planAt(1, 0.5)
	s := Coins(secret(3), p)
	for id := range uint32(100) {
		coin := s.Coin(id)
		s.mechanism.QThreshold = coin
		if s.Takes(id) {
			t.Errorf("id %d takes part at a threshold equal to its coin", id)
		}
		s.mechanism.QThreshold = coin + 1
		if !s.Takes(id) {
			t.Errorf("id %d does not take part just above its coin", id)
		}
	}
	s.mechanism.QThreshold = 1
	if ids := s.Sample(10000); len(ids) != 0 {
		t.Errorf("q = 2^-64 takes %v", ids)
	}
	s.mechanism.QThreshold = math.MaxUint64
	if ids := s.Sample(10000); len(ids) != 10000 {
		t.Errorf("q = 1 - 2^-64 takes %d of 10000", len(ids))
	}
	if ids := Coins(secret(3), planAt(1, 1)).Sample(1000); len(ids) != 1000 {
		t.Errorf("everyone: %d of 1000", len(ids))
	}
	if ids := s.Sample(0); len(ids) != 0 {
		t.Errorf("no examples: %v", ids)
	}
}

// batches returns the sample sizes of many steps, and how often two fixed
// examples and their pair took part.
func batches(t *testing.T, q float64, n, steps int) (sizes []float64, a, b, both int) {
	t.Helper()
	for step := range steps {
		s := Coins(secret(4), planAt(uint64(step), q))
		ids := s.Sample(n)
		sizes = append(sizes, float64(len(ids)))
		inA, inB := slices.Contains(ids, 17), slices.Contains(ids, 18)
		if inA {
			a++
		}
		if inB {
			b++
		}
		if inA && inB {
			both++
		}
	}
	return sizes, a, b, both
}

// poissonSampled reports whether the batch sizes have the mean nq and the
// variance nq(1-q), each at a false-alarm rate of 1e-6.
func poissonSampled(sizes []float64, n, q float64) error {
	k := float64(len(sizes))
	var mean, chi float64
	for _, b := range sizes {
		mean += b / k
		chi += (b - n*q) * (b - n*q) / (n * q * (1 - q))
	}
	if z := (mean - n*q) / math.Sqrt(n*q*(1-q)/k); math.Abs(z) > 4.89 {
		return fmt.Errorf("mean batch %.3f, want %.3f (z = %.1f)", mean, n*q, z)
	}
	// Σ(b-nq)²/nq(1-q) is χ² with k degrees to within the binomial's excess
	// kurtosis, (1-6q(1-q))/(nq(1-q)) < 1 %.
	lo, hi := distuv.ChiSquared{K: k}.Quantile(5e-7), distuv.ChiSquared{K: k}.Quantile(1-5e-7)
	if chi < lo || chi > hi {
		return fmt.Errorf("batch variance is %.3f of nq(1-q)", chi/k)
	}
	return nil
}

// Invariant 3 and the sampling that the accountant assumes: Poisson, with
// pairwise independent coins. The test rejects a rate wrong by 1 %, and a
// batch of fixed size.
// (Tried with a threshold that is 1 % lower.)
func TestPoissonSampling(t *testing.T) {
	const n, q, steps = 2000, 0.1, 1500
	sizes, a, b, both := batches(t, q, n, steps)
	if err := poissonSampled(sizes, n, q); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct{ count, p float64 }{
		"example 17": {float64(a), q}, "example 18": {float64(b), q}, "the pair": {float64(both), q * q},
	} {
		z := (c.count - steps*c.p) / math.Sqrt(steps*c.p*(1-c.p))
		if math.Abs(z) > 5.5 { // 4e-8 for a normal variable; the pair's count, of mean 15, is skewed: below 1e-5
			t.Errorf("%s took part %v times in %d steps, want %v (z = %.1f)", name, c.count, steps, steps*c.p, z)
		}
	}
	if poissonSampled(sizes, n, q*1.01) == nil || poissonSampled(sizes, n, q*0.99) == nil {
		t.Error("the test accepts a rate wrong by 1 %")
	}
	fixed := make([]float64, steps)
	for i := range fixed {
		fixed[i] = n * q
	}
	if poissonSampled(fixed, n, q) == nil {
		t.Error("the test accepts batches of fixed size")
	}
}

// All pairs at once: over steps, the sum of squared batch deviations would be
// off if coins were correlated; within a step, neighbours are checked here.
// (Tried with one coin for two neighbours.)
func TestNeighbouringCoinsAreIndependent(t *testing.T) {
	const n = 200_000
	s := Coins(secret(5), planAt(1, 0.5))
	var agree, low float64
	previous := s.Coin(0)
	for id := uint32(1); id <= n; id++ {
		coin := s.Coin(id)
		if (coin^previous)>>63 == 0 {
			agree++
		}
		if (coin^previous)&1 == 0 {
			low++
		}
		previous = coin
	}
	for name, count := range map[string]float64{"first": agree, "last": low} {
		if z := (count - n/2) / math.Sqrt(n/4); math.Abs(z) > 5.5 { // 4e-8
			t.Errorf("the %s bits of neighbours agree %v times of %d (z = %.1f)", name, count, n, z)
		}
	}
}

// The key that workers get must not be the sampling key, in any Plan.
func TestDrawKeyIsNotTheSamplingKey(t *testing.T) {
	seen := map[[32]byte]string{}
	for step := range uint64(50) {
		for _, purpose := range []string{purposeSample, purposeDraws} {
			name := fmt.Sprintf("%s of step %d", purpose, step)
			key := derive(secret(6), purpose, planAt(step, 0.1))
			if other, ok := seen[key]; ok {
				t.Errorf("%s has the key of %s", name, other)
			}
			seen[key] = name
		}
	}
	p := planAt(3, 0.1)
	if DrawKey(secret(6), p) != derive(secret(6), purposeDraws, p) {
		t.Error("DrawKey is not the key for draws")
	}
}

// Lengths are part of what is hashed: moving a character from one text to the
// next gives another key.
func TestDerivationSeparatesItsParts(t *testing.T) {
	a, b := planAt(1, 0.1), planAt(1, 0.1)
	a.Mechanism.Phase, b.Mechanism.Phase = "xy", "y"
	if derive(secret(1), "p", a) == derive(secret(1), "px", b) {
		t.Error("two purposes share a key")
	}
}

func TestSamplerPrintsNoKey(t *testing.T) {
	s := Coins(secret(7), planAt(1, 0.1))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb+verb, s, *s); strings.Count(got, "redacted") != 2 || len(got) > 60 {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	s := Coins(secret(8), planAt(1, 0.01))
	for b.Loop() {
		s.Sample(60000)
	}
}
