package optim

import (
	"fmt"

	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// AdamConfig holds the settings of Adam (Kingma and Ba 2015).
type AdamConfig struct {
	Beta1, Beta2 float64 // decay of the first and second moment, in [0, 1)
	Eps          float32 // added to the root of the second moment
	// WeightDecay is decoupled from the gradient (AdamW, Loshchilov and Hutter
	// 2019); 0 is plain Adam.
	WeightDecay float32
	// NoiseVariance is the variance that the privacy noise adds to each
	// coordinate of the gradient, (σC/B)². It is subtracted from the
	// bias-corrected second moment, which is then kept above NoiseFloor (Tang,
	// Shpilevskiy, Lécuyer 2024, DP-AdamBC, algorithm 1). 0 is plain Adam.
	NoiseVariance float32
	NoiseFloor    float32 // lower limit of the second moment when NoiseVariance > 0
}

// DefaultAdam has the usual constants: 0.9, 0.999, 1e-8, no decay.
func DefaultAdam() AdamConfig { return AdamConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8} }

func (c AdamConfig) validate() error {
	switch {
	case !(c.Beta1 >= 0 && c.Beta1 < 1), !(c.Beta2 >= 0 && c.Beta2 < 1):
		return fmt.Errorf("the betas of Adam must lie in [0, 1), but are %v and %v", c.Beta1, c.Beta2)
	case !(c.Eps >= 0), !(c.WeightDecay >= 0), !(c.NoiseVariance >= 0):
		return fmt.Errorf("eps (%v), weight decay (%v) and noise variance (%v) of Adam must not be negative", c.Eps, c.WeightDecay, c.NoiseVariance)
	case c.NoiseVariance > 0 && !(c.NoiseFloor > 0):
		return fmt.Errorf("a noise variance of Adam needs a noise floor above 0, but it is %v", c.NoiseFloor)
	}
	return nil
}

// Adam is Adam, AdamW or DP-Adam with bias correction, by its settings.
type Adam struct {
	c      AdamConfig
	m, v   []float32 // first and second moment
	power1 float64   // Beta1^t and
	power2 float64   // Beta2^t after t steps, as running products
}

// NewAdam returns an optimizer of dim parameters whose moments are zero.
func NewAdam(dim int, c AdamConfig) (*Adam, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Adam{c: c, m: make([]float32, dim), v: make([]float32, dim), power1: 1, power2: 1}, nil
}

// SetNoise changes NoiseVariance and NoiseFloor for the following steps. They are
// no part of the state: who changes them does so again after a restart.
func (a *Adam) SetNoise(variance, floor float32) error {
	c := a.c
	c.NoiseVariance, c.NoiseFloor = variance, floor
	if err := c.validate(); err != nil {
		return err
	}
	a.c = c
	return nil
}

// Step implements Optimizer.
func (a *Adam) Step(params, grad []float32, lr float32) error {
	if err := checkLengths(len(a.m), params, grad); err != nil {
		return err
	}
	a.power1 = float64(a.power1 * a.c.Beta1)
	a.power2 = float64(a.power2 * a.c.Beta2)
	kernel.Adam(params, a.m, a.v, grad, kernel.AdamStep{
		Beta1: float32(a.c.Beta1), Rest1: float32(1 - a.c.Beta1),
		Beta2: float32(a.c.Beta2), Rest2: float32(1 - a.c.Beta2),
		Rate:       float32(float64(lr) / (1 - a.power1)),
		Correction: float32(1 - a.power2),
		Keep:       1 - float32(lr*a.c.WeightDecay),
		Eps:        a.c.Eps, NoiseVariance: a.c.NoiseVariance, NoiseFloor: a.c.NoiseFloor,
	})
	return nil
}

// MarshalState implements Optimizer.
func (a *Adam) MarshalState() ([]byte, error) {
	return encodeState(kindAdam, []float64{a.power1, a.power2}, a.m, a.v), nil
}

// UnmarshalState implements Optimizer.
func (a *Adam) UnmarshalState(state []byte) error {
	scalars := make([]float64, 2)
	if err := decodeState(state, kindAdam, scalars, a.m, a.v); err != nil {
		return err
	}
	a.power1, a.power2 = scalars[0], scalars[1]
	return nil
}
