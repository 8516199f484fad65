package kernel

import (
	"math"
	"math/bits"
)

// maxCoordinates bounds the coordinates of one kernel call on gradients.
const maxCoordinates = 8192

// SumLanes adds to dst[i] the sum of the 16 lanes of g[i]: lane l and l+8 are
// added first, then the halves of 8 in the same way, of 4, of 2.
func SumLanes(dst, g []float32) {
	checkLen("lane gradients", len(g), len(dst)*Lanes)
	for i := 0; i < len(dst); i += maxCoordinates {
		n := min(maxCoordinates, len(dst)-i)
		sumLanes(dst[i:i+n], g[i*Lanes:(i+n)*Lanes])
	}
}

// SquaredNorms sets norms[lane] = Σ_i g[i][lane]² in float64, one chain in
// order of i. len(norms) is 16, g holds len(g)/16 coordinates.
func SquaredNorms(norms []float64, g []float32) {
	checkLen("norms", len(norms), Lanes)
	var acc [Lanes]float64
	for i := 0; i+Lanes <= len(g); i += maxCoordinates * Lanes {
		squaredNorms(&acc, g[i:min(i+maxCoordinates*Lanes, len(g)/Lanes*Lanes)])
	}
	copy(norms, acc[:])
}

// Quantized is what [Quantize] found in each lane.
type Quantized struct {
	SquaredNorm [Lanes]uint64 // Σ v², the largest uint64 if it does not fit
	Valid       [Lanes]bool   // no NaN, no Inf, and every |v| < 2³¹
}

// Quantize finds the squared norm of the integers v_i = RoundToEven(float64(
// g[i][lane])·scale[lane]) of each lane, exactly.
func Quantize(g []float32, scale *[Lanes]float64) Quantized {
	var q quantizeState
	for i := 0; i+Lanes <= len(g); i += maxCoordinates * Lanes {
		quantize(&q, g[i:min(i+maxCoordinates*Lanes, len(g)/Lanes*Lanes)], scale)
	}
	var r Quantized
	for l := range Lanes {
		r.SquaredNorm[l] = q.sum[l]
		if q.overflow[l] != 0 {
			r.SquaredNorm[l] = math.MaxUint64
		}
		r.Valid[l] = q.invalid[l] == 0
	}
	return r
}

// Accumulate adds to sum[i], modulo 2³², the integers of [Quantize] of the lanes
// in keep. They must be valid.
func Accumulate(sum []int32, g []float32, scale *[Lanes]float64, keep *[Lanes]bool) {
	checkLen("lane gradients", len(g), len(sum)*Lanes)
	var mask [Lanes]int32
	for l, k := range keep {
		if k {
			mask[l] = -1
		}
	}
	for i := 0; i < len(sum); i += maxCoordinates {
		n := min(maxCoordinates, len(sum)-i)
		accumulate(sum[i:i+n], g[i*Lanes:(i+n)*Lanes], scale, &mask)
	}
}

// quantizeState runs through the calls of one Quantize; overflow and invalid
// are zero or not.
type quantizeState struct {
	sum, overflow, invalid [Lanes]uint64
}

func sumLanesPortable(dst, g []float32) {
	for i := range dst {
		v := *(*[Lanes]float32)(g[i*Lanes:])
		for half := Lanes / 2; half > 0; half /= 2 {
			for l := range half {
				v[l] = float32(v[l] + v[l+half])
			}
		}
		dst[i] += v[0]
	}
}

func squaredNormsPortable(acc *[Lanes]float64, g []float32) {
	for ; len(g) >= Lanes; g = g[Lanes:] {
		for l := range acc {
			v := float64(g[l])
			acc[l] += float64(v * v) // exact, so a fused multiply-add gives the same
		}
	}
}

// notInteger is what the processor's conversion gives for NaN and values that
// do not fit; as an integer it is refused too.
const notInteger = math.MinInt32

func toGrid(g float32, scale float64) int32 {
	v := math.RoundToEven(float64(float64(g) * scale))
	if !(v >= math.MinInt32 && v <= math.MaxInt32) {
		return notInteger
	}
	return int32(v)
}

func quantizePortable(q *quantizeState, g []float32, scale *[Lanes]float64) {
	for ; len(g) >= Lanes; g = g[Lanes:] {
		for l := range Lanes {
			v := int64(toGrid(g[l], scale[l]))
			if v == notInteger {
				q.invalid[l] = math.MaxUint64
			}
			sum, carry := bits.Add64(q.sum[l], uint64(v*v), 0)
			q.sum[l] = sum
			q.overflow[l] |= -carry
		}
	}
}

func accumulatePortable(sum []int32, g []float32, scale *[Lanes]float64, mask *[Lanes]int32) {
	for i := range sum {
		v := (*[Lanes]float32)(g[i*Lanes:])
		for l := range v {
			sum[i] += toGrid(v[l], scale[l]) & mask[l]
		}
	}
}
