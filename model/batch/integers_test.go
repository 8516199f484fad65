package batch

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/dploda/dploda/internal/device"
)

// integerSum is the plain loop that AccumulateIntegers stands for.
func integerSum(groups []uint32, n int, unit, limit float64) []int32 {
	sum := make([]int32, toyDim)
	for _, group := range groups {
		var g [toyDim]float32
		for i := int(group) * toyLanes; i < min((int(group)+1)*toyLanes, n); i++ {
			for k, f := range []float32{1, 1.0 / 3, 1.0 / 7} {
				g[k] += float32(value(i) * f)
			}
		}
		for k := range g {
			sum[k] += int32(min(max(math.RoundToEven(float64(g[k])/unit), -limit), limit))
		}
	}
	return sum
}

// However the groups are divided among calls, runners and goroutines, the sum
// is that of the plain loop. With a stream's gradient left from group to
// group it was seen to fail.
func TestIntegersDoNotDependOnTheCompany(t *testing.T) {
	const n, unit, limit = 30, 1.0 / 64, 2000
	all := []uint32{0, 1, 2, 3, 4, 5, 6, 7}
	want := integerSum(all, n, unit, limit)
	if slices.Equal(want, integerSum(all, n, unit, 1e9)) {
		t.Fatal("the limit is never reached")
	}
	for _, parts := range [][][]uint32{{all}, {{0, 1, 2, 3, 4}, {5, 6, 7}}, {{7}, {}, {5, 3, 1}, {0, 2, 4, 6}}} {
		for _, threads := range []int{1, 2, 5} {
			got := make([]int32, toyDim)
			shared := newRunner(t, threads, nil)
			for i, groups := range parts {
				r := shared
				if i%2 == 1 {
					r = newRunner(t, threads, nil)
				}
				if err := r.AccumulateIntegers(context.Background(), got, groups, n, unit, limit, load, idle); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v with %d threads: %v, want %v", parts, threads, got, want)
			}
		}
	}
}

func TestIntegersThatCannotBe(t *testing.T) {
	ctx := context.Background()
	sum := []int32{5, 6, 7}
	infinite := func(s device.Stream, lane, i int) error {
		return errors.Join(s.SetInput("x", lane, []float32{float32(math.Inf(1))}), s.SetInput("w", lane, []float32{1}))
	}
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		runner *Runner
		groups []uint32
		load   Load
		want   error
	}{
		"infinite gradient": {newRunner(t, 2, nil), []uint32{0, 1}, infinite, ErrNotFinite},
		"broken device":     {newRunner(t, 2, broken), []uint32{0, 1}, load, broken},
		"no such group":     {newRunner(t, 2, nil), []uint32{0, 2}, load, nil},
	} {
		err := c.runner.AccumulateIntegers(ctx, sum, c.groups, 8, 1, 100, c.load, idle)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		if !slices.Equal(sum, []int32{5, 6, 7}) {
			t.Errorf("%s: something was added", name)
		}
	}
}
