package ledger

import (
	"math"
	"testing"
)

// A statement prints δ, and the accountant reads it: it must be the very float64
// that a person wrote.
func TestBudgetInFloats(t *testing.T) {
	for _, tc := range []struct {
		budget         Budget
		epsilon, delta float64
	}{
		{Budget{10_000_000, 1, 5}, 10, 1e-5},
		{Budget{8_200_000, 25, 7}, 8.2, 2.5e-6},
		{Budget{1, 999_999_999, 9}, 1e-6, 0.999999999},
		{Budget{290_000, 3, 30}, 0.29, 3e-30},
		{Budget{Unlimited, 7, 6}, math.Inf(1), 7e-6},
	} {
		if e, d := tc.budget.Epsilon(), tc.budget.Delta(); e != tc.epsilon || d != tc.delta {
			t.Errorf("%+v is (%v, %v), want (%v, %v)", tc.budget, e, d, tc.epsilon, tc.delta)
		}
	}
	for e := range uint8(31) {
		for _, n := range []uint64{1, 2, 3, 7, 15, 123456789} {
			got := Budget{DeltaNumerator: n, DeltaExponent: e}.Delta()
			if relative := math.Abs(got/(float64(n)*math.Pow10(-int(e))) - 1); relative > 1e-15 {
				t.Errorf("%de-%d is %v", n, e, got)
			}
		}
	}
}
