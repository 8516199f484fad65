package kernel

// winogradWeightTile is the number of pairs of channels whose weights are
// transformed together.
const winogradWeightTile = 8

// PackWinograd transforms weights for [Winograd] into dst: for each position
// the order of [PackConv]. w is [cout][cin][3][3], or [cin][cout][3][3] if
// transposed; with flipped, both directions of the kernel are reversed, as the
// backward pass by data needs it. Sums are in float64 and rounded once.
func PackWinograd(dst, w []float32, cout, cin int, transposed, flipped bool) {
	checkLen("packed weights", len(dst), WinogradPackedLen(cout, cin))
	checkLen("weights", len(w), cout*cin*9)
	a := newWinogradWeightArgs(4 * PackedLen(cout, cin, 1))
	n := 0
	eachTile(cout, func(o, size int) {
		for i := range cin {
			for j := range size {
				from := (o+j)*cin + i
				if transposed {
					from = i*cout + o + j
				}
				g := (*[9]float32)(w[from*9:])
				for t, v := range g {
					if flipped {
						t = 8 - t
					}
					a.g[t][j] = v
				}
			}
			if size == winogradWeightTile {
				a.dst = &dst[n]
				runWinogradWeights(&a)
			} else {
				winogradWeightsPortable(dst[n:], size, &a)
			}
			n += size
		}
	})
}

// winogradWeightArgs are the arguments of a weight transform: the kernels of 8
// pairs of channels, and the factors of G. The assembly writes 8 floats at each
// position of dst.
type winogradWeightArgs struct {
	g                                                 [9][winogradWeightTile]float32
	half                                              [winogradIn][3][winogradWeightTile]float64 // scratch: G g
	dst                                               *float32
	position                                          int // bytes between positions of dst
	quarter, sixth, minusSixth, twelfth, twentyFourth float64
}

func newWinogradWeightArgs(position int) winogradWeightArgs {
	return winogradWeightArgs{
		position: position, quarter: 1.0 / 4, sixth: 1.0 / 6, minusSixth: -1.0 / 6, twelfth: 1.0 / 12, twentyFourth: 1.0 / 24,
	}
}

// winogradWeightsPortable sets dst[position][j] to G g Gᵀ for the first n kernels.
func winogradWeightsPortable(dst []float32, n int, a *winogradWeightArgs) {
	for j := range n {
		for c := range 3 {
			for i, v := range a.winogradWeight(float64(a.g[c][j]), float64(a.g[3+c][j]), float64(a.g[6+c][j])) {
				a.half[i][c][j] = v
			}
		}
		for i := range a.half {
			for k, v := range a.winogradWeight(a.half[i][0][j], a.half[i][1][j], a.half[i][2][j]) {
				dst[(i*winogradIn+k)*a.position/4+j] = float32(v)
			}
		}
	}
}

// winogradWeight is G g for one direction.
func (a *winogradWeightArgs) winogradWeight(g0, g1, g2 float64) [winogradIn]float64 {
	near, odd := float64((g0+g2)*a.minusSixth), float64(g1*a.sixth)
	far, half := float64(g0*a.twentyFourth)+float64(g2*a.sixth), float64(g1*a.twelfth)
	return [winogradIn]float64{float64(g0 * a.quarter), near - odd, near + odd, far + half, far - half, g2}
}
