package kernel

import "math"

// runPlanePortable is the plain Go of every plane op: the definition that the
// assembly is held to, bit for bit.
func runPlanePortable(op planeOp, a *planeArgs) {
	switch op {
	case opSum, opSquares, opSquaredDifference, opNormSums, opNormSumsSiLU:
		reducePortable(op, a)
	case opUpsample, opUpsampleBackward, opUpsampleBackwardAdd, opMaxPool, opMaxPoolBackward:
		quadsPortable(op, a)
	case opSoftmax:
		softmaxPortable(a)
	case opSoftmaxBackward:
		softmaxBackwardPortable(a)
	default:
		elementwisePortable(op, a)
	}
}

// vector returns the i-th vector of 16 lanes of the arguments.
func (a *planeArgs) vector(i int) *[Lanes]float32 { return pixel(a.v, i*Lanes) }

func elementwisePortable(op planeOp, a *planeArgs) {
	var v [4]*[Lanes]float32
	for i := range vectorsOf(op) {
		v[i] = a.vector(i)
	}
	for r := range a.rows {
		for c := range a.cols {
			d := pixel(a.dst, r*a.dRow+c*Lanes)
			x, y := d, d
			if a.x != nil {
				x = pixel(a.x, r*a.xRow+c*Lanes)
			}
			if a.y != nil {
				y = pixel(a.y, r*a.yRow+c*Lanes)
			}
			for l := range d {
				d[l] = element(op, d[l], x[l], y[l], &v, l)
			}
		}
	}
}

// vectorsOf is the number of vectors an elementwise op reads.
func vectorsOf(op planeOp) int {
	switch op {
	case opFill, opAxpy, opScale, opAddVector, opScaledDifference, opScaledDifferenceAdd:
		return 1
	case opAffine, opAffineSiLU:
		return 3
	case opNormBackward, opNormBackwardAdd:
		return 4
	}
	return 0
}

func element(op planeOp, d, x, y float32, v *[4]*[Lanes]float32, l int) float32 {
	switch op {
	case opCopy, opCopyAround:
		return x
	case opFill:
		return v[0][l]
	case opAdd, opAddAround:
		return x + y
	case opAxpy:
		return fma32(v[0][l], x, d)
	case opScale:
		return float32(x * v[0][l])
	case opAddVector:
		return x + v[0][l]
	case opSiLU:
		return silu(x)
	case opSiLUBackward:
		return float32(y * siluSlope(x))
	case opSiLUBackwardAdd:
		return d + float32(y*siluSlope(x))
	case opReLU:
		return relu(x)
	case opReLUBackward:
		return gate(x, y)
	case opReLUBackwardAdd:
		return d + gate(x, y)
	case opScaledDifference:
		return float32(float32(x-y) * v[0][l])
	case opScaledDifferenceAdd:
		return fma32(float32(x-y), v[0][l], d)
	case opAffine:
		return fma32(float32(x-v[0][l]), v[1][l], v[2][l])
	case opAffineSiLU:
		return silu(fma32(float32(x-v[0][l]), v[1][l], v[2][l]))
	case opNormBackward:
		return fma32(y, v[1][l], fma32(float32(x-v[0][l]), v[2][l], v[3][l]))
	case opNormBackwardAdd:
		return d + fma32(y, v[1][l], fma32(float32(x-v[0][l]), v[2][l], v[3][l]))
	}
	panic("kernel: unknown elementwise operation")
}

func silu(x float32) float32 { return x / float32(1+Exp(-x)) }

func relu(x float32) float32 {
	if 0 > x {
		return 0
	}
	return x
}

// gate passes y where x is positive.
func gate(x, y float32) float32 {
	if x > 0 {
		return y
	}
	return 0
}

// reducePortable keeps four chains, of the columns congruent modulo 4, and
// finally adds (s0+s1) + (s2+s3) to the result's vector.
func reducePortable(op planeOp, a *planeArgs) {
	var s, t [4][Lanes]float32
	for r := range a.rows {
		for c := range a.cols {
			x := pixel(a.x, r*a.xRow+c*Lanes)
			s, t := &s[c&3], &t[c&3]
			for l := range s {
				switch op {
				case opSum:
					s[l] += x[l]
				case opSquares:
					e := float32(x[l] - a.vector(0)[l])
					s[l] = fma32(e, e, s[l])
				case opSquaredDifference:
					e := float32(x[l] - pixel(a.y, r*a.yRow+c*Lanes)[l])
					s[l] = fma32(e, e, s[l])
				case opNormSums, opNormSumsSiLU:
					dz := pixel(a.y, r*a.yRow+c*Lanes)[l]
					e := float32(x[l] - a.vector(0)[l])
					if op == opNormSumsSiLU {
						dz = float32(dz * siluSlope(fma32(e, a.vector(1)[l], a.vector(2)[l])))
						pixel(a.dst, r*a.dRow+c*Lanes)[l] = dz
					}
					s[l] += dz
					t[l] = fma32(dz, float32(e*a.vector(3)[l]), t[l])
				}
			}
		}
	}
	switch op {
	case opSum, opSquaredDifference:
		fold(a.vector(0), &s)
	case opSquares:
		fold(a.vector(1), &s)
	default:
		fold(a.vector(4), &s)
		fold(a.vector(5), &t)
	}
}

func fold(v *[Lanes]float32, s *[4][Lanes]float32) {
	for l := range v {
		v[l] += float32(float32(s[0][l]+s[1][l]) + float32(s[2][l]+s[3][l]))
	}
}

// quadsPortable runs the ops between a plane and one of twice its height and
// width. rows and cols are those of the smaller one.
func quadsPortable(op planeOp, a *planeArgs) {
	for r := range a.rows {
		for c := range a.cols {
			switch op {
			case opUpsample:
				x := *pixel(a.x, r*a.xRow+c*Lanes)
				for _, d := range quad(a.dst, a.dRow, r, c) {
					*d = x
				}
			case opUpsampleBackward, opUpsampleBackwardAdd:
				d, q := pixel(a.dst, r*a.dRow+c*Lanes), quad(a.x, a.xRow, r, c)
				for l := range d {
					s := float32(float32(q[0][l]+q[1][l]) + float32(q[2][l]+q[3][l]))
					if op == opUpsampleBackwardAdd {
						s = d[l] + s
					}
					d[l] = s
				}
			case opMaxPool:
				d, q := pixel(a.dst, r*a.dRow+c*Lanes), quad(a.x, a.xRow, r, c)
				for l := range d {
					d[l] = max4(q, l)
				}
			case opMaxPoolBackward:
				y := pixel(a.y, r*a.yRow+c*Lanes)
				d, q := quad(a.dst, a.dRow, r, c), quad(a.x, a.xRow, r, c)
				for l := range y {
					for k := range q {
						if q[k][l] == max4(q, l) {
							d[k][l] += y[l]
							break
						}
					}
				}
			}
		}
	}
}

// quad returns the four pixels of a plane that belong to pixel (r, c) of one of
// half its size.
func quad(p *float32, row, r, c int) [4]*[Lanes]float32 {
	off := 2*r*row + 2*c*Lanes
	return [4]*[Lanes]float32{pixel(p, off), pixel(p, off+Lanes), pixel(p, off+row), pixel(p, off+row+Lanes)}
}

// max4 is the maximum of lane l of four pixels, NaN only if the last is NaN.
func max4(q [4]*[Lanes]float32, l int) float32 {
	m := q[0][l]
	for _, x := range q[1:] {
		m = maxSecond(m, x[l])
	}
	return m
}

// maxSecond is the processor's maximum: the second operand unless the first is
// greater.
func maxSecond(a, b float32) float32 {
	if a > b {
		return a
	}
	return b
}

func softmaxPortable(a *planeArgs) {
	scale := a.vector(0)
	for l := range Lanes {
		m := float32(math.Inf(-1))
		for c := range a.cols {
			m = maxSecond(m, pixel(a.dst, c*Lanes)[l])
		}
		var sum float32
		for c := range a.cols {
			d := pixel(a.dst, c*Lanes)
			d[l] = Exp(float32(float32(d[l]-m) * scale[l]))
			sum += d[l]
		}
		inverse := 1 / sum
		for c := range a.cols {
			d := pixel(a.dst, c*Lanes)
			d[l] = float32(d[l] * inverse)
		}
	}
}

func softmaxBackwardPortable(a *planeArgs) {
	scale := a.vector(0)
	for l := range Lanes {
		var dot float32
		for c := range a.cols {
			dot = fma32(pixel(a.x, c*Lanes)[l], pixel(a.dst, c*Lanes)[l], dot)
		}
		for c := range a.cols {
			d := pixel(a.dst, c*Lanes)
			d[l] = float32(float32(pixel(a.x, c*Lanes)[l]*float32(d[l]-dot)) * scale[l])
		}
	}
}
