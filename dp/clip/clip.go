// Package clip turns one example's gradient and loss into its contribution: a
// vector of integers in grid units whose L2 norm is at most Delta, checked
// exactly. The contribution depends on the example, the weights and the
// mechanism alone.
//
// The vector is the clipped gradient, with norm at most GradientDelta, and then
// the side coordinates of a mechanism that has them: the loss, from 0 to
// LossDelta, and the clip indicator, 0 or ClipDelta.
//
// A device computes the gradient's part in its own loops: SquaredNorm in its
// fixed order, Factor here, then round(g·factor) with the check Σv² ≤
// GradientDelta². Contribution is the reference for one whole vector.
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
// scaled: a little less than GradientDelta, so that rounding GradientDim
// coordinates to integers, which moves the vector by at most √GradientDim/2,
// keeps it within GradientDelta. Gradients up to norm C·Target/GradientDelta stay
// as they are.
func Target(m plan.Mechanism) float64 {
	reach := float64(m.GradientDelta()) - math.Sqrt(float64(m.GradientDim()))/2
	return reach * (1 - slack)
}

// Factor returns the scale from the sum of an example's copies of the gradient
// to its contribution in grid units,
//
//	Δ_g/(C·K) · min(1, (C·Target/Δ_g) / ‖Σg/K‖),
//
// for the squared norm sqNorm = ‖Σg‖² of the sum of the K copies, and whether
// the gradient is clipped: longer than that, and scaled down. A norm that is not
// a finite number, or a negative one, gets factor 0: the example contributes
// nothing. A ClipNorm far below all gradients makes this pure normalisation.
func Factor(sqNorm float64, copies int, m plan.Mechanism) (factor float64, clipped bool) {
	if !(sqNorm >= 0 && sqNorm <= math.MaxFloat64) || copies < 1 {
		return 0, false
	}
	norm := math.Sqrt(sqNorm)
	free := float64(m.GradientDelta()) / m.ClipNorm / float64(copies)
	target := Target(m)
	if norm*free <= target {
		return free, false
	}
	return target / norm, true
}

// Loss returns the loss coordinate of an example, round(LossDelta·clamp(loss, 0,
// LossBound)/LossBound), ties to even, and true; 0 where the mechanism has no such
// coordinate. A loss that is not a finite number gives false: the example
// contributes nothing, its gradient included.
func Loss(loss float64, m plan.Mechanism) (int32, bool) {
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, false
	}
	if m.LossDelta == 0 {
		return 0, true
	}
	share := min(max(loss, 0), m.LossBound) / m.LossBound // in [0, 1]
	return int32(math.RoundToEven(share * float64(m.LossDelta))), true
}

// SquaredNorm returns Σg², summed in order in float64; the squares are exact.
func SquaredNorm(g []float32) float64 {
	sum := 0.0
	for _, x := range g {
		sum += float64(float64(x) * float64(x)) // converted, so that no compiler fuses it
	}
	return sum
}

// Contribution returns the contribution (m.Dim integers) of an example whose
// copies' gradients sum to g (m.GradientDim() values) and whose mean loss is loss,
// and true. A gradient or loss that holds a NaN or an infinity, or a contribution
// that fails the norm check, gives the zero vector and false. It panics if g does
// not have m.GradientDim() values.
func Contribution(g []float32, copies int, loss float64, m plan.Mechanism) ([]int32, bool) {
	if len(g) != m.GradientDim() {
		panic("clip: the gradient's length is not the mechanism's dimension")
	}
	nothing := make([]int32, m.Dim)
	factor, clipped := Factor(SquaredNorm(g), copies, m)
	lossUnits, ok := Loss(loss, m)
	if factor == 0 || !ok {
		return nothing, false
	}
	v := make([]int32, m.Dim)
	for i, x := range g {
		scaled := math.RoundToEven(float64(x) * factor)
		if !(math.Abs(scaled) <= float64(m.Delta)) { // NaN fails too
			return nothing, false
		}
		v[i] = int32(scaled)
	}
	delta := uint64(m.GradientDelta())
	if !Within(v, delta*delta) { // the side coordinates are zero still
		return nothing, false
	}
	Side(v, lossUnits, clipped, m)
	return v, true
}

// Side adds an example's side coordinates to v (m.Dim integers), one contribution
// or a sum of many: lossUnits is its Loss, clipped is Factor's answer. Together
// with a gradient within GradientDelta they are within Delta.
func Side(v []int32, lossUnits int32, clipped bool, m plan.Mechanism) {
	if m.LossDelta > 0 {
		v[m.LossCoordinate()] += lossUnits
	}
	if m.ClipDelta > 0 && clipped {
		v[m.ClipCoordinate()] += int32(m.ClipDelta)
	}
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
