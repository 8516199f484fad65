package bench

import (
	"time"

	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// A yardstick is what one thread can do, measured next to a row.
type yardstick struct {
	clock  float64 // cycles per second; 0 if it cannot be measured
	flops  float64 // multiply-adds in registers, two operations each, per second
	theory float64 // of flops at this clock; 0 if the clock is not known
	bytes  float64 // read and written by copy, per second; 0 if not measured
}

// yardstickTime is what one loop of a yardstick is measured for.
const yardstickTime = 2 * time.Millisecond

// registerPeak measures the clock and the peak loops, each a few times in turn,
// and keeps the fastest of each.
func registerPeak() yardstick {
	var y yardstick
	for range 4 {
		y.clock = max(y.clock, clockRate())
		for _, loop := range kernel.PeakLoops() {
			y.flops = max(y.flops, float64(loop.FLOPs)*rate(loop.Run))
		}
	}
	y.theory = theoreticalPeak(y.clock, kernel.RegisterLanes(), y.flops)
	return y
}

// clockRate is the cycles per second by a chain of additions, 0 where there is
// none.
func clockRate() float64 {
	const cycles = 64 // of an iteration
	if !kernel.Chain(1) {
		return 0
	}
	return cycles * rate(func(n int) { kernel.Chain(n) })
}

// rate is the iterations per second of a loop.
func rate(loop func(iterations int)) float64 {
	for n := 1024; ; n *= 2 {
		if t := elapsed(1, func() { loop(n) }); t >= yardstickTime {
			return float64(n) / t.Seconds()
		}
	}
}

// unitSlack is how far above a number of units the measured rate may lie by
// the clock's changes alone.
const unitSlack = 1.03

// theoreticalPeak is clock x lanes x 2 x units, where units are how many
// multiply-adds the processor begins in a cycle: the next of 1/2, 1, 2, 3, 4
// that is not below what was measured.
func theoreticalPeak(clock float64, lanes int, measured float64) float64 {
	one := clock * float64(lanes) * 2
	if one == 0 {
		return 0
	}
	for _, units := range []float64{0.5, 1, 2, 3} {
		if measured <= one*units*unitSlack {
			return one * units
		}
	}
	return 4 * one
}

// copyFloats is the size of each of the two buffers of the memory yardstick:
// far larger than any cache.
const copyFloats = 64 << 20

// A copier measures loops on two large buffers of its own.
type copier struct{ dst, src []float32 }

func newCopier() *copier {
	c := &copier{lanesOf(copyFloats, 0), lanesOf(copyFloats, 0)} // written: fresh pages share one page of zeros
	return c
}

// peak is the bytes read and written a second by the fastest of some copies. For
// a row that updates in place loops that do so count, too: what they write they
// have read, so that no line is fetched in vain, and copy is no bound.
func (c *copier) peak(inPlace bool) float64 {
	best := 0.0
	measure := func(buffers int, run func()) {
		t := elapsed(1, run)
		best = max(best, float64(buffers)*4*copyFloats/t.Seconds())
	}
	for range 6 {
		measure(2, func() { copy(c.dst, c.src) })
		if inPlace {
			measure(3, func() { kernel.AddScaled(c.dst, 0.5, c.src) })
			e := kernel.Extent{C: 1, H: 1, W: copyFloats / kernel.Lanes}
			v := kernel.View{Data: c.dst, Chan: copyFloats, Row: copyFloats}
			measure(2, func() { kernel.Scale(e, v, 0.5, v) })
		}
	}
	return best
}

// faster keeps the faster of two measurements of each yardstick.
func (y yardstick) faster(z yardstick) yardstick {
	return yardstick{max(y.clock, z.clock), max(y.flops, z.flops), max(y.theory, z.theory), max(y.bytes, z.bytes)}
}

// plus adds what two threads do at once; the clock is the slower one's.
func (y yardstick) plus(z yardstick) yardstick {
	return yardstick{min(y.clock, z.clock), y.flops + z.flops, y.theory + z.theory, y.bytes + z.bytes}
}

// registerPeaks is what n threads do at once in registers.
func registerPeaks(n int) (yardstick, error) {
	each := make([]yardstick, n)
	err := onThreads(n, func(i int) error {
		each[i] = registerPeak()
		return nil
	})
	return sum(each), err
}

func sum(each []yardstick) yardstick {
	total := each[0]
	for _, y := range each[1:] {
		total = total.plus(y)
	}
	return total
}
