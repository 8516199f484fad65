// Package optim updates flat float32 parameter vectors: Adam, SGD, an
// exponential moving average and learning-rate schedules.
//
// Replicas apply the same update to the same released sum and must stay equal
// bit for bit on any architecture. So the loops are those of package kernel,
// which round every product before it is added and otherwise only add, subtract,
// divide and take square roots; powers are running products. State is marshalled
// as bits.
package optim

import (
	"fmt"
)

// Optimizer updates parameters in place.
type Optimizer interface {
	// Step moves params against grad at learning rate lr. The lengths must be
	// the dimension that the optimizer was made with; params are unchanged when
	// it returns an error.
	Step(params, grad []float32, lr float32) error
	// MarshalState returns all moments and counters, bit for bit.
	MarshalState() ([]byte, error)
	// UnmarshalState restores what MarshalState of an optimizer of the same
	// kind and dimension returned; on an error nothing changes.
	UnmarshalState(state []byte) error
}

func checkLengths(dim int, params, grad []float32) error {
	if len(params) != dim || len(grad) != dim {
		return fmt.Errorf("the optimizer was made for %d parameters, but got %d and a gradient of %d", dim, len(params), len(grad))
	}
	return nil
}
