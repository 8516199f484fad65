package clip

import (
	"slices"
	"testing"

	"github.com/dploda/dploda/dp/plan"
)

// Scaling keeps contributions within Delta where the grid is fine enough. The
// exact check holds even where it is not: on this grid, which no valid mechanism
// has, rounding alone could move a vector by ten units and Delta is four.
func TestTheExactCheckHoldsWhereScalingFails(t *testing.T) {
	m := plan.Mechanism{Phase: "test", Dim: 400, Delta: 4, ClipNorm: 1}
	g := make([]float32, m.Dim)
	g[0], g[1] = 100, 100
	v, ok := Contribution(g, 1, 0, m)
	if ok || !slices.Equal(v, make([]int32, m.Dim)) {
		t.Errorf("a vector of %d and %d is within %d", v[0], v[1], m.Delta)
	}
}
