package cpu

import (
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// stream is one goroutine's memory.
type stream struct {
	executable *executable
	weights    []float32 // shared
	arena      []float32
	gradient   []float32 // [P][16] per example, [P] summed
	scratch    []float32
	indexes    [][lanes]int
	profile    *profile // nil unless someone asked
}

func checkLane(lane int) error {
	if lane < 0 || lane >= lanes {
		return fmt.Errorf("cpu: lane %d is not in [0, %d)", lane, lanes)
	}
	return nil
}

// find returns a named input or output after checking the lane and the length
// of the data.
func find(kind string, m map[string]*layout, name string, lane, n int) (*layout, error) {
	l, ok := m[name]
	if !ok {
		return nil, fmt.Errorf("cpu: the op list has no %s %q", kind, name)
	}
	if n != l.Len() {
		return nil, fmt.Errorf("cpu: %s %q has %d values, not %d", kind, name, l.Len(), n)
	}
	return l, checkLane(lane)
}

func (s *stream) SetInput(name string, lane int, data []float32) error {
	l, err := find("input", s.executable.inputs, name, lane, len(data))
	if err != nil {
		return err
	}
	l.load(s, lane, data)
	return nil
}

func (s *stream) SetIndex(name string, lane int, row int) error {
	i, ok := s.executable.indexes[name]
	if !ok {
		return fmt.Errorf("cpu: the op list has no index %q", name)
	}
	if n := s.executable.list.Indexes[i].N; row < 0 || row >= n {
		return fmt.Errorf("cpu: index %q is not in [0, %d)", name, n)
	}
	if err := checkLane(lane); err != nil {
		return err
	}
	s.indexes[i][lane] = row
	return nil
}

func (s *stream) Run() error {
	if err := s.executable.checkParams(); err != nil {
		return err
	}
	if s.profile != nil {
		s.profile.run(s)
		return nil
	}
	for _, f := range s.executable.steps {
		f(s)
	}
	return nil
}

func (s *stream) Output(name string, lane int, dst []float32) error {
	l, err := find("output", s.executable.outputs, name, lane, len(dst))
	if err != nil {
		return err
	}
	l.store(s, lane, dst)
	return nil
}

// Poison fills with NaN all memory whose content a Run must not depend on.
func (s *stream) Poison() {
	nan := float32(math.NaN())
	for _, m := range [][]float32{s.arena[s.executable.persist:], s.scratch} {
		for i := range m {
			m[i] = nan
		}
	}
}

func (s *stream) ZeroGradient() { clear(s.gradient) }

// need refuses a method that the list's mode of gradient does not offer.
func (s *stream) need(mode device.GradMode, method string) error {
	if s.executable.list.Mode != mode {
		return fmt.Errorf("cpu: %s needs an op list of another mode of gradient", method)
	}
	return nil
}

// checkVector compares a caller's slice with the number of coordinates.
func (s *stream) checkVector(name string, n int) error {
	if want := s.executable.list.Trainable(); n != want {
		return fmt.Errorf("cpu: the %s has %d coordinates, the op list %d", name, n, want)
	}
	return nil
}

func (s *stream) Gradient(lane int, dst []float32) error {
	if err := s.need(device.PerExample, "Gradient"); err != nil {
		return err
	}
	if err := checkLane(lane); err != nil {
		return err
	}
	if err := s.checkVector("gradient", len(dst)); err != nil {
		return err
	}
	for i := range dst {
		dst[i] = s.gradient[i*lanes+lane]
	}
	return nil
}

func (s *stream) AddGradient(dst []float32) error {
	if err := s.need(device.Summed, "AddGradient"); err != nil {
		return err
	}
	if err := s.checkVector("gradient", len(dst)); err != nil {
		return err
	}
	for i, g := range s.gradient {
		dst[i] += g
	}
	return nil
}

func (s *stream) SquaredNorms(dst []float64) error {
	if err := s.need(device.PerExample, "SquaredNorms"); err != nil {
		return err
	}
	if len(dst) != lanes {
		return fmt.Errorf("cpu: %d norms for %d lanes", len(dst), lanes)
	}
	kernel.SquaredNorms(dst, s.gradient)
	return nil
}

func (s *stream) Accumulate(n int, scale []float64, limitSq uint64, sum []int32, kept []bool) error {
	if err := s.need(device.PerExample, "Accumulate"); err != nil {
		return err
	}
	if n < 0 || n > lanes || len(scale) < n || len(kept) < n {
		return fmt.Errorf("cpu: cannot accumulate %d lanes with %d factors and room for %d answers", n, len(scale), len(kept))
	}
	if err := s.checkVector("sum", len(sum)); err != nil {
		return err
	}
	var factor [lanes]float64
	copy(factor[:], scale[:n])
	q := kernel.Quantize(s.gradient, &factor)
	var keep [lanes]bool
	for l := range keep {
		keep[l] = l < n && factor[l] != 0 && q.Valid[l] && q.SquaredNorm[l] <= limitSq
	}
	kernel.Accumulate(sum, s.gradient, &factor, &keep)
	copy(kept[:n], keep[:])
	return nil
}
