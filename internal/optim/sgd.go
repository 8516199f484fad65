package optim

import (
	"fmt"

	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// SGD is stochastic gradient descent with momentum, as in PyTorch without
// dampening: u = momentum·u + g, p -= lr·u.
type SGD struct {
	momentum float32
	u        []float32
}

// NewSGD returns an optimizer of dim parameters with momentum in [0, 1).
func NewSGD(dim int, momentum float32) (*SGD, error) {
	if !(momentum >= 0 && momentum < 1) {
		return nil, fmt.Errorf("the momentum of SGD must lie in [0, 1), but is %v", momentum)
	}
	return &SGD{momentum: momentum, u: make([]float32, dim)}, nil
}

// Step implements Optimizer.
func (s *SGD) Step(params, grad []float32, lr float32) error {
	if err := checkLengths(len(s.u), params, grad); err != nil {
		return err
	}
	kernel.Combine(s.u, s.momentum, s.u, 1, grad)
	kernel.AddScaled(params, -lr, s.u)
	return nil
}

// MarshalState implements Optimizer.
func (s *SGD) MarshalState() ([]byte, error) { return encodeState(kindSGD, nil, s.u), nil }

// UnmarshalState implements Optimizer.
func (s *SGD) UnmarshalState(state []byte) error { return decodeState(state, kindSGD, nil, s.u) }
