package optim

import (
	"fmt"

	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// EMA is an exponential moving average of parameters. Update n (from 0) uses
// the decay min(Decay, (1+n)/(10+n)), so that a short run's average is not
// held back by the initial values.
type EMA struct {
	decay   float32
	updates float64 // a count; float64 so that it travels with the state's scalars
	average []float32
}

// NewEMA returns an average that starts at params (copied); decay is in [0, 1).
func NewEMA(params []float32, decay float32) (*EMA, error) {
	if !(decay >= 0 && decay < 1) {
		return nil, fmt.Errorf("the decay of an average must lie in [0, 1), but is %v", decay)
	}
	return &EMA{decay: decay, average: append([]float32(nil), params...)}, nil
}

// Update moves the average towards params.
func (e *EMA) Update(params []float32) error {
	if len(params) != len(e.average) {
		return fmt.Errorf("the average is of %d parameters, but got %d", len(e.average), len(params))
	}
	decay := min(e.decay, float32((1+e.updates)/(10+e.updates)))
	e.updates++
	kernel.Combine(e.average, decay, e.average, 1-decay, params)
	return nil
}

// Average returns the averaged parameters; the slice is the EMA's own.
func (e *EMA) Average() []float32 { return e.average }

// MarshalState returns the average and its counter, bit for bit.
func (e *EMA) MarshalState() ([]byte, error) {
	return encodeState(kindEMA, []float64{e.updates}, e.average), nil
}

// UnmarshalState restores what MarshalState of an average of the same length
// returned; on an error nothing changes.
func (e *EMA) UnmarshalState(state []byte) error {
	scalars := make([]float64, 1)
	if err := decodeState(state, kindEMA, scalars, e.average); err != nil {
		return err
	}
	e.updates = scalars[0]
	return nil
}
