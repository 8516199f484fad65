//go:build !amd64 && !arm64

package kernel

// PeakLoops returns loops of the level in use, which differ in how many sums
// they keep: the peak is that of the fastest.
func PeakLoops() []PeakLoop { return portablePeaks }

// RegisterLanes is how many float32 a register of the level in use holds, 0
// where that is no one's limit: in portable Go.
func RegisterLanes() int { return 0 }

// Chain runs a chain of additions of 64 cycles an iteration, to measure the
// clock by. It returns false where the processor's instructions are not
// known.
func Chain(int) bool { return false }
