package optim

import (
	"math"
	"testing"
)

func TestScheduleTables(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Schedule
		want []float32
	}{
		{"constant", Schedule{Shape: Constant, Peak: 0.5, Steps: 3}, []float32{0.5, 0.5, 0.5}},
		{"linear to a tenth", Schedule{Shape: Linear, Peak: 1, Final: 0.1, Steps: 4}, []float32{1, 0.7, 0.4, 0.1}},
		{"cosine", Schedule{Shape: Cosine, Peak: 2, Steps: 5}, []float32{2, 1 + math.Sqrt2/2, 1, 1 - math.Sqrt2/2, 0}},
		{"warm-up", Schedule{Shape: Linear, Peak: 1, WarmUp: 4, Steps: 7}, []float32{0.25, 0.5, 0.75, 1, 1, 0.5, 0}},
		{"warm-up only", Schedule{Shape: Cosine, Peak: 1, WarmUp: 2, Steps: 2}, []float32{0.5, 1}},
		{"one step", Schedule{Shape: Linear, Peak: 1, Steps: 1}, []float32{1}},
	} {
		got, err := c.s.Table()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
			continue
		}
		checkNear(t, c.name, got, c.want)
	}
}

func TestImpossibleSchedulesAreRefused(t *testing.T) {
	good := Schedule{Shape: Cosine, Peak: 1, Steps: 10}
	for name, change := range map[string]func(*Schedule){
		"no steps":           func(s *Schedule) { s.Steps = 0 },
		"too long a warm-up": func(s *Schedule) { s.WarmUp = 11 },
		"negative warm-up":   func(s *Schedule) { s.WarmUp = -1 },
		"no peak":            func(s *Schedule) { s.Peak = 0 },
		"NaN peak":           func(s *Schedule) { s.Peak = math.NaN() },
		"negative end":       func(s *Schedule) { s.Final = -1 },
		"unknown shape":      func(s *Schedule) { s.Shape = "stairs" },
	} {
		s := good
		change(&s)
		if _, err := s.Table(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
