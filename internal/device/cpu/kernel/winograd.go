package kernel

import "fmt"

// A 3x3 convolution of stride 1 by F(4x4, 3x3) of Winograd's minimal filtering
// (Lavin, Gray 2015, arXiv 1509.09308, section 4.3): with d a tile of 6x6 input
// pixels, g the weights of one pair of channels and y a tile of 4x4 output pixels,
//
//	y = Aᵀ[ Σ_channels (G g Gᵀ) ⊙ (Bᵀ d B) ]A,
//
// 36 multiply-adds for each pair of channels where the direct convolution takes
// 144. The sums over channels are products of matrices, one for each of the 36
// positions of the transformed tile.
const (
	winogradOut       = 4 // pixels of a tile's side
	winogradIn        = winogradOut + 2
	winogradPositions = winogradIn * winogradIn

	// winogradBlock tiles are transformed and multiplied together: enough for
	// the products' registers, few enough that the transforms of 64 channels
	// stay in a second-level cache of 1 MiB.
	winogradBlock = 2
)

// WinogradGeometry lists what [NewWinogradSpec] needs, in the terms of
// [ConvGeometry]: output pixel (r, c) of channel o is dst[DstBase + o*DstChan +
// r*DstRow + c*16 + lane] and reads the 3x3 pixels of every input channel from
// x[XBase + i*XChan + r*XRow + c*16] on.
type WinogradGeometry struct {
	Cin, Cout                int
	Rows, Cols               int
	XBase, XChan, XRow       int
	DstBase, DstChan, DstRow int
}

// WinogradSpec describes one convolution, independent of weights and data. It
// is made once by [NewWinogradSpec] and then read-only.
type WinogradSpec struct {
	WinogradGeometry
	tiles        []tile
	xLen, dstLen int // floats that x and dst must hold
}

// tile is a tile's place: offsets of its first pixel in channel 0 of x and dst,
// and how many of its rows and columns lie in the output.
type tile struct{ x, dst, rows, cols int }

// NewWinogradSpec precomputes the offsets of a convolution and the buffer sizes
// it needs. It panics on offsets before the start of a buffer.
func NewWinogradSpec(g WinogradGeometry) *WinogradSpec {
	if g.XBase < 0 || g.DstBase < 0 || min(g.XChan, g.XRow, g.DstChan, g.DstRow) < 0 {
		panic(fmt.Sprintf("kernel: convolution reads or writes before its buffer: %+v", g))
	}
	s := &WinogradSpec{WinogradGeometry: g}
	for r := 0; r < g.Rows; r += winogradOut {
		for c := 0; c < g.Cols; c += winogradOut {
			s.tiles = append(s.tiles, tile{
				x: g.XBase + r*g.XRow + c*Lanes, dst: g.DstBase + r*g.DstRow + c*Lanes,
				rows: min(winogradOut, g.Rows-r), cols: min(winogradOut, g.Cols-c),
			})
		}
	}
	s.xLen = g.XBase + (g.Cin-1)*g.XChan + (g.Rows+1)*g.XRow + (g.Cols+2)*Lanes
	s.dstLen = g.DstBase + (g.Cout-1)*g.DstChan + (g.Rows-1)*g.DstRow + g.Cols*Lanes
	return s
}

// inStep and outStep are the floats between the positions of transformed
// inputs and outputs. The odd number of lines keeps the positions of one pixel
// in different sets of the caches.
func (s *WinogradSpec) inStep() int  { return (s.Cin*winogradBlock | 1) * Lanes }
func (s *WinogradSpec) outStep() int { return (s.Cout*winogradBlock | 1) * Lanes }

// ScratchLen is the length of the scratch of [Winograd].
func (s *WinogradSpec) ScratchLen() int {
	return winogradPositions*(s.inStep()+s.outStep()) + winogradOut*Lanes
}

// Products is the number of multiply-adds of one example's products.
func (s *WinogradSpec) Products() int64 {
	return int64(len(s.tiles)) * winogradPositions * int64(s.Cin) * int64(s.Cout)
}

// WinogradPays reports whether a 3x3 convolution of stride 1 is faster by
// [Winograd] than by [Conv], the transforms of a tile costing about 200
// multiply-adds a channel. It is a function of the shape alone, for it decides
// about bits. Beyond 512 input channels the sums' error would pass 5e-6 of
// their root mean square.
func WinogradPays(cin, cout, rows, cols int) bool {
	tiles := ((rows + winogradOut - 1) / winogradOut) * ((cols + winogradOut - 1) / winogradOut)
	return cin <= 512 && tiles*(winogradPositions*cin*cout+200*cin+200*cout) < 9*rows*cols*cin*cout
}

// WinogradPackedLen is the length of weights packed by [PackWinograd].
func WinogradPackedLen(cout, cin int) int { return winogradPositions * PackedLen(cout, cin, 1) }

// Winograd computes what [Conv] does, by transforms: x, dst, bias and
// accumulate are as there, w comes from [PackWinograd] and scratch is
// overwritten. Each sum over input channels is one chain of fused multiply-adds
// from 0, the bias or dst is added last, and the transforms have the order of
// winogradInput and winogradOutput.
func Winograd(dst, x, w, bias, scratch []float32, s *WinogradSpec, accumulate bool) {
	if s.Cout == 0 || len(s.tiles) == 0 {
		return
	}
	checkLen("convolution input", len(x), s.xLen)
	checkLen("convolution output", len(dst), s.dstLen)
	checkLen("packed weights", len(w), WinogradPackedLen(s.Cout, s.Cin))
	checkLen("scratch", len(scratch), s.ScratchLen())
	if bias != nil {
		checkLen("bias", len(bias), s.Cout)
		if accumulate {
			panic("kernel: a convolution starts from its bias or from dst, not from both")
		}
	}
	in, rest := scratch[:winogradPositions*s.inStep()], scratch[winogradPositions*s.inStep():]
	out, spare := rest[:winogradPositions*s.outStep()], rest[winogradPositions*s.outStep():]
	for first := 0; first < len(s.tiles); first += winogradBlock {
		tiles := s.tiles[first:min(first+winogradBlock, len(s.tiles))]
		for i, t := range tiles {
			s.input(in[i*Lanes:], x, t)
		}
		s.products(out, in, w, len(tiles))
		for i, t := range tiles {
			s.output(dst, out[i*Lanes:], bias, spare, t, accumulate)
		}
	}
}

// winogradProductArgs are the arguments of the products of n tiles with the
// weights of groups of output channels. Steps are in bytes.
type winogradProductArgs struct {
	dst, x, w                         *float32
	k, groups, positions              int
	kStep, wStep                      int // between input channels
	dstChan, dstGroup                 int
	xPosition, dstPosition, wPosition int
}

// maxWinogradCall bounds the multiply-adds of one kernel call, for assembly
// cannot be preempted.
const maxWinogradCall = 1 << 18

// products sums over the input channels at every position.
func (s *WinogradSpec) products(out, in, w []float32, tiles int) {
	o := 0
	for _, size := range [...]int{8, 4, 2, 1} { // as in eachTile
		groups := (s.Cout - o) / size
		if groups == 0 {
			continue
		}
		a := winogradProductArgs{
			k: s.Cin, groups: groups, kStep: 4 * winogradBlock * Lanes, wStep: 4 * size,
			dstChan: 4 * winogradBlock * Lanes, dstGroup: 4 * size * winogradBlock * Lanes,
			xPosition: 4 * s.inStep(), dstPosition: 4 * s.outStep(), wPosition: 4 * s.Cout * s.Cin,
		}
		each := max(1, maxWinogradCall/(s.Cin*groups*size*tiles))
		for p := 0; p < winogradPositions; p += each {
			a.positions = min(each, winogradPositions-p)
			a.x, a.w = &in[p*s.inStep()], &w[p*s.Cout*s.Cin+o*s.Cin]
			a.dst = &out[p*s.outStep()+o*winogradBlock*Lanes]
			a.run(size, tiles)
		}
		o += groups * size
	}
}

// winogradInArgs are the arguments of an input transform: one tile in n
// channels. Steps are in bytes; the assembly advances dst.
type winogradInArgs struct {
	row      [winogradIn]*float32
	rowStep  [winogradIn]int // between channels
	dst      *float32
	dstStep  int // between channels
	position int // between positions of dst
	n        int
}

// winogradZeros stands for the rows of a tile below the input.
var winogradZeros [winogradIn * Lanes]float32

// input transforms one tile of all channels.
func (s *WinogradSpec) input(dst, x []float32, t tile) {
	a := winogradInArgs{dst: &dst[0], dstStep: 4 * winogradBlock * Lanes, position: 4 * s.inStep(), n: s.Cin}
	for i := range a.row {
		if i < t.rows+2 {
			a.row[i], a.rowStep[i] = &x[t.x+i*s.XRow], 4*s.XChan
		} else {
			a.row[i] = &winogradZeros[0]
		}
	}
	runWinogradInput(t.cols+2, &a)
}

// winogradOutArgs are the arguments of an output transform: one tile in n
// channels. Steps are in bytes; the assembly advances src, row and bias.
type winogradOutArgs struct {
	row      [winogradOut]*float32
	rowStep  [winogradOut]int // between channels
	src      *float32
	srcStep  int // between channels
	position int // between positions of src
	bias     *float32
	biasStep int
	n        int
}

// output transforms one tile of all channels back. The rows of the tile that
// lie below the output go to spare.
func (s *WinogradSpec) output(dst, src, bias, spare []float32, t tile, accumulate bool) {
	a := winogradOutArgs{src: &src[0], srcStep: 4 * winogradBlock * Lanes, position: 4 * s.outStep(), bias: &winogradZeros[0], n: s.Cout}
	if bias != nil {
		a.bias, a.biasStep = &bias[0], 4
	}
	for i := range a.row {
		if i < t.rows {
			a.row[i], a.rowStep[i] = &dst[t.dst+i*s.DstRow], 4*s.DstChan
		} else {
			a.row[i] = &spare[0]
		}
	}
	runWinogradOutput(t.cols, accumulate, &a)
}
