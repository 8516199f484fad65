package diffusion

import (
	"fmt"

	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// Prediction is what the network predicts, named as diffusers' prediction_type.
type Prediction string

// The predictions. With x = a·x0 + s·ε, a² + s² = 1:
const (
	Epsilon Prediction = "epsilon"
	// Velocity is v = a·ε - s·x0 (Salimans and Ho 2022, appendix D).
	Velocity Prediction = "v_prediction"
)

// Validate refuses anything but the two predictions.
func (p Prediction) Validate() error {
	if p != Epsilon && p != Velocity {
		return fmt.Errorf("unknown prediction %q: use %s or %s", p, Epsilon, Velocity)
	}
	return nil
}

// AddNoise fills dst with x = a·clean + s·noise. All have the same length.
func AddNoise(dst, clean, noise []float32, a, s float32) {
	kernel.Combine(dst, a, clean, s, noise)
}

// Target fills dst with what the network should predict of clean and noise.
func (p Prediction) Target(dst, clean, noise []float32, a, s float32) {
	if p == Epsilon {
		copy(dst, noise)
		return
	}
	kernel.Combine(dst, a, noise, -s, clean)
}

// Clean fills dst with the x0 that a prediction at x implies.
func (p Prediction) Clean(dst, x, predicted []float32, a, s float32) {
	if p == Epsilon {
		kernel.DivideDifference(dst, x, s, predicted, a)
		return
	}
	kernel.Combine(dst, a, x, -s, predicted)
}

// Eps fills dst with the ε that a prediction at x implies.
func (p Prediction) Eps(dst, x, predicted []float32, a, s float32) {
	if p == Epsilon {
		copy(dst, predicted)
		return
	}
	kernel.Combine(dst, s, x, a, predicted)
}
