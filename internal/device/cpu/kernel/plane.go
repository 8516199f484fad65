package kernel

import "unsafe"

// planeOp names a kernel on one plane of up to three tensors and some vectors
// of 16 lanes. The comments use d, x, y for pixels of dst, x and y and v0, v1…
// for the vectors.
type planeOp int

const (
	opCopy                planeOp = iota // d = x
	opCopyAround                         // d = x, past the caches
	opAddAround                          // d = x + y, past the caches
	opFill                               // d = v0
	opAdd                                // d = x + y
	opAxpy                               // d = fma(v0, x, d)
	opScale                              // d = x·v0
	opAddVector                          // d = x + v0
	opSiLU                               // d = x·sigmoid(x)
	opSiLUBackward                       // d = y·silu'(x)
	opSiLUBackwardAdd                    // d = d + y·silu'(x)
	opReLU                               // d = max(x, 0)
	opReLUBackward                       // d = x > 0 ? y : 0
	opReLUBackwardAdd                    // d = d + (x > 0 ? y : 0)
	opScaledDifference                   // d = (x - y)·v0
	opScaledDifferenceAdd                // d = fma(x - y, v0, d)
	opAffine                             // d = fma(x - v0, v1, v2)
	opAffineSiLU                         // d = silu(fma(x - v0, v1, v2))
	opNormBackward                       // d = fma(y, v1, fma(x - v0, v2, v3))
	opNormBackwardAdd                    // d = d + the above
	opSum                                // v0 += Σ x
	opSquares                            // v1 += Σ (x - v0)²
	opSquaredDifference                  // v0 += Σ (x - y)²
	opNormSums                           // v4 += Σ y, v5 += Σ y·(x - v0)·v3
	opNormSumsSiLU                       // d = y·silu'(fma(x - v0, v1, v2)), v4 += Σ d, v5 += Σ d·(x - v0)·v3
	opUpsample                           // 2x2 pixels of d = x
	opUpsampleBackward                   // d = (x00 + x01) + (x10 + x11) over 2x2 pixels of x
	opUpsampleBackwardAdd                // d = d + the above
	opMaxPool                            // d = max of 2x2 pixels of x
	opMaxPoolBackward                    // first pixel of d's 2x2 whose x is v's maximum += y
	opSoftmax                            // one row: d = e^(v0·(d - max)) / Σ
	opSoftmaxBackward                    // one row: d = x·(d - Σ x·d)·v0
	planeOps
)

// planeArgs are the arguments of a kernel on one plane. Strides between rows
// are in floats. The assembly reads this struct by its field offsets.
type planeArgs struct {
	dst, x, y        *float32
	dRow, xRow, yRow int
	rows, cols       int
	v                *float32 // vectors of 16 lanes
}

// callPixels bounds the pixels of one elementwise kernel call, for assembly
// cannot be preempted. Where a register holds a part of the lanes, the parts of
// a call's pixels follow each other through the first-level cache.
func callPixels() int {
	if vectorLanes() < Lanes {
		return 128
	}
	return 8192
}

// walk runs an elementwise op over all planes of e. Buffers without halos are
// walked as fewer, longer planes.
func walk(op planeOp, e Extent, dst, x, y View, v *float32) {
	if e.empty() {
		return
	}
	if e.W*Lanes == dst.Row && (x.Data == nil || x.Row == dst.Row) && (y.Data == nil || y.Row == dst.Row) {
		e.W, e.H = e.W*e.H, 1
		if e.W*Lanes == dst.Chan && (x.Data == nil || x.Chan == dst.Chan) && (y.Data == nil || y.Chan == dst.Chan) {
			e.W, e.C = e.W*e.C, 1
		}
	}
	limit := callPixels()
	for c := range e.C {
		for col := 0; col < e.W; col += limit {
			n := min(limit, e.W-col)
			rows := max(1, limit/n)
			for r := 0; r < e.H; r += rows {
				runPlane(op, &planeArgs{
					dst: at(dst, c, r, col), x: at(x, c, r, col), y: at(y, c, r, col),
					dRow: dst.Row, xRow: x.Row, yRow: y.Row,
					rows: min(rows, e.H-r), cols: n, v: v,
				})
			}
		}
	}
}

// at returns the address of lane 0 of a pixel, nil for a view without data.
func at(v View, c, row, col int) *float32 {
	if v.Data == nil {
		return nil
	}
	return &v.Data[c*v.Chan+row*v.Row+col*Lanes]
}

// pixel returns the 16 lanes at an offset in floats.
func pixel(p *float32, off int) *[Lanes]float32 {
	return (*[Lanes]float32)(unsafe.Pointer(offset(p, off)))
}

// offset moves a pointer by floats.
func offset(p *float32, n int) *float32 { return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*n)) }
