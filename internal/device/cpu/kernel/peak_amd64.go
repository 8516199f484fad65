package kernel

// PeakLoops returns loops of the level in use, which differ in how many sums
// they keep: the peak is that of the fastest.
func PeakLoops() []PeakLoop {
	switch active {
	case avx512:
		return []PeakLoop{
			peakLoop(8*16, peak8AVX512), peakLoop(12*16, peak12AVX512),
			peakLoop(16*16, peak16AVX512), peakLoop(24*16, peak24AVX512),
		}
	case avx2:
		return []PeakLoop{
			peakLoop(8*8, peak8AVX2), peakLoop(10*8, peak10AVX2),
			peakLoop(12*8, peak12AVX2), peakLoop(14*8, peak14AVX2),
		}
	}
	return portablePeaks
}

// RegisterLanes is how many float32 a register of the level in use holds, 0
// where that is no one's limit: in portable Go.
func RegisterLanes() int {
	return [...]int{portable: 0, avx2: 8, avx512: 16}[active]
}

// Chain runs a chain of additions of 64 cycles an iteration, to measure the
// clock by. It returns false where the processor's instructions are not
// known.
func Chain(iterations int) bool {
	if bestLevel() == portable {
		return false
	}
	chainAVX2(&peakArgs{iterations})
	return true
}
