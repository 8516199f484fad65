package kernel

// A PeakLoop runs independent multiply-adds in registers: what no kernel of the
// level in use can exceed.
type PeakLoop struct {
	FLOPs int // of an iteration
	Run   func(iterations int)
}

// portablePeak is the peak loop of portable Go, whose multiply-add is a
// function of several instructions.
func portablePeak(iterations int) {
	var sums [4][Lanes]float32
	var x, y [Lanes]float32
	for range iterations {
		for i := range sums {
			fmaLanes(&sums[i], &x, &y)
		}
	}
}

var portablePeaks = []PeakLoop{{FLOPs: 2 * 4 * Lanes, Run: portablePeak}}
