// Package clip turns one example's gradient into its contribution: a vector of
// integers in grid units whose L2 norm is at most Delta, checked exactly. The
// contribution depends on the gradient and the mechanism alone.
//
// A device computes the same in its own loops: SquaredNorm in its fixed order,
// Factor here, then round(g·factor) with the check Σv² ≤ Delta². Contribution
// is the reference for one example.
package clip

import (
	"math"

	"github.com/dploda/dploda/dp/plan"
)

// slack covers, relative to Delta, the rounding of everything before the grid:
// a float64 sum of up to 2³⁰ squares is off by less than 2⁻²³, its root by half
// of that, and the products by 2⁻⁵².
const slack = 0x1p-20

// Target returns the norm, in grid units, to which longer gradients are
// scaled: a little less than Delta, so that rounding Dim coordinates to
// integers, which moves the vector by at most √Dim/2, keeps it within Delta.
// Gradients up to norm C·Target/Delta stay as they are.
func Target(m plan.Mechanism) float64 {
	reach := float64(m.Delta) - math.Sqrt(float64(m.Dim))/2
	return reach * (1 - slack)
}

// Factor returns the scale from the sum of an example's copies of the gradient
// to its contribution in grid units,
//
//	Delta/(C·K) · min(1, (C·Target/Delta) / ‖Σg/K‖),
//
// for the squared norm sqNorm = ‖Σg‖² of the sum of the K copies. A norm that
// is not a finite number, or a negative one, gets factor 0: the example
// contributes nothing. A ClipNorm far below all gradients makes this pure
// normalisation.
func Factor(sqNorm float64, copies int, m plan.Mechanism) float64 {
	if !(sqNorm >= 0 && sqNorm <= math.MaxFloat64) || copies < 1 {
		return 0
	}
	norm := math.Sqrt(sqNorm)
	free := float64(m.Delta) / m.ClipNorm / float64(copies)
	target := Target(m)
	if norm*free <= target {
		return free
	}
	return target / norm
}

// SquaredNorm returns Σg², summed in order in float64; the squares are exact.
func SquaredNorm(g []float32) float64 {
	sum := 0.0
	for _, x := range g {
		sum += float64(float64(x) * float64(x)) // converted, so that no compiler fuses it
	}
	return sum
}

// Contribution returns the contribution of an example whose copies' gradients
// sum to g (m.Dim values), and true. A gradient that holds a NaN or an infinity,
// or a contribution that fails the norm check, gives the zero vector and false.
// It panics if g does not have m.Dim values.
func Contribution(g []float32, copies int, m plan.Mechanism) ([]int32, bool) {
	if len(g) != m.Dim {
		panic("clip: the gradient's length is not the mechanism's dimension")
	}
	factor := Factor(SquaredNorm(g), copies, m)
	v := make([]int32, len(g))
	for i, x := range g {
		scaled := math.RoundToEven(float64(x) * factor)
		if !(math.Abs(scaled) <= float64(m.Delta)) { // NaN fails too
			return make([]int32, len(g)), false
		}
		v[i] = int32(scaled)
	}
	if factor == 0 || !Within(v, m.DeltaSq()) {
		return make([]int32, len(g)), false
	}
	return v, true
}

// Within reports whether Σv² ≤ limitSq, exactly: the running sum is compared
// before it can overflow.
func Within(v []int32, limitSq uint64) bool {
	room := limitSq
	for _, x := range v {
		square := uint64(int64(x) * int64(x)) // at most 2⁶²
		if square > room {
			return false
		}
		room -= square
	}
	return true
}
