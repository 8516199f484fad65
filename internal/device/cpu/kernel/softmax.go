package kernel

import "fmt"

// Softmax replaces each row of s, s[i*stride + j*16 + lane] for j < cols, by
//
//	e^(scale·(s_j - max)) / Σ e^(scale·(s_j - max)),  scale > 0.
//
// The sum is one chain in order of j; the quotient is a product with its
// reciprocal.
func Softmax(s []float32, rows, cols, stride int, scale float32) {
	if rows <= 0 || cols <= 0 {
		return
	}
	checkRows("scores", len(s), rows, cols, stride)
	v := broadcast(scale)
	for i := range rows {
		runPlane(opSoftmax, &planeArgs{dst: &s[i*stride], rows: 1, cols: cols, v: &v[0]})
	}
}

// SoftmaxBackward replaces ds, the gradient of Softmax's result p, by the
// gradient of its argument, p·(ds - Σ_j p·ds)·scale. Rows are addressed as in
// [Softmax]; the sum is one chain of fused multiply-adds in order of j.
func SoftmaxBackward(ds, p []float32, rows, cols, stride int, scale float32) {
	if rows <= 0 || cols <= 0 {
		return
	}
	checkRows("gradient of scores", len(ds), rows, cols, stride)
	checkRows("probabilities", len(p), rows, cols, stride)
	v := broadcast(scale)
	for i := range rows {
		runPlane(opSoftmaxBackward, &planeArgs{dst: &ds[i*stride], x: &p[i*stride], rows: 1, cols: cols, v: &v[0]})
	}
}

func checkRows(name string, have, rows, cols, stride int) {
	if stride < cols*Lanes {
		panic(fmt.Sprintf("kernel: rows of %d columns need a stride of %d, not %d", cols, cols*Lanes, stride))
	}
	checkLen(name, have, (rows-1)*stride+cols*Lanes)
}
