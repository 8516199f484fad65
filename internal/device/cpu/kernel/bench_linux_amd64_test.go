package kernel

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Rates are by the thread's CPU time, so that a busy machine shows in them only
// through its shared caches and memory.

func threadSeconds(b *testing.B) float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return float64(t.Nano()) * 1e-9
}

// peakFLOPS measures multiply-adds in registers on the level in use: the
// yardstick of the same run.
func peakFLOPS(b *testing.B) float64 {
	best := 0.0
	for range 5 {
		for _, loop := range PeakLoops() {
			const iterations = 50000
			start := threadSeconds(b)
			loop.Run(iterations)
			best = max(best, iterations*float64(loop.FLOPs)/(threadSeconds(b)-start))
		}
	}
	return best
}

// timed runs f and returns the thread's seconds for one call.
func timed(b *testing.B, f func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadSeconds(b)
	for b.Loop() {
		f()
	}
	return (threadSeconds(b) - start) / float64(b.N)
}

// benchFLOP reports the rate of f, of flop operations, and its share of the peak.
func benchFLOP(b *testing.B, flop float64, f func()) {
	rate := flop / timed(b, f)
	b.ReportMetric(rate/1e9, "GFLOP/s")
	b.ReportMetric(100*rate/peakFLOPS(b), "%peak")
}

// benchBytes reports the bytes that f reads and writes in a second.
func benchBytes(b *testing.B, bytes int, f func()) {
	b.ReportMetric(float64(bytes)/timed(b, f)/1e9, "GB/s")
}

func benchLevels(b *testing.B, f func(b *testing.B)) {
	for _, level := range fastLevels(b) {
		use(b, level)
		b.Run(level, f)
	}
}

func BenchmarkConv(b *testing.B) {
	for _, c := range []convCase{
		{cin: 32, cout: 32, kernel: 3, stride: 1, rows: 14, cols: 14},
		{cin: 64, cout: 64, kernel: 3, stride: 1, rows: 7, cols: 7},
		{cin: 64, cout: 64, kernel: 3, stride: 1, rows: 32, cols: 32},
		{cin: 64, cout: 8, kernel: 3, stride: 1, rows: 14, cols: 14},
		{cin: 8, cout: 64, kernel: 1, stride: 1, rows: 14, cols: 14},
		{cin: 64, cout: 4, kernel: 3, stride: 1, rows: 14, cols: 14},
		{cin: 64, cout: 64, kernel: 1, stride: 1, rows: 14, cols: 14},
		{cin: 64, cout: 64, kernel: 3, stride: 2, rows: 14, cols: 14},
		{cin: 256, cout: 64, kernel: 1, stride: 1, rows: 1, cols: 1},
	} {
		name := fmt.Sprintf("%dto%d_k%d_s%d_%dx%d", c.cin, c.cout, c.kernel, c.stride, c.rows, c.cols)
		b.Run(name, func(b *testing.B) {
			benchLevels(b, func(b *testing.B) {
				dst, x, w, _, s, taps := c.build(0, normal)
				packed := make([]float32, len(w))
				PackConv(packed, w, c.cout, c.cin, taps, len(taps), false)
				benchFLOP(b, 2*Lanes*float64(c.cout*c.cin*len(taps)*c.rows*c.cols), func() {
					Conv(dst.data, x.data, packed, nil, s, false)
				})
			})
		})
	}
}

func BenchmarkWeightGradient(b *testing.B) {
	for _, c := range []struct{ o, channels, size int }{
		{8, 32, 14}, {8, 64, 7}, {8, 64, 32}, {64, 8, 14}, {32, 32, 14}, {4, 64, 14},
	} {
		b.Run(fmt.Sprintf("%dx%d_%d", c.o, c.channels, c.size), func(b *testing.B) {
			benchLevels(b, func(b *testing.B) {
				dst, _, left, right, s := weightGradient(c.o, c.channels, c.size, c.size, 1, 2, normal)
				benchFLOP(b, 2*Lanes*float64(c.o*c.channels*9*c.size*c.size), func() {
					LaneProduct(dst, left.data, right.data, s, true)
				})
			})
		})
	}
}

// BenchmarkPlane gives bytes read and written; compare with copy.
func BenchmarkPlane(b *testing.B) {
	for _, e := range []Extent{{32, 14, 14}, {64, 32, 32}} {
		for name, traffic := range map[string]int{"copy": 2, "add": 3, "silu": 2, "silu backward": 3,
			"group norm": 4, "group norm silu": 4, "plane sums": 1} {
			b.Run(fmt.Sprintf("%s/%dx%dx%d", name, e.C, e.H, e.W), func(b *testing.B) {
				benchLevels(b, func(b *testing.B) {
					for _, c := range planeCases {
						if c.name != name {
							continue
						}
						o := operands{
							dst: newBuffer(e, 1).random(1, normal), x: newBuffer(e, 1).random(2, normal),
							y: newBuffer(e, 1).random(3, normal), v: make([]float32, 100*Lanes), w: make([]float32, 100*Lanes),
						}
						benchBytes(b, 4*traffic*e.C*e.H*e.W*Lanes, func() { c.run(e, o) })
					}
				})
			})
		}
	}
}

func BenchmarkGroupNormBackward(b *testing.B) {
	e := Extent{64, 14, 14}
	benchLevels(b, func(b *testing.B) {
		n := GroupNorm{Extent: e, Groups: 8, Eps: 1e-5, SiLU: true}
		x, dy, dz, dx := newBuffer(e, 1).random(1, normal), newBuffer(e, 1).random(2, normal), newBuffer(e, 1), newBuffer(e, 1).random(3, normal)
		gamma, beta, stats := make([]float32, e.C), make([]float32, e.C), make([]float32, n.StatsLen())
		n.Forward(dz.view(), x.view(), gamma, beta, stats)
		benchBytes(b, 7*4*e.C*e.H*e.W*Lanes, func() {
			n.Backward(dx.view(), dz.view(), dy.view(), x.view(), gamma, beta, stats, nil, nil, true)
		})
	})
}

func BenchmarkSoftmax(b *testing.B) {
	benchLevels(b, func(b *testing.B) {
		s, _ := scores(49, 49, 1, normal)
		benchBytes(b, 8*len(s), func() { Softmax(s, 49, 49, 49*Lanes, 0.1) })
	})
}

func BenchmarkGradient(b *testing.B) {
	const n = 50000
	g, scale := laneGradients(n, 1, normal), laneScales(1)
	sum, norms, dst := make([]int32, n), make([]float64, Lanes), make([]float32, n)
	keep := [Lanes]bool{0: true, 5: true}
	for name, f := range map[string]func(){
		"sum lanes":     func() { SumLanes(dst, g) },
		"squared norms": func() { SquaredNorms(norms, g) },
		"quantize":      func() { Quantize(g, scale) },
		"accumulate":    func() { Accumulate(sum, g, scale, &keep) },
	} {
		b.Run(name, func(b *testing.B) {
			benchLevels(b, func(b *testing.B) {
				benchBytes(b, 4*n*Lanes, f)
			})
		})
	}
}

// BenchmarkWinograd gives the rate of the direct convolution that it replaces,
// which may pass the peak.
func BenchmarkWinograd(b *testing.B) {
	for _, c := range []convCase{
		{cin: 32, cout: 32, kernel: 3, stride: 1, rows: 14, cols: 14},
		{cin: 64, cout: 64, kernel: 3, stride: 1, rows: 7, cols: 7},
		{cin: 128, cout: 64, kernel: 3, stride: 1, rows: 7, cols: 7},
		{cin: 64, cout: 64, kernel: 3, stride: 1, rows: 32, cols: 32},
		{cin: 32, cout: 32, kernel: 3, stride: 1, rows: 28, cols: 28},
		{cin: 128, cout: 128, kernel: 3, stride: 1, rows: 16, cols: 16},
		{cin: 256, cout: 256, kernel: 3, stride: 1, rows: 8, cols: 8},
		{cin: 64, cout: 8, kernel: 3, stride: 1, rows: 14, cols: 14},
		{cin: 8, cout: 64, kernel: 3, stride: 1, rows: 14, cols: 14},
		{cin: 32, cout: 4, kernel: 3, stride: 1, rows: 14, cols: 14},
		{cin: 4, cout: 32, kernel: 3, stride: 1, rows: 14, cols: 14},
	} {
		b.Run(fmt.Sprintf("%dto%d_%dx%d", c.cin, c.cout, c.rows, c.cols), func(b *testing.B) {
			benchLevels(b, func(b *testing.B) {
				dst, x, w, _, _, _ := c.build(0, normal)
				s := NewWinogradSpec(WinogradGeometry{
					Cin: c.cin, Cout: c.cout, Rows: c.rows, Cols: c.cols, XChan: x.chanStride(), XRow: x.rowStride(),
					DstBase: dst.base(), DstChan: dst.chanStride(), DstRow: dst.rowStride(),
				})
				packed, scratch := make([]float32, WinogradPackedLen(c.cout, c.cin)), aligned(s.ScratchLen())
				PackWinograd(packed, w, c.cout, c.cin, false, false)
				benchFLOP(b, 2*Lanes*float64(c.cout*c.cin*9*c.rows*c.cols), func() {
					Winograd(dst.data, x.data, packed, nil, scratch, s, false)
				})
			})
		})
	}
}

// BenchmarkFlat includes the portable twins.
func BenchmarkFlat(b *testing.B) {
	fastLevels(b)
	for _, c := range flatCases {
		for _, n := range []int{784, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				for _, level := range Levels() {
					use(b, level)
					b.Run(level, func(b *testing.B) {
						v, _ := flatVectors(n, normal)
						b.ReportMetric(1e9*timed(b, func() { c.run(&v) })/float64(n), "ns/element")
					})
				}
			})
		}
	}
}

func BenchmarkPackWinograd(b *testing.B) {
	const ch = 64
	w, packed := make([]float32, ch*ch*9), make([]float32, WinogradPackedLen(ch, ch))
	b.ReportMetric(1e9*timed(b, func() { PackWinograd(packed, w, ch, ch, true, true) })/(ch*ch), "ns/kernel")
}
