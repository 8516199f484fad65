package main

import "fmt"

// conv writes the convolution of groups of o output channels at blocks of n
// places. Each step of k loads n places and multiplies them by o weights; the
// o·n sums stay in registers.
func (t *target) conv(o, n int) {
	t.begin("conv", fmt.Sprintf("conv%dx%d", o, n), fmt.Sprintf("[2]int{%d, %d}", o, n), "convArgs")
	place := []string{"R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"}[:n]
	acc := func(i, p int) string { return t.v(i*n + p) }
	x := func(p int) string { return t.v(o*n + p) }
	w := t.v(t.regs - 1)
	if o == 1 {
		w = t.v(n)
	}

	t.label("group")
	t.p("MOVQ convArgs_xPlace(DI), BX")
	t.p("MOVQ convArgs_dstPlace(DI), CX")
	t.p("MOVQ convArgs_blocks(DI), DX")
	t.p("MOVQ BX, convArgs_xNext(DI)")
	t.p("MOVQ CX, convArgs_dstNext(DI)")
	t.p("MOVQ DX, convArgs_left(DI)")

	t.label("block")
	t.startSums(o, n, place, acc)
	t.p("MOVQ convArgs_x(DI), AX")
	t.p("MOVQ convArgs_xNext(DI), BX")
	t.addresses("AX", "BX", place)
	t.p("ADDQ $%d, BX", 4*n)
	t.p("MOVQ BX, convArgs_xNext(DI)")
	t.p("MOVQ convArgs_k(DI), BX")
	t.p("MOVQ convArgs_kLen(DI), CX")
	t.p("MOVQ convArgs_w(DI), DX")
	t.p("MOVQ convArgs_wStep(DI), SI")
	step := func(k int, wOff string) {
		t.p("MOVLQSX %d(BX), AX", 4*k)
		if o == 1 {
			t.p("VBROADCASTSS %s, %s", wOff, w)
			for p, r := range place {
				t.p("VFMADD231PS (%s)(AX*4), %s, %s", r, w, acc(0, p))
			}
			return
		}
		for p, r := range place {
			t.p("VMOVUPS (%s)(AX*4), %s", r, x(p))
		}
		for i := range o {
			t.p("VBROADCASTSS %d%s, %s", 4*i, wOff, w)
			for p := range n {
				t.p("VFMADD231PS %s, %s, %s", x(p), w, acc(i, p))
			}
		}
	}
	t.p("SUBQ $2, CX")
	t.p("JLT last")
	t.label("k")
	step(0, "(DX)")
	step(1, "(DX)(SI*1)")
	t.p("ADDQ $8, BX")
	t.p("LEAQ (DX)(SI*2), DX")
	t.p("SUBQ $2, CX")
	t.p("JGE k")
	t.label("last")
	t.p("INCQ CX")
	t.p("JNZ store")
	step(0, "(DX)")

	t.label("store")
	t.dstPlaces(place)
	t.p("ADDQ $%d, BX", 4*n)
	t.p("MOVQ BX, convArgs_dstNext(DI)")
	for i := range o {
		for p, r := range place {
			t.p("VMOVUPS %s, (%s)", acc(i, p), r)
			if i < o-1 {
				t.p("ADDQ CX, %s", r)
			}
		}
	}
	t.p("DECQ convArgs_left(DI)")
	t.p("JNZ block")

	for _, f := range []string{"w", "dst", "bias"} {
		t.p("MOVQ convArgs_%sGroup(DI), AX", f)
		t.p("ADDQ AX, convArgs_%s(DI)", f)
	}
	t.p("DECQ convArgs_groups(DI)")
	t.p("JNZ group")
	t.end()
}

// startSums sets the sums to dst, to the bias or to zero.
func (t *target) startSums(o, n int, place []string, acc func(i, p int) string) {
	t.p("CMPQ convArgs_start(DI), $1")
	t.p("JEQ bias")
	t.p("JGT load")
	for i := range o * n {
		t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(i))
	}
	t.p("JMP started")

	t.label("bias")
	t.p("MOVQ convArgs_bias(DI), AX")
	for i := range o {
		t.p("VBROADCASTSS %d(AX), %s", 4*i, acc(i, 0))
		for p := 1; p < n; p++ {
			t.p("VMOVAPS %s, %s", acc(i, 0), acc(i, p))
		}
	}
	t.p("JMP started")

	t.label("load")
	t.dstPlaces(place)
	for i := range o {
		for p, r := range place {
			t.p("VMOVUPS (%s), %s", r, acc(i, p))
			if i < o-1 {
				t.p("ADDQ CX, %s", r)
			}
		}
	}

	t.label("started")
}

// dstPlaces leaves the addresses of the block's outputs in registers, the
// channel stride in CX and the address of their offsets in BX.
func (t *target) dstPlaces(place []string) {
	t.p("MOVQ convArgs_dst(DI), AX")
	t.p("MOVQ convArgs_dstNext(DI), BX")
	t.addresses("AX", "BX", place)
	t.p("MOVQ convArgs_dstChan(DI), CX")
}

// addresses adds int32 offsets in floats to a base.
func (t *target) addresses(base, offsets string, registers []string) {
	for i, r := range registers {
		t.p("MOVLQSX %d(%s), %s", 4*i, offsets, r)
		t.p("LEAQ (%s)(%s*4), %s", base, r, r)
	}
}
