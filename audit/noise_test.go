package audit

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/dploda/dploda/worker"
)

// childVariable makes the test binary a worker process of the audit.
const childVariable = "DPLODA_AUDIT_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		stay := len(os.Args) > 1 && os.Args[1] == victimFlag
		if err := ServeWorker(context.Background(), os.Stdin, os.Stdout, stay); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func testProcess(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), childVariable+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

const testAlarm = 1e-9

func smallNoiseTest(crews ...crewSize) noiseTest {
	return noiseTest{dim: 20_000, steps: 2, crews: crews, alarm: testAlarm, process: testProcess}
}

func mustJudge(t *testing.T, n noiseTest) []Row {
	t.Helper()
	rows, err := n.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// failed lists the names of rows that failed.
func failed(rows []Row) string {
	var names []string
	for _, r := range rows {
		if !r.Pass {
			names = append(names, fmt.Sprintf("%s: %s, accepted %s", r.Name, r.Found, r.Accept))
		}
	}
	return strings.Join(names, "\n")
}

func TestNoisePasses(t *testing.T) {
	rows := mustJudge(t, smallNoiseTest(crewSize{workers: 1}, crewSize{workers: 2}, crewSize{workers: 3, kill: true}))
	if f := failed(rows); f != "" {
		t.Error(f)
	}
	if len(rows) != 9 {
		t.Errorf("%d rows", len(rows))
	}
}

// noisy is the mistake of workers that each add noise of their own.
type noisy struct {
	sums
	sigma float64
	calls *atomic.Int32
}

func (n noisy) Accumulate(ctx context.Context, step uint64, key [32]byte, ids []uint32, sum []int32) error {
	random := rand.New(rand.NewPCG(1, uint64(n.calls.Add(1))))
	for i := range n.Dim {
		sum[i] += int32(math.Round(random.NormFloat64() * n.sigma))
	}
	return n.sums.Accumulate(ctx, step, key, ids, sum)
}

// Workers that add noise beside the coordinator's are found, for every number of
// them.
func TestNoiseOfEveryWorkerFails(t *testing.T) {
	for _, workers := range []int{1, 2} {
		n := smallNoiseTest(crewSize{workers: workers})
		m, err := n.mechanism()
		if err != nil {
			t.Fatal(err)
		}
		var calls atomic.Int32
		n.plant = func(task worker.Task) worker.Task {
			return noisy{task.(sums), float64(m.SigmaInt), &calls}
		}
		if f := failed(mustJudge(t, n)); strings.Count(f, "noise variance") != 1 || strings.Contains(f, "\n") {
			t.Errorf("%d workers: %q", workers, f)
		}
	}
}

// Test mode draws the noise of a step from the seed: the runs of two crews get
// the same, which is what the comparison of releases must find.
func TestNoiseUsedTwiceFails(t *testing.T) {
	n := smallNoiseTest(crewSize{workers: 1}, crewSize{workers: 2})
	seed := uint64(1)
	n.testSeed = &seed
	f := failed(mustJudge(t, n))
	if !strings.Contains(f, "pairs of releases") || !strings.Contains(f, "equal values in a pair") || strings.Contains(f, "variance") {
		t.Errorf("%q", f)
	}
}

// The judge is given residues that no right noise has: none, too little, too
// much, one draw for two steps, a generator that repeats itself, and a charge
// too many or too few.
func TestJudgeRefusesWrongNoise(t *testing.T) {
	n := smallNoiseTest(crewSize{workers: 1})
	m, err := n.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 8))
	draw := func(size int, sigma float64) []float64 {
		x := make([]float64, size)
		for i := range x {
			x[i] = math.Round(random.NormFloat64()*sigma*float64(m.SigmaInt)) / float64(m.SigmaInt)
		}
		return x
	}
	repeat := func(part []float64) []float64 {
		var x []float64
		for len(x) < n.dim {
			x = append(x, part...)
		}
		return x[:n.dim]
	}
	some := func(a []float64, size int) []float64 {
		b := draw(n.dim, 1)
		copy(b, a[:size])
		return b
	}
	a := draw(n.dim, 1)
	for _, c := range []struct {
		name    string
		charges int
		steps   [2][]float64
		want    string // in the rows that fail; "" if none may
	}{
		{"right", 2, [2][]float64{a, draw(n.dim, 1)}, ""},
		{"zero", 2, [2][]float64{make([]float64, n.dim), a}, "noise variance"},
		{"two thirds", 2, [2][]float64{draw(n.dim, 2./3), a}, "noise variance"},
		{"three halves", 2, [2][]float64{draw(n.dim, 1.5), a}, "noise variance"},
		{"twice the variance", 2, [2][]float64{a, draw(n.dim, math.Sqrt2)}, "noise variance"},
		{"once for both", 2, [2][]float64{a, a}, "pairs of releases"},
		{"a hundredth shared", 2, [2][]float64{a, some(a, n.dim/100)}, "equal values"},
		{"chunks repeat", 2, [2][]float64{repeat(draw(generatorChunk, 1)), a}, "within releases"},
		{"halves repeat", 2, [2][]float64{repeat(draw(n.dim/2, 1)), a}, "within releases"},
		{"a charge too many", 3, [2][]float64{a, draw(n.dim, 1)}, "charges"},
		{"no charge", 0, [2][]float64{a, draw(n.dim, 1)}, "charges"},
	} {
		got := failed(n.judge(m, []residues{{crewSize{workers: 1}, c.charges, c.steps[:]}}))
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
