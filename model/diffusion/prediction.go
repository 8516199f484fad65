package diffusion

import "fmt"

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
	for i := range dst {
		dst[i] = float32(a*clean[i]) + float32(s*noise[i])
	}
}

// Target fills dst with what the network should predict of clean and noise.
func (p Prediction) Target(dst, clean, noise []float32, a, s float32) {
	if p == Epsilon {
		copy(dst, noise)
		return
	}
	for i := range dst {
		dst[i] = float32(a*noise[i]) - float32(s*clean[i])
	}
}

// Clean fills dst with the x0 that a prediction at x implies.
func (p Prediction) Clean(dst, x, predicted []float32, a, s float32) {
	if p == Epsilon {
		for i := range dst {
			dst[i] = (x[i] - float32(s*predicted[i])) / a
		}
		return
	}
	for i := range dst {
		dst[i] = float32(a*x[i]) - float32(s*predicted[i])
	}
}

// Eps fills dst with the ε that a prediction at x implies.
func (p Prediction) Eps(dst, x, predicted []float32, a, s float32) {
	if p == Epsilon {
		copy(dst, predicted)
		return
	}
	for i := range dst {
		dst[i] = float32(s*x[i]) + float32(a*predicted[i])
	}
}
