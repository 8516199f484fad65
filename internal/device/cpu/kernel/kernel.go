// Package kernel holds the arithmetic of the cpu device: pure functions over
// float32 buffers in which 16 examples lie side by side.
//
// A buffer of one group of examples is laid out x[C][H+2h][W+2h][16]: the 16
// examples ("lanes") are innermost, and a zero halo of h pixels surrounds each
// plane, so that every tap of a convolution is a load at a constant offset.
// All offsets and strides are in float32 units. No operation mixes lanes,
// except [SumLanes] and [Accumulate], whose purpose it is.
//
// Every function exists as portable Go and, where the machine has it, as
// assembly. Both do the same correctly rounded float32 operations in the same
// order: sums of products are single chains of fused multiply-adds, other sums
// have the order their function documents, and exp is one shared polynomial.
// The results are therefore the same bits on every machine (the payload of a
// NaN aside). Kernels may be called from several goroutines.
package kernel

import "fmt"

// Lanes is the number of examples in a group.
const Lanes = 16

// Extent is the logical size of a tensor: channels, height, width.
type Extent struct{ C, H, W int }

// View addresses the interior of a buffer. Data[0] is lane 0 of pixel (0,0) of
// channel 0; Chan and Row are the strides between channels and between rows.
// Pixels of a row are adjacent, 16 floats each.
type View struct {
	Data []float32
	Chan int
	Row  int
}

// check panics unless the view holds all of e.
func (v View) check(name string, e Extent) {
	if v.Chan < 0 || v.Row < 0 {
		panic(fmt.Sprintf("kernel: %s has a negative stride (channel %d, row %d)", name, v.Chan, v.Row))
	}
	if need := (e.C-1)*v.Chan + (e.H-1)*v.Row + e.W*Lanes; need > len(v.Data) {
		panic(fmt.Sprintf("kernel: %s holds %d floats, extent %v needs %d", name, len(v.Data), e, need))
	}
}

func (e Extent) empty() bool { return e.C <= 0 || e.H <= 0 || e.W <= 0 }

func checkLen(name string, have, need int) {
	if have < need {
		panic(fmt.Sprintf("kernel: %s holds %d values, needs %d", name, have, need))
	}
}
