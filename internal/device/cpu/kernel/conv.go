package kernel

import "fmt"

// ConvSpec describes one convolution, independent of weights and data. It is
// made once by [NewConvSpec] and then read-only.
type ConvSpec struct {
	cout         int
	k            []int32        // offset of (channel, tap) relative to a pixel
	places       map[int]places // by the lanes of a place
	pixels       int
	whole        blocking // for registers of a pixel
	halves       blocking // for registers of less
	dstChan      int
	xLen, dstLen int // floats that x and dst must hold
}

// places lists the output pixels in the parts that a vector register holds:
// offsets of each part's tap origin in x and of the part in dst.
type places struct{ x, dst []int32 }

// split cuts each of the places into parts of fewer lanes.
func (p places) split(lanes int) (parts places) {
	for i := range p.x {
		for l := int32(0); l < Lanes; l += int32(lanes) {
			parts.x, parts.dst = append(parts.x, p.x[i]+l), append(parts.dst, p.dst[i]+l)
		}
	}
	return parts
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
	s := &ConvSpec{cout: g.Cout, pixels: g.Rows * g.Cols, dstChan: g.DstChan, places: map[int]places{}}
	var pixels places
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
			pixels.x, pixels.dst = append(pixels.x, checkedInt32(x)), append(pixels.dst, checkedInt32(d))
		}
	}
	if xMin+kMin < 0 || dMin < 0 || g.DstChan < 0 {
		panic(fmt.Sprintf("kernel: convolution reads or writes before its buffer: %+v", g))
	}
	s.xLen = xMax + kMax + Lanes
	s.dstLen = dMax + (g.Cout-1)*g.DstChan + Lanes
	for _, lanes := range placeLanes {
		s.places[lanes] = pixels.split(lanes)
	}
	s.chooseBlocking(pixels.x, g.Taps, g.Cin)
	return s
}

// blocking says how many pixels, and of them how many elements of k, run
// through all output channels together.
type blocking struct{ pixels, k int }

// narrowOutputs is the number of output channels below which reading a block
// again costs less than small blocks do.
const narrowOutputs = 32

// chooseBlocking keeps the inputs of a block in the first-level cache if those
// of 3 pixels fit. If they do not, whole registers do well from the second-level
// cache; half registers load twice as often and cut k.
func (s *ConvSpec) chooseBlocking(x, taps []int32, cin int) {
	const firstLevel = 20 << 10 // bytes; the rest of 32 KiB is for weights and sums
	s.whole = blocking{pixels: max(12, 16384/max(1, len(s.k))*3), k: max(1, len(s.k))}
	s.halves = s.whole
	if s.cout < narrowOutputs || len(s.k) == 0 {
		return
	}
	lines := map[int32]bool{}
	for _, p := range x[:min(3, len(x))] {
		for _, t := range taps {
			lines[(p+t)/Lanes] = true
		}
	}
	channel := 4 * Lanes * max(1, len(lines))
	if fit := firstLevel / (channel * cin); fit > 0 {
		s.whole.pixels = 3 * fit
		s.halves = s.whole
		return
	}
	s.halves = blocking{pixels: 3, k: max(1, firstLevel/channel) * len(taps)}
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
	if s.cout == 0 || s.pixels == 0 {
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
	places, block := s.places[vectorLanes()], s.whole
	parts := len(places.x) / s.pixels // of a pixel
	if parts > 1 {
		block = s.halves
	}
	for p := 0; p < s.pixels; p += block.pixels {
		from, to := p*parts, min(p+block.pixels, s.pixels)*parts
		for k := 0; k == 0 || k < len(s.k); k += block.k {
			t := convTile{
				x: x, k: s.k[k:min(k+block.k, len(s.k))], kAll: len(s.k),
				xPlace: places.x[from:to], dstPlace: places.dst[from:to],
				dstChan: s.dstChan, accumulate: accumulate || k > 0,
			}
			eachGroup(s.cout, maxConv/max(1, block.pixels*block.k), func(o, size, groups int) {
				t.dst, t.w = dst[o*s.dstChan:], w[o*len(s.k)+k*size:]
				if bias != nil && k == 0 {
					t.bias = bias[o : o+size*groups]
				}
				t.run(size, groups)
			})
		}
	}
}

// maxConv bounds the multiply-adds of 16 lanes in one kernel call, for assembly
// cannot be preempted.
const maxConv = 400000

// eachGroup joins the tiles of one size of [eachTile] to groups of at most
// limit output channels, or of one tile.
func eachGroup(n, limit int, f func(start, size, tiles int)) {
	start := 0
	for _, size := range [...]int{8, 4, 2, 1} {
		for n-start >= size {
			tiles := min((n-start)/size, max(1, limit/size))
			f(start, size, tiles)
			start += tiles * size
		}
	}
}

// convTile is the work of one kernel call: adjacent tiles of output channels at
// a block of places.
type convTile struct {
	dst, x, w, bias     []float32
	k, xPlace, dstPlace []int32
	dstChan             int
	kAll                int // length of all blocks of k
	accumulate          bool
}

func (t *convTile) portable(size, tiles int) {
	for range tiles {
		t.portableTile(size)
		t.dst, t.w = t.dst[min(len(t.dst), size*t.dstChan):], t.w[min(len(t.w), size*t.kAll):]
		if t.bias != nil {
			t.bias = t.bias[size:]
		}
	}
}

func (t *convTile) portableTile(size int) {
	var acc [8][Lanes]float32
	var weight [Lanes]float32
	for p, xp := range t.xPlace {
		d := t.dst[t.dstPlace[p]:]
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
