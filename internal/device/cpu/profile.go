package cpu

import (
	"slices"
	"time"

	"github.com/dploda/dploda/internal/device"
)

// profile is the time that a stream's ops have taken.
type profile struct {
	clock func() time.Duration
	times []time.Duration // by op
}

// run executes the list with a look at the clock after every step.
func (p *profile) run(s *stream) {
	last := p.clock()
	for i, f := range s.executable.steps {
		f(s)
		now := p.clock()
		p.times[s.executable.ops[i]] += now - last
		last = now
	}
}

// Profile implements [device.Profiler].
func (s *stream) Profile(clock func() time.Duration) {
	s.profile = &profile{clock, make([]time.Duration, len(s.executable.list.Ops))}
}

// OpTimes implements [device.Profiler].
func (s *stream) OpTimes() []time.Duration {
	if s.profile == nil {
		return nil
	}
	return slices.Clone(s.profile.times)
}

// winogradName names the algorithm of [kernel.Winograd].
const winogradName = "winograd F(4x4,3x3)"

// Algorithm implements [device.Arithmetic].
func (e *executable) Algorithm(position int) (string, int64) {
	if n := e.winograd[position]; n > 0 {
		return winogradName, n
	}
	return device.Direct, e.list.OpFLOPs(e.list.Ops[position])
}
