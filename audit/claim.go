package audit

import (
	"math"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/plan"
	"gonum.org/v1/gonum/stat/distuv"
)

// claimed is the ε that the accountant claims at δ for the planned steps of m.
func claimed(m plan.Mechanism, delta float64) (float64, error) {
	if m.Everyone {
		return gaussianEpsilon(math.Sqrt(float64(m.Steps))/m.NoiseMultiplier(), delta), nil
	}
	epsilon, _, err := account.RDPEpsilon([]account.Event{{SampleRate: m.SampleRate(), NoiseMultiplier: m.NoiseMultiplier(), Steps: m.Steps}}, delta)
	return epsilon, err
}

// gaussianEpsilon returns ε at δ of N(0, 1) against N(mu, 1) (Balle, Wang 2018,
// arXiv 1805.06530, Theorem 8).
func gaussianEpsilon(mu, delta float64) float64 {
	return bisect(0, 1000, func(e float64) bool {
		n := distuv.UnitNormal
		return n.CDF(mu/2-e/mu)-math.Exp(e)*n.CDF(-mu/2-e/mu) > delta
	})
}
