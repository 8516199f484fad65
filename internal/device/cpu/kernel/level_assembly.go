//go:build amd64 || arm64

package kernel

import "unsafe"

// productArgs are the arguments of a lane product kernel, strides in bytes.
// aSkip and bSkip lead from the end of a row to the next. The assembly of amd64
// counts rows down.
type productArgs struct {
	dst, a, b        *float32
	aOffset, bOffset *int32
	dstO, dstT       *int32
	rows, cols       int
	aPix, bPix       int
	aSkip, bSkip     int
	accumulate       int
}

// joined returns the plane of s as one row where its rows allow it.
func (s *ProductSpec) joined() ProductSpec {
	p := *s
	if p.Cols == 1 {
		p.APix, p.BPix = p.ARow, p.BRow
	}
	if p.Rows == 1 || p.Cols == 1 || p.ARow == p.Cols*p.APix && p.BRow == p.Cols*p.BPix {
		p.Rows, p.Cols = 1, p.Rows*p.Cols
		p.ARow, p.BRow = p.Cols*p.APix, p.Cols*p.BPix
	}
	return p
}

// maxProductBlock is the number of pixels of a block whose factors mostly stay
// in the first-level cache.
const maxProductBlock = 80

// eachBlock cuts the plane into blocks, for registers of less than a pixel,
// which read the factors several times.
func (p ProductSpec) eachBlock(f func(block ProductSpec, aOff, bOff int)) {
	switch {
	case vectorLanes() == Lanes:
		f(p, 0, 0)
	case p.Rows == 1:
		eachPart(p.Cols, maxProductBlock, func(c, n int) {
			block := p
			block.Cols = n
			f(block, c*p.APix, c*p.BPix)
		})
	default:
		eachPart(p.Rows, max(1, maxProductBlock/p.Cols), func(r, n int) {
			block := p
			block.Rows = n
			f(block, r*p.ARow, r*p.BRow)
		})
	}
}

// eachPart cuts n into the fewest parts of at most limit, as equal as possible.
func eachPart(n, limit int, f func(start, size int)) {
	parts := (n + limit - 1) / limit
	start := 0
	for p := range parts {
		size := (n - start + parts - p - 1) / (parts - p)
		f(start, size)
		start += size
	}
}

// gradientArgs are the arguments of the kernels on n coordinates of per-example
// gradients g.
type gradientArgs struct {
	dst   unsafe.Pointer
	g     *float32
	n     int
	scale *[Lanes]float64
	mask  *[Lanes]int32
}
