package cpu

import (
	"slices"
	"testing"
	"time"

	"github.com/dploda/dploda/internal/device"
)

// TestProfile: every step's time goes to its op, and to no other, and the
// results are those of a run that nobody times.
func TestProfile(t *testing.T) {
	l := netList(t, device.PerExample)
	plain, timed := readyStream(t, l), readyStream(t, l)
	if plain.OpTimes() != nil {
		t.Error("a stream that nobody asked has times")
	}
	var now time.Duration // every step takes one tick more than the step before
	ticks := time.Duration(0)
	timed.Profile(func() time.Duration {
		now += ticks
		ticks++
		return now
	})
	for _, s := range []*stream{plain, timed} {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(plain.gradient, timed.gradient) {
		t.Error("a profile changes the gradient")
	}
	want := make([]time.Duration, len(l.Ops))
	for i, op := range timed.executable.ops {
		want[op] += time.Duration(i + 1)
	}
	if got := timed.OpTimes(); !slices.Equal(got, want) {
		t.Errorf("times %v, want %v", got, want)
	}
}

// TestAlgorithms: what an executable says of its ops is at most the direct
// count, and is that where it calls an op direct.
func TestAlgorithms(t *testing.T) {
	l := netList(t, device.PerExample)
	e := readyStream(t, l).executable
	for i, op := range l.Ops {
		name, flops := e.Algorithm(i)
		direct := l.OpFLOPs(op)
		if flops > direct || name == device.Direct && flops != direct {
			t.Errorf("op %d, %T: %s takes %d operations, directly %d", i, op, name, flops, direct)
		}
	}
}
