package main

import "fmt"

// conv writes the convolution of a tile of o output channels at blocks of n
// pixels. Each step of k loads n pixels and multiplies them by o weights; the
// o·n sums stay in registers.
func (t *target) conv(o, n int) {
	t.begin("conv", fmt.Sprintf("conv%dx%d", o, n), fmt.Sprintf("[2]int{%d, %d}", o, n), "convArgs")
	pixel := []string{"R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"}[:n]
	acc := func(i, p int) string { return t.v(i*n + p) }
	x := func(p int) string { return t.v(o*n + p) }
	w := t.v(t.regs - 1)
	if o == 1 {
		w = t.v(n)
	}

	t.label("block")
	t.startSums(o, n, pixel, acc)
	t.p("MOVQ convArgs_x(DI), AX")
	t.p("MOVQ convArgs_xPixel(DI), BX")
	for p, r := range pixel {
		t.p("MOVLQSX %d(BX), %s", 4*p, r)
		t.p("LEAQ (AX)(%s*4), %s", r, r)
	}
	t.p("ADDQ $%d, convArgs_xPixel(DI)", 4*n)
	t.p("MOVQ convArgs_k(DI), BX")
	t.p("MOVQ convArgs_kLen(DI), CX")
	t.p("MOVQ convArgs_w(DI), DX")
	t.p("MOVQ convArgs_wStep(DI), SI")
	t.p("TESTQ CX, CX")
	t.p("JZ store")

	t.label("k")
	t.p("MOVLQSX (BX), AX")
	t.p("ADDQ $4, BX")
	if o == 1 {
		t.p("VBROADCASTSS (DX), %s", w)
		for p, r := range pixel {
			t.p("VFMADD231PS (%s)(AX*4), %s, %s", r, w, acc(0, p))
		}
	} else {
		for p, r := range pixel {
			t.p("VMOVUPS (%s)(AX*4), %s", r, x(p))
		}
		for i := range o {
			t.p("VBROADCASTSS %d(DX), %s", 4*i, w)
			for p := range n {
				t.p("VFMADD231PS %s, %s, %s", x(p), w, acc(i, p))
			}
		}
	}
	t.p("ADDQ SI, DX")
	t.p("DECQ CX")
	t.p("JNZ k")

	t.label("store")
	t.dstPixels(pixel)
	t.p("ADDQ $%d, convArgs_dstPixel(DI)", 4*n)
	for i := range o {
		for p, r := range pixel {
			t.p("VMOVUPS %s, (%s)", acc(i, p), r)
			if i < o-1 {
				t.p("ADDQ CX, %s", r)
			}
		}
	}
	t.p("DECQ convArgs_blocks(DI)")
	t.p("JNZ block")
	t.end()
}

// startSums sets the sums to dst, to the bias or to zero.
func (t *target) startSums(o, n int, pixel []string, acc func(i, p int) string) {
	t.p("CMPQ convArgs_accumulate(DI), $0")
	t.p("JNE load")
	t.p("MOVQ convArgs_bias(DI), AX")
	t.p("TESTQ AX, AX")
	t.p("JNZ bias")
	for i := range o * n {
		t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(i))
	}
	t.p("JMP started")

	t.label("bias")
	for i := range o {
		t.p("VBROADCASTSS %d(AX), %s", 4*i, acc(i, 0))
		for p := 1; p < n; p++ {
			t.p("VMOVAPS %s, %s", acc(i, 0), acc(i, p))
		}
	}
	t.p("JMP started")

	t.label("load")
	t.dstPixels(pixel)
	for i := range o {
		for p, r := range pixel {
			t.p("VMOVUPS (%s), %s", r, acc(i, p))
			if i < o-1 {
				t.p("ADDQ CX, %s", r)
			}
		}
	}

	t.label("started")
}

// dstPixels leaves the addresses of the block's output pixels in registers and
// the channel stride in CX.
func (t *target) dstPixels(pixel []string) {
	t.p("MOVQ convArgs_dst(DI), AX")
	t.p("MOVQ convArgs_dstPixel(DI), BX")
	for p, r := range pixel {
		t.p("MOVLQSX %d(BX), %s", 4*p, r)
		t.p("LEAQ (AX)(%s*4), %s", r, r)
	}
	t.p("MOVQ convArgs_dstChan(DI), CX")
}
