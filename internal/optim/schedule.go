package optim

import (
	"fmt"
	"math"
)

// Schedule describes a learning rate over a run.
type Schedule struct {
	Shape  Shape
	Peak   float64 // the rate after warm-up
	Final  float64 // the rate at the last step; Constant ignores it
	WarmUp int     // steps of linear rise: step i < WarmUp has Peak·(i+1)/WarmUp
	Steps  int
}

// Shape is how a schedule falls from Peak to Final.
type Shape string

// The shapes.
const (
	Constant Shape = "constant"
	Linear   Shape = "linear"
	Cosine   Shape = "cosine"
)

// Table returns the rate of each step. Cosine needs a function whose last bit
// differs between architectures, so a run's table is made once, by its leader,
// and travels as bits.
func (s Schedule) Table() ([]float32, error) {
	if s.Steps < 1 || s.WarmUp < 0 || s.WarmUp > s.Steps || !(s.Peak > 0) || !(s.Final >= 0) {
		return nil, fmt.Errorf("a learning-rate schedule needs steps >= 1, 0 <= warm-up <= steps, peak > 0 and final >= 0, but has %d, %d, %v and %v", s.Steps, s.WarmUp, s.Peak, s.Final)
	}
	var fall func(u float64) float64 // from 1 at u=0 to 0 at u=1
	switch s.Shape {
	case Constant:
		fall = func(float64) float64 { return 1 }
	case Linear:
		fall = func(u float64) float64 { return 1 - u }
	case Cosine:
		fall = func(u float64) float64 { return (1 + math.Cos(math.Pi*u)) / 2 }
	default:
		return nil, fmt.Errorf("unknown learning-rate schedule %q: use constant, linear or cosine", s.Shape)
	}
	table := make([]float32, s.Steps)
	for i := range table {
		if i < s.WarmUp {
			table[i] = float32(s.Peak * float64(i+1) / float64(s.WarmUp))
			continue
		}
		u := float64(i-s.WarmUp) / float64(max(s.Steps-1-s.WarmUp, 1))
		table[i] = float32(s.Final + float64((s.Peak-s.Final)*fall(u)))
	}
	return table, nil
}
