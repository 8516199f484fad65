package noise

import (
	"bytes"
	"crypto/aes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/ledger/ledgertest"
	"github.com/dploda/dploda/dp/plan"
)

const secretValue = 1122334455 // must be seen nowhere

func mechanism(t testing.TB, dim int) plan.Mechanism {
	t.Helper()
	m, err := plan.New(plan.Spec{Phase: "finetune", SampleRate: 0.01, Nominal: 60000, NoiseMultiplier: 1,
		ClipNorm: 1, Dim: dim, Steps: 10, Reserve: 3})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exact(t testing.TB, m plan.Mechanism, id ledger.PlanID) (ExactSum, []int32) {
	t.Helper()
	values := make([]int32, m.Dim)
	for i := range values {
		values[i] = secretValue
	}
	sum, err := NewExactSum(m, id, values)
	if err != nil {
		t.Fatal(err)
	}
	return sum, values
}

// The released value is the exact sum plus the source's noise, modulo 2³², and
// the memory of sum and noise is gone.
func TestAddNoise(t *testing.T) {
	m := mechanism(t, 3*chunk+5)
	r := ledgertest.TestModeReceipt(t, m)
	sum, values := exact(t, m, r.PlanID())
	for i := range values {
		values[i] = math.MaxInt32 - int32(i%7)
	}
	src := NewPredictableTestSource(m, 1, 2)
	want := slices.Clone(values)
	noise := make([]int32, m.Dim)
	fill(noise, m.SigmaInt, &src.key, 1)
	for i := range want {
		want[i] += noise[i]
	}
	src.Prepare(2)
	prepared := src.drawn

	noised, err := AddNoise(sum, r, src)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(noised.Values(), want) {
		t.Error("the released sum is not the exact sum plus the noise modulo 2^32")
	}
	if noised.PlanID() != r.PlanID() || noised.ChargeID() != r.ChargeID() {
		t.Error("the released sum names another plan or charge")
	}
	if !slices.Equal(prepared, make([]int32, m.Dim)) || src.key != [32]byte{} || src.drawn != nil || sum.s.values != nil {
		t.Error("noise, key or exact sum are still in memory")
	}
	wrapped := 0
	for _, v := range noised.Values() {
		if v < 0 {
			wrapped++
		}
	}
	if wrapped < m.Dim/3 {
		t.Errorf("%d of %d sums wrapped, about half should", wrapped, m.Dim)
	}
}

// Invariants 1 and 3: a sum, a receipt and a source serve once, in whatever
// combination they come again, and all copies of one are one.
func TestEachServesOnce(t *testing.T) {
	m := mechanism(t, 10)
	for _, again := range []string{"sum", "receipt", "source"} {
		r := ledgertest.Receipt(t, m)
		sum, _ := exact(t, m, r.PlanID())
		src := NewSource(m)
		if _, err := AddNoise(sum, r, src); err != nil {
			t.Fatal(err)
		}
		second, values := exact(t, m, r.PlanID())
		sum2, r2, src2 := sum, r, src
		if again != "sum" {
			sum2 = second
		}
		if again != "receipt" {
			// A fresh receipt belongs to another plan: lift the sum over to it.
			r2 = ledgertest.Receipt(t, m)
			sum2.s.plan = r2.PlanID()
		}
		if again != "source" {
			src2 = NewSource(m)
		}
		noised, err := AddNoise(sum2, r2, src2)
		if err == nil || noised.Values() != nil {
			t.Errorf("a used %s serves again", again)
		}
		if again != "sum" && !slices.Equal(values, make([]int32, m.Dim)) {
			t.Errorf("with a used %s, the exact sum stays in memory", again)
		}
		if r2.Live() {
			t.Errorf("with a used %s, the receipt stays live", again)
		}
	}
}

func TestAddNoiseVerifies(t *testing.T) {
	m, other := mechanism(t, 10), mechanism(t, 11)
	louder := m
	louder.SigmaInt--
	for _, c := range []struct {
		name string
		want string
		call func(sum ExactSum, r ledger.ChargeReceipt) (NoisedSum, error)
	}{
		{"no sum", "empty or was used", func(_ ExactSum, r ledger.ChargeReceipt) (NoisedSum, error) {
			return AddNoise(ExactSum{}, r, NewSource(m))
		}},
		{"no receipt", "the charge is for plan", func(s ExactSum, _ ledger.ChargeReceipt) (NoisedSum, error) {
			return AddNoise(s, ledger.ChargeReceipt{}, NewSource(m))
		}},
		{"no source", "no noise", func(s ExactSum, r ledger.ChargeReceipt) (NoisedSum, error) {
			return AddNoise(s, r, nil)
		}},
		{"another plan's receipt", "the charge is for plan", func(s ExactSum, _ ledger.ChargeReceipt) (NoisedSum, error) {
			return AddNoise(s, ledgertest.Receipt(t, m), NewSource(m))
		}},
		{"another mechanism's receipt", "different mechanisms", func(s ExactSum, _ ledger.ChargeReceipt) (NoisedSum, error) {
			r := ledgertest.Receipt(t, louder)
			s.s.plan = r.PlanID()
			return AddNoise(s, r, NewSource(m))
		}},
		{"another mechanism's noise", "another mechanism", func(s ExactSum, r ledger.ChargeReceipt) (NoisedSum, error) {
			return AddNoise(s, r, NewSource(louder))
		}},
		{"noise of another length", "another mechanism", func(s ExactSum, r ledger.ChargeReceipt) (NoisedSum, error) {
			return AddNoise(s, r, NewSource(other))
		}},
		{"predictable noise for a real charge", "not in test mode", func(s ExactSum, r ledger.ChargeReceipt) (NoisedSum, error) {
			return AddNoise(s, r, NewPredictableTestSource(m, 1, 2))
		}},
	} {
		r := ledgertest.Receipt(t, m)
		sum, _ := exact(t, m, r.PlanID())
		noised, err := c.call(sum, r)
		if err == nil || !strings.Contains(err.Error(), c.want) || noised.Values() != nil {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), strconv.Itoa(secretValue)) {
			t.Errorf("%s: the error holds the sum", c.name)
		}
		if !r.Live() || sum.s.used.Load() {
			t.Errorf("%s: receipt or sum were used up", c.name)
		}
	}
	// An empty receipt must not pass for the plan of an empty id either.
	zero, _ := exact(t, m, ledger.PlanID{})
	if _, err := AddNoise(zero, ledger.ChargeReceipt{}, NewSource(m)); err == nil {
		t.Error("an empty receipt pays for noise")
	}
}

func TestNewExactSumRefuses(t *testing.T) {
	m := mechanism(t, 10)
	if _, err := NewExactSum(m, ledger.PlanID{}, make([]int32, 11)); err == nil || !strings.Contains(err.Error(), "11 coordinates") {
		t.Errorf("a sum with its count coordinate: %v", err)
	}
	m.SigmaInt = 0
	if _, err := NewExactSum(m, ledger.PlanID{}, make([]int32, 10)); err == nil {
		t.Error("a mechanism without noise is accepted")
	}
}

// Invariant 5: neither an exact sum nor a source can be printed, logged or
// encoded, alone or inside something else.
func TestNothingUnnoisedIsPrintedOrEncoded(t *testing.T) {
	m := mechanism(t, 4)
	sum, values := exact(t, m, ledger.PlanID{})
	src := NewSource(m)
	src.Prepare(1)
	for i := range src.drawn {
		src.drawn[i] = secretValue
	}
	copy(src.key[:], "1122334455")

	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	plain := slog.New(slog.NewTextHandler(&out, nil))
	for _, x := range []any{sum, &sum, src, []ExactSum{sum}, map[string]ExactSum{"x": sum}, struct{ S ExactSum }{sum}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			fmt.Fprintf(&out, verb, x)
		}
		logger.Info("a step", "value", x)
		plain.Info("a step", "value", x)
	}
	for _, secret := range []string{strconv.Itoa(secretValue), fmt.Sprintf("%x", secretValue), fmt.Sprintf("%x", "1122334455")} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s was printed", secret)
		}
	}
	if !strings.Contains(out.String(), redactedSum) || !strings.Contains(out.String(), redactedSource) {
		t.Error("nothing says that something was redacted")
	}
	fmt.Fprint(&out, sum.String(), sum.GoString())

	if _, err := json.Marshal(sum); err == nil {
		t.Error("JSON encodes an exact sum")
	}
	if _, err := json.Marshal(struct{ S ExactSum }{sum}); err == nil {
		t.Error("JSON encodes an exact sum inside a struct")
	}
	if err := gob.NewEncoder(&out).Encode(sum); err == nil {
		t.Error("gob encodes an exact sum")
	}
	if _, err := sum.MarshalText(); err == nil {
		t.Error("an exact sum has a text encoding")
	}
	if _, err := sum.MarshalBinary(); err == nil {
		t.Error("an exact sum has a binary encoding")
	}
	sum.Wipe()
	if !slices.Equal(values, make([]int32, 4)) {
		t.Error("Wipe leaves the sum in memory")
	}
	src.Wipe()
	if src.drawn != nil || src.key != [32]byte{} {
		t.Error("Wipe leaves noise or key in memory")
	}
	if _, err := src.take(1); err == nil {
		t.Error("a wiped source deals noise")
	}
	if src.Prepare(1); src.drawn != nil {
		t.Error("a wiped source draws noise from its wiped key")
	}
}

// Invariant 7's part: coordinate i's noise is a function of the key, on any
// number of goroutines and for any length.
func TestFillDoesNotDependOnGoroutines(t *testing.T) {
	const n = 5*chunk + 123
	want := make([]int32, n)
	fill(want, 1000, testKey("fill"), 1)
	for _, goroutines := range []int{0, 2, 3, 64} {
		got := make([]int32, n)
		fill(got, 1000, testKey("fill"), goroutines)
		if !slices.Equal(got, want) {
			t.Errorf("%d goroutines change the noise", goroutines)
		}
	}
	for _, shorter := range []int{0, 1, chunk - 1, chunk, chunk + 1} {
		got := make([]int32, shorter)
		fill(got, 1000, testKey("fill"), 2)
		if !slices.Equal(got, want[:shorter]) {
			t.Errorf("%d coordinates get other noise than the first of %d", shorter, n)
		}
	}
	if slices.Equal(want[:chunk], want[chunk:2*chunk]) {
		t.Error("two chunks share their noise")
	}
}

// Golden values: test mode must give the same adapters in later versions and on
// other machines.
func TestNoiseIsReproducible(t *testing.T) {
	m := mechanism(t, 4)
	s := NewPredictableTestSource(m, 42, 7)
	s.Prepare(1)
	if got, want := fmt.Sprint(s.drawn), "[494487 -283443 1657513 3786754]"; got != want {
		t.Errorf("noise %s, want %s", got, want)
	}
}

// streams of one key must not overlap: stream i begins at block i·2⁶⁴.
func TestStreamIsCounterMode(t *testing.T) {
	block, err := aes.NewCipher(testKey("counter")[:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(stream)
	for _, index := range []uint64{0, 1, 1 << 40} {
		s.open(block, index)
		for n := range 3000 {
			var counter, out [16]byte
			for b := range 8 {
				counter[b] = byte(index >> (56 - 8*b))
				counter[8+b] = byte(uint64(n) >> (56 - 8*b))
			}
			block.Encrypt(out[:], counter[:])
			for half := range 2 {
				var want uint64
				for b := range 8 {
					want |= uint64(out[8*half+b]) << (8 * b)
				}
				if got := s.word(); got != want {
					t.Fatalf("stream %d, word %d: %#x, want %#x", index, 2*n+half, got, want)
				}
			}
		}
	}
	s.open(block, 0)
	first := s.word()
	s.open(block, 0)
	if got := s.bits(5); got != first>>59 {
		t.Errorf("bits(5) = %#x, want the first five of %#x", got, first)
	}
}

func TestSourcesDiffer(t *testing.T) {
	m := mechanism(t, 4)
	other := m
	other.Phase = "prototypes-0"
	seen := map[[32]byte]string{}
	for name, s := range map[string]*Source{
		"fresh": NewSource(m), "fresh again": NewSource(m),
		"test": NewPredictableTestSource(m, 1, 1), "next step": NewPredictableTestSource(m, 1, 2),
		"next seed": NewPredictableTestSource(m, 2, 1), "other phase": NewPredictableTestSource(other, 1, 1),
	} {
		if twin, ok := seen[s.key]; ok || s.key == [32]byte{} {
			t.Errorf("%s has the key of %q", name, twin)
		}
		seen[s.key] = name
	}
}

// No floating-point sampler, and no generator but AES keyed by crypto/rand: the
// package may import nothing else that deals numbers.
func TestImports(t *testing.T) {
	allowed := map[string]bool{
		"crypto/aes": true, "crypto/cipher": true, "crypto/rand": true, "crypto/sha256": true,
		"encoding/binary": true, "errors": true, "fmt": true, "log/slog": true,
		"math/big": true, "math/bits": true, "runtime": true, "sync": true, "sync/atomic": true,
		"github.com/dploda/dploda/dp/ledger": true, "github.com/dploda/dploda/dp/plan": true,
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		source, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			if path, _ := strconv.Unquote(spec.Path.Value); !allowed[path] {
				t.Errorf("%s imports %s", e.Name(), path)
			}
		}
		if bytes.Contains(source, []byte("float")) {
			t.Errorf("%s mentions floating point; noise is integer arithmetic", e.Name())
		}
	}
}

func BenchmarkFill(b *testing.B) {
	for _, sigma := range []int64{1, 1_000_000} {
		b.Run(fmt.Sprint("sigma=", sigma), func(b *testing.B) {
			dst := make([]int32, 100_000)
			for b.Loop() {
				fill(dst, sigma, testKey("benchmark"), 1)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(dst)), "ns/draw")
		})
	}
}
