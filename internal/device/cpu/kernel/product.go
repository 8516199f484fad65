package kernel

import "fmt"

// ProductSpec describes a product of two lane buffers summed over a plane:
//
//	dst[DstO[o]+DstT[t]] (+)= Σ_y Σ_x a[A[o] + y*ARow + x*APix] · b[B[t] + y*BRow + x*BPix]
//
// in each lane. With a the gradient of an output and b the input, o an output
// channel, t a (channel, tap), it is the per-example gradient of convolution
// weights; with rows and columns running over channels it is q·k of attention;
// over tokens it is the weighted sum of values.
type ProductSpec struct {
	A, DstO    []int32 // one entry for each o
	B, DstT    []int32 // one entry for each t
	Rows, Cols int
	ARow, APix int
	BRow, BPix int
}

// LaneProduct computes s for every o and t: one chain of fused multiply-adds in
// row-major order of (y, x), from 0 or, with accumulate, from dst. dst must
// not overlap a or b.
func LaneProduct(dst, a, b []float32, s *ProductSpec, accumulate bool) {
	if len(s.A) == 0 || len(s.B) == 0 {
		return
	}
	s.check(len(dst), len(a), len(b))
	s.run(dst, a, b, accumulate)
}

func (s *ProductSpec) check(dst, a, b int) {
	if len(s.A) != len(s.DstO) || len(s.B) != len(s.DstT) {
		panic(fmt.Sprintf("kernel: product tables disagree: %d and %d rows, %d and %d columns",
			len(s.A), len(s.DstO), len(s.B), len(s.DstT)))
	}
	if s.Rows < 0 || s.Cols < 0 || s.ARow < 0 || s.APix < 0 || s.BRow < 0 || s.BPix < 0 {
		panic("kernel: product with a negative size or stride")
	}
	oLow, oHigh := extremes(s.DstO)
	tLow, tHigh := extremes(s.DstT)
	checkRange("product result", dst, oLow+tLow, oHigh+tHigh)
	if s.Rows == 0 || s.Cols == 0 {
		return
	}
	low, high := extremes(s.A)
	checkRange("left factor", a, low, high+(s.Rows-1)*s.ARow+(s.Cols-1)*s.APix)
	low, high = extremes(s.B)
	checkRange("right factor", b, low, high+(s.Rows-1)*s.BRow+(s.Cols-1)*s.BPix)
}

// checkRange panics unless groups of lanes at offsets low to high lie within n.
func checkRange(name string, n, low, high int) {
	if low < 0 || high+Lanes > n {
		panic(fmt.Sprintf("kernel: %s holds %d floats, offsets run from %d to %d", name, n, low, high+Lanes))
	}
}

func extremes(v []int32) (low, high int) {
	low, high = int(v[0]), int(v[0])
	for _, n := range v {
		low, high = min(low, int(n)), max(high, int(n))
	}
	return low, high
}

func (s *ProductSpec) portable(dst, a, b []float32, accumulate bool) {
	for o := range s.A {
		for t := range s.B {
			d := (*[Lanes]float32)(dst[s.DstO[o]+s.DstT[t]:])
			var acc [Lanes]float32
			if accumulate {
				acc = *d
			}
			for y := range s.Rows {
				for x := range s.Cols {
					av := (*[Lanes]float32)(a[int(s.A[o])+y*s.ARow+x*s.APix:])
					bv := (*[Lanes]float32)(b[int(s.B[t])+y*s.BRow+x*s.BPix:])
					fmaLanes(&acc, av, bv)
				}
			}
			*d = acc
		}
	}
}
