package kernel

import "unsafe"

// Copy sets dst = x.
func Copy(e Extent, dst, x View) {
	check2(e, dst, x)
	walk(choose(around(e, dst), opCopyAround, opCopy), e, dst, x, View{}, nil)
}

// aroundBytes is the size from which a result is written past the caches: it
// does not fit the second level, and its old content need not be read first.
const aroundBytes = 1 << 20

// around reports whether a result is to be written past the caches, which
// takes aligned addresses.
func around(e Extent, dst View) bool {
	return !e.empty() && 4*e.C*e.H*e.W*Lanes >= aroundBytes && uintptr(unsafe.Pointer(&dst.Data[0]))%(4*Lanes) == 0 &&
		dst.Chan%Lanes == 0 && dst.Row%Lanes == 0
}

// Fill sets every element of dst to s.
func Fill(e Extent, dst View, s float32) {
	check1(e, dst)
	v := broadcast(s)
	walk(opFill, e, dst, View{}, View{}, &v[0])
}

// Add sets dst = x + y; dst may be x or y.
func Add(e Extent, dst, x, y View) {
	check3(e, dst, x, y)
	inPlace := !e.empty() && (&dst.Data[0] == &x.Data[0] || &dst.Data[0] == &y.Data[0])
	walk(choose(around(e, dst) && !inPlace, opAddAround, opAdd), e, dst, x, y, nil)
}

// Axpy sets dst = fma(s, x, dst).
func Axpy(e Extent, dst View, s float32, x View) {
	check2(e, dst, x)
	v := broadcast(s)
	walk(opAxpy, e, dst, x, View{}, &v[0])
}

// Scale sets dst = s·x; dst may be x.
func Scale(e Extent, dst View, s float32, x View) {
	check2(e, dst, x)
	v := broadcast(s)
	walk(opScale, e, dst, x, View{}, &v[0])
}

// AddChannels sets dst[c] = x[c] + v[c] at every pixel, where v[c*stride +
// lane] is a vector of channels per lane; dst may be x.
func AddChannels(e Extent, dst, x View, v []float32, stride int) {
	check2(e, dst, x)
	if e.empty() {
		return
	}
	checkLen("channel vector", len(v), (e.C-1)*stride+Lanes)
	for c := range e.C {
		walk(opAddVector, Extent{1, e.H, e.W}, dst.from(c), x.from(c), View{}, &v[c*stride])
	}
}

// SiLU sets dst = x·sigmoid(x) = x/(1+e^-x); dst may be x.
func SiLU(e Extent, dst, x View) {
	check2(e, dst, x)
	walk(opSiLU, e, dst, x, View{}, nil)
}

// SiLUBackward sets dx = dy·silu'(x), or adds it to dx; dx may be dy.
func SiLUBackward(e Extent, dx, dy, x View, accumulate bool) {
	check3(e, dx, x, dy)
	walk(choose(accumulate, opSiLUBackwardAdd, opSiLUBackward), e, dx, x, dy, nil)
}

// ReLU sets dst = max(x, 0), NaN where x is NaN; dst may be x.
func ReLU(e Extent, dst, x View) {
	check2(e, dst, x)
	walk(opReLU, e, dst, x, View{}, nil)
}

// ReLUBackward sets dx = dy where x > 0 and 0 elsewhere, or adds it to dx. x
// may be the input of ReLU or its output.
func ReLUBackward(e Extent, dx, dy, x View, accumulate bool) {
	check3(e, dx, x, dy)
	walk(choose(accumulate, opReLUBackwardAdd, opReLUBackward), e, dx, x, dy, nil)
}

// ScaledDifference sets dst = (x - y)·s[lane], or adds it to dst (then with one
// rounding fewer): the gradient of a squared error.
func ScaledDifference(e Extent, dst, x, y View, s []float32, accumulate bool) {
	check3(e, dst, x, y)
	checkLen("lane factors", len(s), Lanes)
	walk(choose(accumulate, opScaledDifferenceAdd, opScaledDifference), e, dst, x, y, &s[0])
}

// PlaneSums adds to sum[c*stride + lane] the sum of channel c of x over its
// pixels. Order: four chains, of the columns congruent modulo 4 in row-major
// order, from zero; then (s0+s1) + (s2+s3) is added to sum.
func PlaneSums(e Extent, sum []float32, stride int, x View) {
	if e.empty() {
		return
	}
	x.check("x", e)
	checkLen("channel sums", len(sum), (e.C-1)*stride+Lanes)
	for c := range e.C {
		reduce(opSum, e, View{}, x.from(c), View{}, &sum[c*stride])
	}
}

// SquaredDifference adds to sum[lane] Σ (x-y)², channel after channel in the
// order of [PlaneSums].
func SquaredDifference(e Extent, sum []float32, x, y View) {
	if e.empty() {
		return
	}
	check2(e, x, y)
	checkLen("lane sums", len(sum), Lanes)
	for c := range e.C {
		reduce(opSquaredDifference, e, View{}, x.from(c), y.from(c), &sum[0])
	}
}

// reduce runs a reducing op over one plane in one call, so that the order of
// its sums depends on the extent alone.
func reduce(op planeOp, e Extent, dst, x, y View, v *float32) {
	runPlane(op, &planeArgs{
		dst: at(dst, 0, 0, 0), x: at(x, 0, 0, 0), y: at(y, 0, 0, 0),
		dRow: dst.Row, xRow: x.Row, yRow: y.Row, rows: e.H, cols: e.W, v: v,
	})
}

// from returns the view of channel c and those after it.
func (v View) from(c int) View {
	if v.Data != nil {
		v.Data = v.Data[c*v.Chan:]
	}
	return v
}

func broadcast(s float32) (v [Lanes]float32) {
	fillLanes(&v, s)
	return v
}

func choose(cond bool, yes, no planeOp) planeOp {
	if cond {
		return yes
	}
	return no
}

func check1(e Extent, a View) {
	if !e.empty() {
		a.check("operand", e)
	}
}

func check2(e Extent, a, b View) {
	if e.empty() {
		return
	}
	a.check("first operand", e)
	b.check("second operand", e)
}

func check3(e Extent, dst, x, y View) {
	if e.empty() {
		return
	}
	dst.check("dst", e)
	x.check("second operand", e)
	y.check("third operand", e)
}
