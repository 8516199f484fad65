package main

import "fmt"

// product writes the lane product of a tile of o left and n right factors: for
// each pixel of the plane, o+n loads and o·n multiply-adds.
func (t *target) product(o, n int) {
	t.begin("product", fmt.Sprintf("product%dx%d", o, n), fmt.Sprintf("[2]int{%d, %d}", o, n), "productArgs")
	left := []string{"SI", "BX", "R14", "R15"}[:o]
	right := []string{"R8", "R9", "R10", "R11", "R12", "R13"}[:n]
	acc := func(i, j int) string { return t.v(i*n + j) }
	kept := func(i int) string { return t.v(o*n + i) } // the fewer factors
	passing := t.v(o*n + min(o, n))

	t.p("CMPQ productArgs_accumulate(DI), $0")
	t.p("JNE load")
	for i := range o * n {
		t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(i))
	}
	t.p("JMP started")
	t.label("load")
	t.eachResult(o, n, func(i, j int, address string) { t.p("VMOVUPS %s, %s", address, acc(i, j)) })
	t.label("started")

	for _, f := range []struct {
		name      string
		registers []string
	}{{"a", left}, {"b", right}} {
		t.p("MOVQ productArgs_%s(DI), AX", f.name)
		t.p("MOVQ productArgs_%sOffset(DI), DX", f.name)
		t.addresses("AX", "DX", f.registers)
	}
	t.p("XORQ AX, AX")
	t.p("XORQ DX, DX")
	t.label("row")
	t.p("MOVQ productArgs_cols(DI), CX")
	t.label("col")
	if o <= n {
		for i, r := range left {
			t.p("VMOVUPS (%s)(AX*1), %s", r, kept(i))
		}
		for j, r := range right {
			if o == 1 {
				t.p("VFMADD231PS (%s)(DX*1), %s, %s", r, kept(0), acc(0, j))
				continue
			}
			t.p("VMOVUPS (%s)(DX*1), %s", r, passing)
			for i := range o {
				t.p("VFMADD231PS %s, %s, %s", kept(i), passing, acc(i, j))
			}
		}
	} else {
		for j, r := range right {
			t.p("VMOVUPS (%s)(DX*1), %s", r, kept(j))
		}
		for i, r := range left {
			t.p("VMOVUPS (%s)(AX*1), %s", r, passing)
			for j := range n {
				t.p("VFMADD231PS %s, %s, %s", kept(j), passing, acc(i, j))
			}
		}
	}
	t.p("ADDQ productArgs_aPix(DI), AX")
	t.p("ADDQ productArgs_bPix(DI), DX")
	t.p("DECQ CX")
	t.p("JNZ col")
	t.p("ADDQ productArgs_aSkip(DI), AX")
	t.p("ADDQ productArgs_bSkip(DI), DX")
	t.p("DECQ productArgs_rows(DI)")
	t.p("JNZ row")

	t.eachResult(o, n, func(i, j int, address string) { t.p("VMOVUPS %s, %s", acc(i, j), address) })
	t.end()
}

// eachResult visits the tile's elements of dst. It uses AX, CX, DX and the
// registers of the factors.
func (t *target) eachResult(o, n int, f func(i, j int, address string)) {
	t.p("MOVQ productArgs_dst(DI), AX")
	t.p("MOVQ productArgs_dstO(DI), CX")
	t.p("MOVQ productArgs_dstT(DI), DX")
	for j := range n {
		t.p("MOVLQSX %d(DX), R%d", 4*j, 8+j)
	}
	for i := range o {
		t.p("MOVLQSX %d(CX), SI", 4*i)
		t.p("LEAQ (AX)(SI*4), SI")
		for j := range n {
			f(i, j, fmt.Sprintf("(SI)(R%d*4)", 8+j))
		}
	}
}
