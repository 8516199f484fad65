package kernel

import "unsafe"

const neon = portable + 1

var levelNames = [...]string{portable: "portable", neon: "neon"}

// bestLevel: every arm64 processor has Advanced SIMD.
func bestLevel() int { return neon }

// neonLanes is the number of lanes of a vector register.
const neonLanes = 4

// placeLanes lists the lanes of a vector register on the levels of this machine.
var placeLanes = [...]int{Lanes, neonLanes}

func vectorLanes() int {
	if active == neon {
		return neonLanes
	}
	return Lanes
}

// convArgs are the arguments of a convolution kernel: blocks of places for
// groups of output channels.
type convArgs struct {
	dst, x, w, bias             *float32
	k                           *int32
	kLen                        int
	xPlace, dstPlace            *int32
	blocks, groups              int
	dstChan, wStep              int // bytes
	dstGroup, wGroup, biasGroup int // bytes
	start                       int // of the sums: 0 zero, 1 bias, 2 dst
}

// blockPlaces lists the blocks of places that the kernels of a tile of output
// channels offer, largest first.
var blockPlaces = [...][]int{8: {3, 2}, 4: {6, 4, 2}, 2: {8, 4}, 1: {8, 4}}

func (t *convTile) run(size, tiles int) {
	if active == portable {
		t.portable(size, tiles)
		return
	}
	a := convArgs{
		dst: &t.dst[0], x: &t.x[0], w: unsafe.SliceData(t.w),
		k: unsafe.SliceData(t.k), kLen: len(t.k), groups: tiles,
		dstChan: 4 * t.dstChan, wStep: 4 * size,
		dstGroup: 4 * size * t.dstChan, wGroup: 4 * size * t.kAll,
	}
	if t.bias != nil {
		a.bias, a.biasGroup, a.start = &t.bias[0], 4*size, 1
	}
	if t.accumulate {
		a.start = 2
	}
	done := 0
	for _, n := range blockPlaces[size] {
		left := len(t.xPlace) - done
		a.blocks = left / n
		if n == 3 && left%3 == 1 {
			a.blocks-- // two blocks of 2 have more sums in flight than 3 and 1
		}
		if a.blocks == 0 {
			continue
		}
		a.xPlace, a.dstPlace = &t.xPlace[done], &t.dstPlace[done]
		convNEON(size, n, &a)
		done += a.blocks * n
	}
}

func (s *ProductSpec) run(dst, a, b []float32, accumulate bool) {
	if active == portable || s.Rows == 0 || s.Cols == 0 {
		s.portable(dst, a, b, accumulate)
		return
	}
	s.joined().eachBlock(func(p ProductSpec, aOff, bOff int) {
		args := productArgs{
			rows: p.Rows, cols: p.Cols, aPix: 4 * p.APix, bPix: 4 * p.BPix,
			aSkip: 4 * (p.ARow - p.Cols*p.APix), bSkip: 4 * (p.BRow - p.Cols*p.BPix),
			dst: &dst[0], a: &a[aOff], b: &b[bOff],
		}
		if accumulate || aOff+bOff > 0 {
			args.accumulate = 1
		}
		eachPart(len(s.A), 4, func(o, nO int) {
			eachPart(len(s.B), 6, func(t, nT int) {
				args.aOffset, args.bOffset, args.dstO, args.dstT = &s.A[o], &s.B[t], &s.DstO[o], &s.DstT[t]
				productNEON(nO, nT, &args)
			})
		})
	})
}

// runPlane leaves it to the processor to see that a run of stores needs no old
// content.
func runPlane(op planeOp, a *planeArgs) {
	switch {
	case active == portable:
		runPlanePortable(op, a)
	case op == opCopyAround:
		planeNEON(opCopy, a)
	case op == opAddAround:
		planeNEON(opAdd, a)
	default:
		planeNEON(op, a)
	}
}

func runWinogradInput(cols int, a *winogradInArgs) {
	if active == portable {
		winogradInputPortable(cols, a)
		return
	}
	winogradInputNEON(winogradIn, cols, a)
}

func runWinogradOutput(cols int, accumulate bool, a *winogradOutArgs) {
	if active == portable {
		winogradOutputPortable(cols, accumulate, a)
		return
	}
	add := 0
	if accumulate {
		add = 1
	}
	winogradOutputNEON(add, cols, a)
}

// run multiplies groups of size output channels.
func (a winogradProductArgs) run(size, tiles int) {
	if active == portable {
		a.portable(size, tiles)
		return
	}
	winogradProductNEON(size, tiles, &a)
}

// runWinogradWeights transforms a tile of weights.
func runWinogradWeights(a *winogradWeightArgs) {
	if active == portable {
		winogradWeightsPortable(unsafe.Slice(a.dst, (winogradPositions-1)*a.position/4+winogradWeightTile), winogradWeightTile, a)
		return
	}
	winogradWeightsNEON(a)
}

func runFlat(op flatOp, a *flatArgs) { flatNEON(op, a) }

func sumLanes(dst, g []float32) {
	if active == portable {
		sumLanesPortable(dst, g)
		return
	}
	sumLanesNEON(&gradientArgs{dst: unsafe.Pointer(&dst[0]), g: &g[0], n: len(dst)})
}

func squaredNorms(acc *[Lanes]float64, g []float32) {
	if active == portable {
		squaredNormsPortable(acc, g)
		return
	}
	squaredNormsNEON(&gradientArgs{dst: unsafe.Pointer(acc), g: &g[0], n: len(g) / Lanes})
}

func quantize(q *quantizeState, g []float32, scale *[Lanes]float64) {
	if active == portable {
		quantizePortable(q, g, scale)
		return
	}
	quantizeNEON(&gradientArgs{dst: unsafe.Pointer(q), g: &g[0], n: len(g) / Lanes, scale: scale})
}

func accumulate(sum []int32, g []float32, scale *[Lanes]float64, mask *[Lanes]int32) {
	if active == portable {
		accumulatePortable(sum, g, scale, mask)
		return
	}
	accumulateNEON(&gradientArgs{dst: unsafe.Pointer(&sum[0]), g: &g[0], n: len(sum), scale: scale, mask: mask})
}
