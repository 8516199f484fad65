//go:build !amd64 && !arm64

package kernel

import "unsafe"

var levelNames = [...]string{portable: "portable"}

func bestLevel() int { return portable }

// placeLanes lists the lanes of a vector register on the levels of this machine.
var placeLanes = [...]int{Lanes}

func vectorLanes() int { return Lanes }

func (t *convTile) run(size, tiles int) { t.portable(size, tiles) }

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

func runWinogradWeights(a *winogradWeightArgs) {
	winogradWeightsPortable(unsafe.Slice(a.dst, (winogradPositions-1)*a.position/4+winogradWeightTile), winogradWeightTile, a)
}
