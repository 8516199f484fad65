package pipeline

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/floatbits"
	"github.com/dploda/dploda/internal/optim"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/worker/task"
)

// adapterLearner turns the released sums of the fine-tuning phase into adapter
// weights: the mean gradient, one optimizer step, the moving average. The side
// coordinates go into the curve and, with adaptive clipping, into the next step's
// clipping norm.
type adapterLearner struct {
	mechanism plan.Mechanism // its ClipNorm is that of the step to come
	rates     []float32      // learning rate of each step
	weights   []float32      // flat trainable vector
	optimizer optim.Optimizer
	average   *optim.EMA
	centers   *prototype.Centers // nil without prototypes; they go out with the weights
	gradient  []float32          // scratch
	curve     curve
	adaptive  *adaptiveClip // nil: the clipping norm stays
}

// Apply implements coordinator.Learner.
func (l *adapterLearner) Apply(step uint64, noised []int32) error {
	if len(noised) != l.mechanism.Dim {
		return fmt.Errorf("a released sum has %d coordinates, the mechanism %d", len(noised), l.mechanism.Dim)
	}
	if step >= uint64(len(l.rates)) {
		return fmt.Errorf("step %d of %d", step, len(l.rates))
	}
	scale, square := l.mechanism.MeanScale(), 0.0
	for i, v := range noised[:len(l.gradient)] {
		g := float64(v) * scale
		l.gradient[i] = float32(g)
		square += float64(g * g)
	}
	l.curve.add(math.Sqrt(square), noised, l.mechanism)
	if l.adaptive != nil {
		if err := l.adaptive.correct(l.mechanism); err != nil {
			return err
		}
		l.mechanism.ClipNorm = l.adaptive.next(l.mechanism.ClipNorm, l.curve.clipped)
	}
	if err := l.optimizer.Step(l.weights, l.gradient, l.rates[step]); err != nil {
		return err
	}
	return l.average.Update(l.weights)
}

// Parameters implements coordinator.Learner: the clipping norm, the centres, the
// weights.
func (l *adapterLearner) Parameters() []byte {
	var centers []byte
	if l.centers != nil {
		centers, _ = l.centers.MarshalBinary() // never fails
	}
	return task.EncodeParameters(l.mechanism.ClipNorm, centers, l.weights)
}

// MarshalState implements coordinator.Learner.
func (l *adapterLearner) MarshalState() ([]byte, error) {
	moments, err := l.optimizer.MarshalState()
	if err != nil {
		return nil, err
	}
	average, err := l.average.MarshalState()
	if err != nil {
		return nil, err
	}
	out := appendSection(nil, floatbits.Append(nil, l.weights))
	out = appendSection(appendSection(out, moments), average)
	return appendSection(out, l.marshalScalars()), nil
}

// scalars are the state beside the vectors, in their order.
func (l *adapterLearner) scalars() []*float64 {
	s := append(l.curve.scalars(), &l.mechanism.ClipNorm)
	if l.adaptive != nil {
		s = append(s, &l.adaptive.noise, &l.adaptive.weight)
	}
	return s
}

func (l *adapterLearner) marshalScalars() []byte {
	var out []byte
	for _, v := range l.scalars() {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(*v))
	}
	return out
}

func (l *adapterLearner) unmarshalScalars(data []byte) error {
	into := l.scalars()
	if len(data) != 8*len(into) {
		return fmt.Errorf("%d bytes of scalars, not %d", len(data), 8*len(into))
	}
	for i, v := range into {
		*v = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return nil
}

// UnmarshalState implements coordinator.Learner.
func (l *adapterLearner) UnmarshalState(state []byte) error {
	sections, err := readSections(state, 4)
	if err != nil {
		return fmt.Errorf("checkpoint of the fine-tuning: %w", err)
	}
	if err := l.optimizer.UnmarshalState(sections[1]); err != nil {
		return err
	}
	if err := l.average.UnmarshalState(sections[2]); err != nil {
		return err
	}
	if err := l.unmarshalScalars(sections[3]); err != nil {
		return fmt.Errorf("checkpoint of the fine-tuning: %w", err)
	}
	return floatbits.Read(l.weights, sections[0])
}

// prototypeLearner turns the released sums of the prototypes phase into
// centres.
type prototypeLearner struct {
	mechanism plan.Mechanism
	centers   *prototype.Centers
}

// Apply implements coordinator.Learner. The sums stay sums: every example
// takes part, and counts divide them.
func (l *prototypeLearner) Apply(step uint64, noised []int32) error {
	if int(step) != l.centers.Round {
		return fmt.Errorf("prototypes are at round %d, not %d", l.centers.Round, step)
	}
	unit := l.mechanism.GridUnit()
	sums := make([]float64, len(noised))
	for i, v := range noised {
		sums[i] = float64(v) * unit
	}
	return l.centers.Update(sums, float64(l.mechanism.SigmaInt)*unit)
}

// Parameters implements coordinator.Learner.
func (l *prototypeLearner) Parameters() []byte {
	data, _ := l.centers.MarshalBinary() // never fails
	return data
}

// MarshalState implements coordinator.Learner.
func (l *prototypeLearner) MarshalState() ([]byte, error) { return l.centers.MarshalBinary() }

// UnmarshalState implements coordinator.Learner.
func (l *prototypeLearner) UnmarshalState(state []byte) error {
	return l.centers.UnmarshalBinary(state)
}

// appendSection appends a length and the bytes.
func appendSection(out, section []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(section))), section...)
}

// readSections splits n sections that fill data.
func readSections(data []byte, n int) ([][]byte, error) {
	sections := make([][]byte, n)
	for i := range sections {
		if len(data) < 4 {
			return nil, fmt.Errorf("section %d of %d is missing", i+1, n)
		}
		size := binary.LittleEndian.Uint32(data)
		data = data[4:]
		if uint64(size) > uint64(len(data)) {
			return nil, fmt.Errorf("section %d of %d is cut short", i+1, n)
		}
		sections[i], data = data[:size], data[size:]
	}
	if len(data) != 0 {
		return nil, fmt.Errorf("%d bytes after the last section", len(data))
	}
	return sections, nil
}
