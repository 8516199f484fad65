package kernel

// Upsample2x sets dst of extent {C, 2H, 2W} to the nearest pixels of x of
// extent e.
func Upsample2x(e Extent, dst, x View) {
	check1(e, x)
	check1(e.times2(), dst)
	eachPlane(opUpsample, e, dst, x, View{}, nil)
}

// Upsample2xBackward sets dx of extent e to (a+b) + (c+d) of the four pixels
// of dy that copy each of its pixels, or adds that to dx.
func Upsample2xBackward(e Extent, dx, dy View, accumulate bool) {
	check1(e, dx)
	check1(e.times2(), dy)
	eachPlane(choose(accumulate, opUpsampleBackwardAdd, opUpsampleBackward), e, dx, dy, View{}, nil)
}

// MaxPool2 sets dst of extent e to the maxima of 2x2 pixels of x at stride 2.
func MaxPool2(e Extent, dst, x View) {
	check1(e, dst)
	check1(e.times2(), x)
	eachPlane(opMaxPool, e, dst, x, View{}, nil)
}

// MaxPool2Backward adds dy of extent e to dx, at the first pixel in row-major
// order of each 2x2 pixels of x, the input of [MaxPool2], that holds the
// maximum.
func MaxPool2Backward(e Extent, dx, dy, x View) {
	check1(e.times2(), dx)
	check1(e.times2(), x)
	check1(e, dy)
	eachPlane(opMaxPoolBackward, e, dx, x, dy, nil)
}

// times2 keeps an empty extent empty.
func (e Extent) times2() Extent { return Extent{e.C, 2 * e.H, 2 * e.W} }

func eachPlane(op planeOp, e Extent, dst, x, y View, v *float32) {
	if e.empty() {
		return
	}
	for c := range e.C {
		reduce(op, e, dst.from(c), x.from(c), y.from(c), v)
	}
}
