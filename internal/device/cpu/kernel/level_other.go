//go:build !amd64

package kernel

func bestLevel() int { return portable }

func (t *convTile) run(size int) { t.portable(size) }

func (s *ProductSpec) run(dst, a, b []float32, accumulate bool) { s.portable(dst, a, b, accumulate) }

func runPlane(op planeOp, a *planeArgs) { runPlanePortable(op, a) }

func runFlat(flatOp, *flatArgs) { panic("kernel: no assembly for this machine") }

func sumLanes(dst, g []float32) { sumLanesPortable(dst, g) }

func squaredNorms(acc *[Lanes]float64, g []float32) { squaredNormsPortable(acc, g) }

func quantize(q *quantizeState, g []float32, scale *[Lanes]float64) { quantizePortable(q, g, scale) }

func accumulate(sum []int32, g []float32, scale *[Lanes]float64, mask *[Lanes]int32) {
	accumulatePortable(sum, g, scale, mask)
}

func runWinogradInput(cols int, a *winogradInArgs) { winogradInputPortable(cols, a) }

func runWinogradOutput(cols int, accumulate bool, a *winogradOutArgs) {
	winogradOutputPortable(cols, accumulate, a)
}

func (a winogradProductArgs) run(size, tiles int) { a.portable(size, tiles) }
