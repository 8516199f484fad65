package audit

import (
	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/dp/plan"
)

// claimed is the ε that the accountant claims at δ for the planned steps of m.
func claimed(m plan.Mechanism, delta float64) (float64, error) {
	g, err := account.Epsilon([]account.Event{{SampleRate: m.SampleRate(), NoiseMultiplier: m.NoiseMultiplier(), Steps: m.Steps}}, delta, account.AddRemove)
	return g.Epsilon, err
}
