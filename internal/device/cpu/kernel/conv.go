package kernel

import "fmt"

// ConvSpec describes one convolution, independent of weights and data. It is
// made once by [NewConvSpec] and then read-only.
type ConvSpec struct {
	cin, taps    int
	cout         int
	k            []int32 // offset of (channel, tap) relative to a pixel
	xPixel       []int32 // offset of each output pixel's tap origin in x
	dstPixel     []int32 // offset of each output pixel in dst
	dstChan      int
	xLen, dstLen int // floats that x and dst must hold
}

// ConvGeometry lists what [NewConvSpec] needs. X… describe the input buffer,
// Dst… the output buffer; both slices start at the beginning of the buffer,
// halo included.
//
// Output pixel (r, c) of channel o is dst[DstBase + o*DstChan + r*DstRow +
// c*DstPix + lane]. It reads x[XBase + i*XChan + r*XRow + c*XPix + Taps[t] +
// lane] for every input channel i and tap t. A stride of 2 is XRow and XPix of
// two rows and two pixels; a parity of the backward pass of such a convolution
// is DstRow and DstPix of two rows and pixels with the taps of that parity; a
// flatten-and-multiply is Rows = Cols = 1 with H·W taps.
type ConvGeometry struct {
	Cin, Cout        int
	Taps             []int32
	Rows, Cols       int
	XBase, XChan     int
	XRow, XPix       int
	DstBase, DstChan int
	DstRow, DstPix   int
}

// NewConvSpec precomputes the offsets of a convolution and the buffer sizes it
// needs. It panics on offsets before the start of a buffer.
func NewConvSpec(g ConvGeometry) *ConvSpec {
	s := &ConvSpec{cin: g.Cin, cout: g.Cout, taps: len(g.Taps), dstChan: g.DstChan}
	var kMin, kMax, xMin, xMax, dMin, dMax int
	for i := range g.Cin {
		for _, t := range g.Taps {
			off := i*g.XChan + int(t)
			kMin, kMax = min(kMin, off), max(kMax, off)
			s.k = append(s.k, checkedInt32(off))
		}
	}
	xMin, dMin = g.XBase, g.DstBase
	for r := range g.Rows {
		for c := range g.Cols {
			x, d := g.XBase+r*g.XRow+c*g.XPix, g.DstBase+r*g.DstRow+c*g.DstPix
			xMin, xMax = min(xMin, x), max(xMax, x)
			dMin, dMax = min(dMin, d), max(dMax, d)
			s.xPixel = append(s.xPixel, checkedInt32(x))
			s.dstPixel = append(s.dstPixel, checkedInt32(d))
		}
	}
	if xMin+kMin < 0 || dMin < 0 || g.DstChan < 0 {
		panic(fmt.Sprintf("kernel: convolution reads or writes before its buffer: %+v", g))
	}
	s.xLen = xMax + kMax + Lanes
	s.dstLen = dMax + (g.Cout-1)*g.DstChan + Lanes
	return s
}

func checkedInt32(n int) int32 {
	if int(int32(n)) != n {
		panic(fmt.Sprintf("kernel: offset %d does not fit 32 bits", n))
	}
	return int32(n)
}

// PackedLen is the length of packed weights.
func PackedLen(cout, cin, taps int) int { return cout * cin * taps }

// PackConv reorders weights for [Conv] into dst: tiles of 8, then at most one
// each of 4, 2 and 1 output channels; within a tile [cin][taps][tile].
//
// w is in PyTorch's order with kernel positions last: [cout][cin][kernel], or
// [cin][cout][kernel] if transposed, as the backward pass by data needs it.
// taps lists the kernel position of each tap of the ConvSpec, so that flips
// and parities are orders and subsets of taps.
func PackConv(dst, w []float32, cout, cin int, taps []int32, kernel int, transposed bool) {
	checkLen("packed weights", len(dst), PackedLen(cout, cin, len(taps)))
	checkLen("weights", len(w), cout*cin*kernel)
	n := 0
	eachTile(cout, func(o, size int) {
		for i := range cin {
			for _, t := range taps {
				for j := o; j < o+size; j++ {
					from := j*cin + i
					if transposed {
						from = i*cout + j
					}
					dst[n] = w[from*kernel+int(t)]
					n++
				}
			}
		}
	})
}

// eachTile cuts n output channels into tiles of 8 and a remainder of 4, 2, 1.
func eachTile(n int, f func(start, size int)) {
	start := 0
	for _, size := range [...]int{8, 4, 2, 1} {
		for n-start >= size {
			f(start, size)
			start += size
		}
	}
}

// Conv computes, for every output channel o and pixel p of s,
//
//	dst[o][p] = fma(x[k][p], w[o][k], …) over k = (channel, tap) ascending,
//
// one chain that starts from bias[o], from 0 if bias is nil, or from dst if
// accumulate is set (bias must then be nil). w comes from [PackConv]; x and dst
// start at the beginning of their buffers and must not overlap.
func Conv(dst, x, w, bias []float32, s *ConvSpec, accumulate bool) {
	if s.cout == 0 || len(s.xPixel) == 0 {
		return
	}
	checkLen("convolution input", len(x), s.xLen)
	checkLen("convolution output", len(dst), s.dstLen)
	checkLen("packed weights", len(w), s.cout*len(s.k))
	if bias != nil {
		checkLen("bias", len(bias), s.cout)
		if accumulate {
			panic("kernel: a convolution starts from its bias or from dst, not from both")
		}
	}
	// A block of pixels stays in the second-level cache for all output
	// channels, and bounds the time of one kernel call.
	block := max(12, 16384/max(1, len(s.k))*3)
	for p := 0; p < len(s.xPixel); p += block {
		n := min(block, len(s.xPixel)-p)
		eachTile(s.cout, func(o, size int) {
			t := convTile{
				dst: dst[o*s.dstChan:], x: x, w: w[o*len(s.k):], k: s.k,
				xPixel: s.xPixel[p : p+n], dstPixel: s.dstPixel[p : p+n],
				dstChan: s.dstChan, accumulate: accumulate,
			}
			if bias != nil {
				t.bias = bias[o : o+size]
			}
			t.run(size)
		})
	}
}

// convTile is the work of one kernel call: a tile of output channels at a
// block of pixels.
type convTile struct {
	dst, x, w, bias     []float32
	k, xPixel, dstPixel []int32
	dstChan             int
	accumulate          bool
}

func (t *convTile) portable(size int) {
	var acc [8][Lanes]float32
	var weight [Lanes]float32
	for p, xp := range t.xPixel {
		d := t.dst[t.dstPixel[p]:]
		for o := range size {
			switch {
			case t.accumulate:
				copy(acc[o][:], d[o*t.dstChan:])
			case t.bias != nil:
				fillLanes(&acc[o], t.bias[o])
			default:
				acc[o] = [Lanes]float32{}
			}
		}
		w := t.w
		for _, k := range t.k {
			x := (*[Lanes]float32)(t.x[xp+k:])
			for o := range size {
				fillLanes(&weight, w[o])
				fmaLanes(&acc[o], x, &weight)
			}
			w = w[size:]
		}
		for o := range size {
			copy(d[o*t.dstChan:][:Lanes], acc[o][:])
		}
	}
}

func fillLanes(v *[Lanes]float32, s float32) {
	for l := range v {
		v[l] = s
	}
}
