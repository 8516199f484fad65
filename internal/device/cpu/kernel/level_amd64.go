package kernel

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

const (
	avx2 = portable + 1 + iota
	avx512
)

var levelNames = [...]string{portable: "portable", avx2: "avx2", avx512: "avx512"}

func bestLevel() int {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasFMA:
		return avx512
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		return avx2
	}
	return portable
}

// placeLanes lists the lanes of a vector register on the levels of this machine.
var placeLanes = [...]int{Lanes, Lanes / 2}

func vectorLanes() int {
	if active == avx2 {
		return Lanes / 2
	}
	return Lanes
}

// convArgs are the arguments of a convolution kernel: blocks of places for
// groups of output channels. The assembly advances w, dst and bias, counts
// groups down, and keeps its position in the last three.
type convArgs struct {
	dst, x, w, bias             *float32
	k                           *int32
	kLen                        int
	xPlace, dstPlace            *int32
	blocks, groups              int
	dstChan, wStep              int    // bytes
	dstGroup, wGroup, biasGroup int    // bytes
	start                       int    // of the sums: 0 zero, 1 bias, 2 dst
	xNext, dstNext              *int32 //lint:ignore U1000 the assembly's own
	left                        int    //lint:ignore U1000 the assembly's own
}

// blockPlaces lists the blocks of places that the kernels of a tile of output
// channels offer, largest first.
var blockPlaces = [...][9][]int{
	avx512: {8: {3, 2, 1}, 4: {6, 3, 2, 1}, 2: {8, 4, 2, 1}, 1: {8, 4, 2, 1}},
	avx2:   {4: {3, 2, 1}, 2: {4, 2, 1}, 1: {8, 4, 2, 1}},
}

func (t *convTile) run(size, tiles int) {
	switch active {
	case avx512:
		t.assembly(size, tiles, size, 0)
	case avx2:
		part := min(size, 4) // of the tile's output channels
		for o := 0; o < size; o += part {
			t.assembly(size, tiles, part, o)
		}
	default:
		t.portable(size, tiles)
	}
}

// assembly computes output channels [o, o+part) of each tile.
func (t *convTile) assembly(size, tiles, part, o int) {
	done := 0
	for _, n := range blockPlaces[active][part] {
		left := len(t.xPlace) - done
		blocks := left / n
		if n == 3 && left%3 == 1 && blocks > 0 {
			blocks-- // two blocks of 2 have more sums in flight than 3 and 1
		}
		if blocks == 0 {
			continue
		}
		// Fresh arguments for each call: the assembly leaves pointers past the
		// ends of buffers in them, which the garbage collector must not meet.
		a := convArgs{
			dst: &t.dst[o*t.dstChan], x: &t.x[0], w: unsafe.SliceData(t.w[o:]),
			k: unsafe.SliceData(t.k), kLen: len(t.k),
			xPlace: &t.xPlace[done], dstPlace: &t.dstPlace[done], blocks: blocks, groups: tiles,
			dstChan: 4 * t.dstChan, wStep: 4 * size,
			dstGroup: 4 * size * t.dstChan, wGroup: 4 * size * t.kAll,
		}
		if t.bias != nil {
			a.bias, a.biasGroup, a.start = &t.bias[o], 4*size, 1
		}
		if t.accumulate {
			a.start = 2
		}
		if active == avx512 {
			convAVX512(part, n, &a)
		} else {
			convAVX2(part, n, &a)
		}
		done += blocks * n
	}
}

func (s *ProductSpec) run(dst, a, b []float32, accumulate bool) {
	if active == portable || s.Rows == 0 || s.Cols == 0 {
		s.portable(dst, a, b, accumulate)
		return
	}
	maxO, maxT := 4, 6
	if active == avx2 {
		maxO, maxT = 3, 4
		if len(s.A)%4 == 0 {
			maxO, maxT = 4, 3
		}
	}
	s.joined().eachBlock(func(p ProductSpec, aOff, bOff int) {
		args := productArgs{
			rows: p.Rows, cols: p.Cols, aPix: 4 * p.APix, bPix: 4 * p.BPix,
			aSkip: 4 * (p.ARow - p.Cols*p.APix), bSkip: 4 * (p.BRow - p.Cols*p.BPix),
		}
		if accumulate || aOff+bOff > 0 {
			args.accumulate = 1
		}
		eachPart(len(s.A), maxO, func(o, nO int) {
			eachPart(len(s.B), maxT, func(t, nT int) {
				args := args
				args.dst, args.a, args.b = &dst[0], &a[aOff], &b[bOff]
				args.aOffset, args.bOffset, args.dstO, args.dstT = &s.A[o], &s.B[t], &s.DstO[o], &s.DstT[t]
				if active == avx512 {
					productAVX512(nO, nT, &args)
					return
				}
				second := args
				second.dst, second.a, second.b = upperHalf(args.dst), upperHalf(args.a), upperHalf(args.b)
				productAVX2(nO, nT, &args)
				productAVX2(nO, nT, &second)
			})
		})
	})
}

func runPlane(op planeOp, a *planeArgs) {
	switch active {
	case avx512:
		planeAVX512(op, a)
	case avx2:
		second := *a
		second.dst, second.x, second.y, second.v = upperHalf(a.dst), upperHalf(a.x), upperHalf(a.y), upperHalf(a.v)
		planeAVX2(op, a)
		if op != opCopyAround && op != opAddAround { // these take all lanes at once
			planeAVX2(op, &second)
		}
	default:
		runPlanePortable(op, a)
	}
}

// runWinogradWeights transforms a tile of weights.
func runWinogradWeights(a *winogradWeightArgs) {
	switch active {
	case avx512:
		winogradWeightsAVX512(a)
	case avx2:
		second := *a
		for t := range a.g {
			copy(second.g[t][:], a.g[t][winogradWeightTile/2:])
		}
		second.dst = offset(a.dst, winogradWeightTile/2)
		winogradWeightsAVX2(a)
		winogradWeightsAVX2(&second)
	default:
		winogradWeightsPortable(unsafe.Slice(a.dst, (winogradPositions-1)*a.position/4+winogradWeightTile), winogradWeightTile, a)
	}
}

func runWinogradInput(cols int, a *winogradInArgs) {
	switch active {
	case avx512:
		winogradInputAVX512(winogradIn, cols, a)
	case avx2:
		second := *a
		second.dst = upperHalf(a.dst)
		for i, p := range a.row {
			second.row[i] = upperHalf(p)
		}
		winogradInputAVX2(winogradIn, cols, a)
		winogradInputAVX2(winogradIn, cols, &second)
	default:
		winogradInputPortable(cols, a)
	}
}

func runWinogradOutput(cols int, accumulate bool, a *winogradOutArgs) {
	add := 0
	if accumulate {
		add = 1
	}
	switch active {
	case avx512:
		winogradOutputAVX512(add, cols, a)
	case avx2:
		second := *a
		second.src = upperHalf(a.src)
		for i, p := range a.row {
			second.row[i] = upperHalf(p)
		}
		winogradOutputAVX2(add, cols, a)
		winogradOutputAVX2(add, cols, &second)
	default:
		winogradOutputPortable(cols, accumulate, a)
	}
}

// run multiplies groups of size output channels.
func (a winogradProductArgs) run(size, tiles int) {
	switch active {
	case avx512:
		winogradProductAVX512(size, tiles, &a)
	case avx2:
		part := min(size, 4)
		for o := 0; o < size; o += part {
			b := a
			b.w, b.dst = offset(a.w, o), offset(a.dst, o*a.dstChan/4)
			winogradProductAVX2(part, tiles, &b)
			b.x, b.dst = upperHalf(b.x), upperHalf(b.dst)
			winogradProductAVX2(part, tiles, &b)
		}
	default:
		a.portable(size, tiles)
	}
}

// upperHalf addresses the upper half of the lanes.
func upperHalf(p *float32) *float32 {
	if p == nil {
		return nil
	}
	return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*Lanes/2))
}

func runFlat(op flatOp, a *flatArgs) {
	if active == avx512 {
		flatAVX512(op, a)
		return
	}
	flatAVX2(op, a)
}

func sumLanes(dst, g []float32) {
	a := gradientArgs{dst: unsafe.Pointer(&dst[0]), g: &g[0], n: len(dst)}
	switch active {
	case avx512:
		sumLanesAVX512(&a)
	case avx2:
		sumLanesAVX2(&a)
	default:
		sumLanesPortable(dst, g)
	}
}

func squaredNorms(acc *[Lanes]float64, g []float32) {
	a := gradientArgs{dst: unsafe.Pointer(acc), g: &g[0], n: len(g) / Lanes}
	switch active {
	case avx512:
		squaredNormsAVX512(&a)
	case avx2:
		squaredNormsAVX2(&a)
	default:
		squaredNormsPortable(acc, g)
	}
}

func quantize(q *quantizeState, g []float32, scale *[Lanes]float64) {
	a := gradientArgs{dst: unsafe.Pointer(q), g: &g[0], n: len(g) / Lanes, scale: scale}
	switch active {
	case avx512:
		quantizeAVX512(&a)
	case avx2:
		quantizeAVX2(&a)
	default:
		quantizePortable(q, g, scale)
	}
}

func accumulate(sum []int32, g []float32, scale *[Lanes]float64, mask *[Lanes]int32) {
	a := gradientArgs{dst: unsafe.Pointer(&sum[0]), g: &g[0], n: len(sum), scale: scale, mask: mask}
	switch active {
	case avx512:
		accumulateAVX512(&a)
	case avx2:
		accumulateAVX2(&a)
	default:
		accumulatePortable(sum, g, scale, mask)
	}
}
