package main

import "fmt"

// product writes the lane product of a tile of o left and n right factors,
// four lanes at a time: for each pixel of the plane, o+n loads and o·n
// multiply-adds.
func (t *arm64) product(o, n int) {
	const a, b, cols, rows, base, aPix, bPix, aSkip, bSkip, quarter = "R1", "R2", "R3", "R4", "R5", "R16", "R17", "R19", "R20", "R21"
	const firstLeft, firstRight = 6, 10
	args := func(field, register string) { t.field("productArgs", field, register) }
	acc := func(i, j int) int { return i*n + j }

	t.begin("product", fmt.Sprintf("product%dx%d", o, n), fmt.Sprintf("[2]int{%d, %d}", o, n), "productArgs")
	for _, f := range [][2]string{{"aPix", aPix}, {"bPix", bPix}, {"aSkip", aSkip}, {"bSkip", bSkip}} {
		args(f[0], f[1])
	}
	t.p("MOVD $0, %s", quarter)
	t.label("quarter")
	t.productStart(o, n, acc)
	for _, f := range []struct {
		name      string
		registers []string
	}{{"a", registers(firstLeft, o)}, {"b", registers(firstRight, n)}} {
		args(f.name, base)
		args(f.name+"Offset", rows)
		t.p("ADD %s, %s", quarter, base)
		t.addresses(base, rows, f.registers)
	}
	t.p("MOVD $0, %s", a)
	t.p("MOVD $0, %s", b)
	args("rows", rows)
	t.label("row")
	args("cols", cols)
	t.label("col")
	// The fewer factors stay in registers, the others pass.
	few, many, product := o, n, acc
	fewFirst, fewAt, manyFirst, manyAt := firstLeft, 1, firstRight, 2
	if n < o {
		few, many, product = n, o, func(i, j int) int { return acc(j, i) }
		fewFirst, fewAt, manyFirst, manyAt = firstRight, 2, firstLeft, 1
	}
	kept := o * n
	passing, free := kept+few, 32-kept-few
	for i := range few {
		t.loadAt(fewFirst+i, fewAt, kept+i)
	}
	for j := range many {
		v := passing + j%free
		t.loadAt(manyFirst+j, manyAt, v)
		for i := range few {
			t.op("fmla", product(i, j), kept+i, v)
		}
	}
	t.p("ADD %s, %s", aPix, a)
	t.p("ADD %s, %s", bPix, b)
	t.next(cols, "col")
	t.p("ADD %s, %s", aSkip, a)
	t.p("ADD %s, %s", bSkip, b)
	t.next(rows, "row")
	t.eachResult(o, n, func(i, j, base, index int) { t.storeAt(acc(i, j), base, index) })
	t.p("ADD $16, %s", quarter)
	t.p("CMP $64, %s", quarter)
	t.p("BNE quarter")
	t.end()
}

// productStart sets the sums to zero or to dst.
func (t *arm64) productStart(o, n int, acc func(i, j int) int) {
	t.field("productArgs", "accumulate", "R5")
	t.p("CBNZ R5, load")
	for i := range o * n {
		t.zero(i)
	}
	t.p("B started")
	t.label("load")
	t.eachResult(o, n, func(i, j, base, index int) { t.loadAt(base, index, acc(i, j)) })
	t.label("started")
}

// eachResult visits the tile's elements of dst in the current quarter of the
// lanes, R21. It uses R5, R22 to R24 and the registers of the right factors.
func (t *arm64) eachResult(o, n int, f func(i, j, base, index int)) {
	t.field("productArgs", "dst", "R5")
	t.field("productArgs", "dstO", "R22")
	t.field("productArgs", "dstT", "R23")
	t.p("ADD R21, R5")
	for j, r := range registers(10, n) {
		t.p("MOVW %d(R23), %s", 4*j, r)
		t.p("LSL $2, %s", r)
	}
	for i := range o {
		t.p("MOVW %d(R22), R24", 4*i)
		t.p("ADD R24<<2, R5, R24")
		for j := range n {
			f(i, j, 24, 10+j)
		}
	}
}
