//go:build amd64 || arm64

package kernel

// peakArgs are the arguments of the benchmarks' loops.
type peakArgs struct{ iterations int }

// peakLoop is an assembly loop that adds twice to each of so many sums.
func peakLoop(sums int, run func(*peakArgs)) PeakLoop {
	return PeakLoop{FLOPs: 2 * 2 * sums, Run: func(iterations int) { run(&peakArgs{iterations}) }}
}
