package kernel

// PeakLoops returns loops of the level in use, which differ in how many sums
// they keep: the peak is that of the fastest.
func PeakLoops() []PeakLoop {
	if active == portable {
		return portablePeaks
	}
	return []PeakLoop{
		peakLoop(8*neonLanes, peak8NEON), peakLoop(12*neonLanes, peak12NEON),
		peakLoop(16*neonLanes, peak16NEON), peakLoop(24*neonLanes, peak24NEON),
	}
}

// RegisterLanes is how many float32 a register of the level in use holds, 0
// where that is no one's limit: in portable Go.
func RegisterLanes() int { return [...]int{portable: 0, neon: neonLanes}[active] }

// Chain runs a chain of additions of 64 cycles an iteration, to measure the
// clock by. It returns false where the processor's instructions are not
// known.
func Chain(iterations int) bool {
	chainNEON(&peakArgs{iterations})
	return true
}
