package main

import "fmt"

// neonConvShapes are tiles of output channels x places of four lanes. A pixel
// has four places, so that these numbers cut any number of pixels.
var neonConvShapes = [][2]int{{8, 3}, {8, 2}, {4, 6}, {4, 4}, {4, 2}, {2, 8}, {2, 4}, {1, 8}, {1, 4}}

// conv writes the convolution of groups of o output channels at blocks of n
// places. Each step of k loads n places and o weights; the o·n sums stay in
// registers.
func (t *arm64) conv(o, n int) {
	const x, dst, w, bias, wStep, dstChan, groups = "R1", "R2", "R3", "R4", "R5", "R6", "R7"
	const xPlace, dstPlace, blocks, k, kLeft, wk, offset, scratch = "R16", "R17", "R19", "R20", "R21", "R22", "R23", "R24"
	const firstPlace = 8
	place := registers(firstPlace, n)
	acc := func(i, p int) int { return i*n + p }
	input, weight := o*n, o*n+n
	args := func(field, register string) { t.field("convArgs", field, register) }

	t.begin("conv", fmt.Sprintf("conv%dx%d", o, n), fmt.Sprintf("[2]int{%d, %d}", o, n), "convArgs")
	for _, f := range [][2]string{{"x", x}, {"dst", dst}, {"w", w}, {"bias", bias}, {"wStep", wStep}, {"dstChan", dstChan}, {"groups", groups}} {
		args(f[0], f[1])
	}
	t.label("group")
	args("xPlace", xPlace)
	args("dstPlace", dstPlace)
	args("blocks", blocks)

	t.label("block")
	outputs := func(f func(v int, address string)) {
		t.addresses(dst, dstPlace, place)
		for i := range o {
			for p, r := range place {
				f(acc(i, p), r)
				if i < o-1 {
					t.p("ADD %s, %s", dstChan, r)
				}
			}
		}
	}
	args("start", scratch)
	t.p("CMP $1, %s", scratch)
	t.p("BEQ bias")
	t.p("BGT load")
	for i := range o * n {
		t.zero(i)
	}
	t.p("B started")
	t.label("bias")
	t.p("MOVD %s, %s", bias, scratch)
	for i := range o {
		t.p("VLD1R.P 4(%s), [V%d.S4]", scratch, acc(i, 0))
		for p := 1; p < n; p++ {
			t.op("mov", acc(i, p), acc(i, 0))
		}
	}
	t.p("B started")
	t.label("load")
	outputs(func(v int, address string) { t.load(address, 0, v) })

	t.label("started")
	t.addresses(x, xPlace, place)
	t.p("ADD $%d, %s", 4*n, xPlace)
	args("k", k)
	args("kLen", kLeft)
	t.p("MOVD %s, %s", w, wk)
	t.p("CBZ %s, store", kLeft)
	t.label("k")
	t.p("MOVW.P 4(%s), %s", k, offset)
	t.p("LSL $2, %s", offset)
	t.loadFew(wk, o, weight)
	t.p("ADD %s, %s", wStep, wk)
	for p := range n {
		t.loadAt(firstPlace+p, 23, input+p)
	}
	for i := range o {
		for p := range n {
			t.fmlaElement(acc(i, p), input+p, weight+i/4, i%4)
		}
	}
	t.next(kLeft, "k")

	t.label("store")
	outputs(func(v int, address string) { t.store(v, address, 0) })
	t.p("ADD $%d, %s", 4*n, dstPlace)
	t.next(blocks, "block")
	for _, f := range [][2]string{{"wGroup", w}, {"dstGroup", dst}, {"biasGroup", bias}} {
		args(f[0], scratch)
		t.p("ADD %s, %s", scratch, f[1])
	}
	t.next(groups, "group")
	t.end()
}
