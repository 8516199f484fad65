package account

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// A sum at the limit converts to ε and no more; one a millionth above does not.
//
// Tried: a limit without the deflation, and the older conversion log(1/δ)/(α-1).
func TestFilterLimitIsTheConversion(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		epsilon := math.Exp(rapid.Float64Range(-4, 6).Draw(rt, "log epsilon"))
		delta := math.Exp(rapid.Float64Range(-30, -1).Draw(rt, "log delta"))
		order := float64(rapid.IntRange(firstFilterOrder, 2000).Draw(rt, "tenths")) / 10
		limit := FilterLimit(epsilon, delta, order)
		at := func(sum float64) float64 {
			e, _ := convert([]float64{order}, curve{sum}, delta)
			return e
		}
		if limit > 0 && at(limit) > epsilon {
			rt.Fatalf("the limit %v of order %v gives ε %v of %v", limit, order, at(limit), epsilon)
		}
		if more := limit + 1e-6*(1+epsilon+math.Abs(math.Log(delta*order))/(order-1)); at(more) <= epsilon && at(more) > 0 {
			rt.Fatalf("the limit %v of order %v could be %v", limit, order, more)
		}
	})
}

// At the chosen order, runs that cost up to 0.7 of ε by themselves use at most
// three tenths more of the filter than at the order that is best for them.
//
// Tried: the order that is best without sampling, and three quarters of the
// chosen one.
func TestFilterOrderSuitsTypicalRuns(t *testing.T) {
	for _, budget := range []struct{ epsilon, delta float64 }{{1, 1e-5}, {10, 1e-5}} {
		chosen := FilterOrder(budget.epsilon, budget.delta)
		for _, run := range []struct {
			q     float64
			steps int
		}{{0.0256, 203}, {0.001, 20000}, {1, 10}} {
			for _, part := range []float64{0.25, 0.7} {
				sigma, err := Calibrate(part*budget.epsilon, budget.delta, run.q, run.steps, nil, AddRemove)
				if err != nil {
					t.Fatal(err)
				}
				used := func(tenths int) float64 {
					order := float64(tenths) / 10
					return float64(run.steps) * Divergence(run.q, sigma, order, AddRemove) / FilterLimit(budget.epsilon, budget.delta, order)
				}
				best := math.Inf(1)
				for tenths := firstFilterOrder; tenths < 2*chosen; tenths += 2 {
					if u := used(tenths); u > 0 && u < best {
						best = u
					}
				}
				if used(chosen) > 1.3*best || used(chosen) > 1 {
					t.Errorf("budget %+v, run %+v of %v ε: %.3f of the budget at order %.1f, %.3f at the best", budget, run, part, used(chosen), float64(chosen)/10, best)
				}
			}
		}
	}
}
