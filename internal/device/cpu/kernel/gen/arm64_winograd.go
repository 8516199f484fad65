package main

import (
	"fmt"
	"math"
)

// The transforms of kernel.Winograd walk channels and, in each, the quarters of
// the lanes. R9 to R13 hold one to five steps between positions of the
// transformed tile, R25 six. The factors are elements of the last register.

const (
	two, four, five, eight = 0, 1, 2, 3 // elements of factors
	factors                = 31
	positionSteps          = 8 // register j holds j-8 steps
)

func (t *arm64) winograd() {
	for cols := 3; cols <= 6; cols++ {
		t.winogradInput(cols)
	}
	for cols := 1; cols <= 4; cols++ {
		t.winogradOutput(cols, false)
		t.winogradOutput(cols, true)
	}
	for o := 8; o > 0; o /= 2 {
		t.winogradProduct(o, 2)
		t.winogradProduct(o, 1)
	}
	t.winogradWeights()
}

// winogradSetup loads the factors and the steps.
func (t *arm64) winogradSetup(arguments string) {
	for i, pair := range [][2]float32{{2, 4}, {5, 8}} {
		t.p("MOVD $0x%08x%08x, R26 // %g, %g", math.Float32bits(pair[1]), math.Float32bits(pair[0]), pair[0], pair[1])
		t.p("VMOV R26, V%d.D[%d]", factors, i)
	}
	t.field(arguments, "position", "R9")
	for j := 2; j <= 5; j++ {
		t.p("ADD R9, R%d, R%d", positionSteps+j-1, positionSteps+j)
	}
	t.p("ADD R9, R13, R25")
}

// position loads or stores position j of the row of positions at a register.
func (t *arm64) loadPosition(row, j, v int) {
	if j == 0 {
		t.load(fmt.Sprintf("R%d", row), 0, v)
		return
	}
	t.loadAt(row, positionSteps+j, v)
}

func (t *arm64) storePosition(v, row, j int) {
	if j == 0 {
		t.store(v, fmt.Sprintf("R%d", row), 0)
		return
	}
	t.storeAt(v, row, positionSteps+j)
}

// winogradInput writes Bᵀ d B of a tile of which cols columns are not zero: the
// rows of Bᵀd by ones and pairs that share their work, and from each the row of
// positions that R8 addresses. R1 to R6 address the rows of d.
func (t *arm64) winogradInput(cols int) {
	const dst, row, channels, quarters, step = "R7", "R8", "R14", "R15", "R16"
	t.begin("winogradInput", fmt.Sprintf("winogradInput%d", cols), fmt.Sprintf("[2]int{6, %d}", cols), "winogradInArgs")
	rows := registers(1, 6)
	for i, r := range rows {
		t.element("winogradInArgs", "row", i, r)
	}
	t.field("winogradInArgs", "dst", dst)
	t.field("winogradInArgs", "n", channels)
	t.winogradSetup("winogradInArgs")

	t.label("channel")
	t.p("MOVD $4, %s", quarters)
	t.label("quarter")
	t.p("MOVD %s, %s", dst, row)
	t.inputOuter(cols, 4, 2, 0)
	t.inputPair(cols, func(even, odd, d2, d1, top, bottom int) {
		t.fmlsElement(even, d2, factors, four)
		t.fmlsElement(odd, d1, factors, four)
		t.op("fadd", top, even, odd)
		t.op("fsub", bottom, even, odd)
	})
	t.inputPair(cols, func(even, odd, d2, d1, top, bottom int) {
		t.op("fsub", even, even, d2)
		t.op("fsub", odd, odd, d1)
		t.op("mov", top, even)
		t.op("mov", bottom, even)
		t.fmlaElement(top, odd, factors, two)
		t.fmlsElement(bottom, odd, factors, two)
	})
	t.inputOuter(cols, 5, 3, 1)
	for _, r := range append(rows, dst) {
		t.p("ADD $16, %s", r)
	}
	t.next(quarters, "quarter")
	for i, r := range rows {
		t.element("winogradInArgs", "rowStep", i, step)
		t.p("SUB $64, %s", r)
		t.p("ADD %s, %s", step, r)
	}
	t.field("winogradInArgs", "dstStep", step)
	t.p("SUB $64, %s", dst)
	t.p("ADD %s, %s", step, dst)
	t.next(channels, "channel")
	t.end()
}

// inputOuter makes d_last - 5·d_middle + 4·d_first of each column, the first or
// last row of Bᵀd.
func (t *arm64) inputOuter(cols, last, middle, first int) {
	for j := range 6 {
		if j >= cols {
			t.zero(j)
			continue
		}
		a, b := 12+2*(j%4), 13+2*(j%4)
		t.load(fmt.Sprintf("R%d", 1+last), 64*j, j)
		t.load(fmt.Sprintf("R%d", 1+middle), 64*j, a)
		t.load(fmt.Sprintf("R%d", 1+first), 64*j, b)
		t.fmlsElement(j, a, factors, five)
		t.fmlaElement(j, b, factors, four)
	}
	t.inputStore(0)
}

// inputPair makes two rows of Bᵀd. combine takes registers with d_4, d_3, d_2
// and d_1 of a column, which it may change, and those of the results.
func (t *arm64) inputPair(cols int, combine func(even, odd, d2, d1, top, bottom int)) {
	for j := range 6 {
		if j >= cols {
			t.zero(j)
			t.zero(6 + j)
			continue
		}
		free := 12 + 4*(j%4)
		for i := range 4 {
			t.load(fmt.Sprintf("R%d", 1+4-i), 64*j, free+i)
		}
		combine(free, free+1, free+2, free+3, j, 6+j)
	}
	t.inputStore(0)
	t.inputStore(6)
}

// inputStore multiplies a row of Bᵀd, in six registers, by B and stores it at
// the next row of positions.
func (t *arm64) inputStore(r int) {
	const row, free = 8, 12
	first, even, odd, near, top, bottom := free, free+1, free+2, free+3, free+4, free+5
	t.op("mov", first, r+4)
	t.fmlsElement(first, r+2, factors, five)
	t.fmlaElement(first, r, factors, four)
	t.storePosition(first, row, 0)
	t.fmlsElement(r+5, r+3, factors, five)
	t.fmlaElement(r+5, r+1, factors, four)
	t.storePosition(r+5, row, 5)

	t.op("mov", even, r+4)
	t.op("mov", odd, r+3)
	t.fmlsElement(even, r+2, factors, four)
	t.fmlsElement(odd, r+1, factors, four)
	t.op("fadd", near, even, odd)
	t.op("fsub", even, even, odd)
	t.storePosition(near, row, 1)
	t.storePosition(even, row, 2)

	t.op("fsub", top, r+4, r+2)
	t.op("fsub", odd, r+3, r+1)
	t.op("mov", bottom, top)
	t.fmlaElement(top, odd, factors, two)
	t.fmlsElement(bottom, odd, factors, two)
	t.storePosition(top, row, 3)
	t.storePosition(bottom, row, 4)
	t.p("ADD R25, R%d", row)
}

// winogradOutput writes Aᵀ m A of which cols columns are stored or, with add,
// added to what is there. R1 to R6 address the rows of positions.
func (t *arm64) winogradOutput(cols int, add bool) {
	const bias, channels, quarters, step = "R16", "R17", "R19", "R20"
	name, mode := "winogradOutput", 0
	if add {
		name, mode = "winogradOutputAdd", 1
	}
	t.begin("winogradOutput", fmt.Sprintf("%s%d", name, cols), fmt.Sprintf("[2]int{%d, %d}", mode, cols), "winogradOutArgs")
	t.winogradSetup("winogradOutArgs")
	sources, outputs := registers(1, 6), []string{"R7", "R8", "R14", "R15"}
	t.field("winogradOutArgs", "src", sources[0])
	for i := range 5 {
		t.p("ADD R25, %s, %s", sources[i], sources[i+1])
	}
	for k, r := range outputs {
		t.element("winogradOutArgs", "row", k, r)
	}
	t.field("winogradOutArgs", "bias", bias)
	t.field("winogradOutArgs", "n", channels)

	t.label("channel")
	t.p("MOVD $4, %s", quarters)
	t.label("quarter")
	for j := range 6 {
		const m = 24 // registers of the column
		for i := range 6 {
			t.loadPosition(1+i, j, m+i)
		}
		y0, y1, y2, y3 := j, 6+j, 12+j, 18+j
		farSum, farDifference := m+1, m+2
		t.op("fadd", y2, m+1, m+2)
		t.op("fsub", y3, m+1, m+2)
		t.op("fadd", farSum, m+3, m+4)
		t.op("fsub", farDifference, m+3, m+4)
		t.op("fadd", y0, m, y2)
		t.op("fadd", y0, y0, farSum)
		t.op("mov", y1, y3)
		t.fmlaElement(y1, farDifference, factors, two)
		t.fmlaElement(y2, farSum, factors, four)
		t.fmlaElement(y3, farDifference, factors, eight)
		t.op("fadd", y3, y3, m+5)
	}
	if !add {
		t.p("VLD1R (%s), [V%d.S4]", bias, outputBias)
	}
	for k, r := range outputs {
		t.outputStore(6*k, r, cols, add)
	}
	for _, r := range append(sources, outputs...) {
		t.p("ADD $16, %s", r)
	}
	t.next(quarters, "quarter")
	t.field("winogradOutArgs", "srcStep", step)
	for _, r := range sources {
		t.p("SUB $64, %s", r)
		t.p("ADD %s, %s", step, r)
	}
	for k, r := range outputs {
		t.element("winogradOutArgs", "rowStep", k, step)
		t.p("SUB $64, %s", r)
		t.p("ADD %s, %s", step, r)
	}
	t.field("winogradOutArgs", "biasStep", step)
	t.p("ADD %s, %s", step, bias)
	t.next(channels, "channel")
	t.end()
}

const outputBias = 30 // register of the bias

// outputStore multiplies a row of Aᵀm, in six registers, by A and finishes a
// row of the output.
func (t *arm64) outputStore(r int, dst string, cols int, add bool) {
	sum, difference, farSum, farDifference, y, old := 24, 25, 26, 27, 28, 29
	store := func(v, j int) {
		if add {
			t.load(dst, 64*j, old)
			t.op("fadd", v, old, v)
		} else {
			t.op("fadd", v, v, outputBias)
		}
		t.store(v, dst, 64*j)
	}
	t.op("fadd", sum, r+1, r+2)
	t.op("fadd", farSum, r+3, r+4)
	t.op("fadd", y, r, sum)
	t.op("fadd", y, y, farSum)
	store(y, 0)
	if cols > 1 {
		t.op("fsub", difference, r+1, r+2)
		t.op("fsub", farDifference, r+3, r+4)
		t.op("mov", y, difference)
		t.fmlaElement(y, farDifference, factors, two)
		store(y, 1)
	}
	if cols > 2 {
		t.fmlaElement(sum, farSum, factors, four)
		store(sum, 2)
	}
	if cols > 3 {
		t.fmlaElement(difference, farDifference, factors, eight)
		t.op("fadd", difference, difference, r+5)
		store(difference, 3)
	}
}

// winogradProduct writes the sums over input channels for o output channels of
// n tiles, at each of several positions for each of several groups of output
// channels: eight lanes at a time, for which the weights of a group pass again.
func (t *arm64) winogradProduct(o, n int) {
	const dst, x, w, kStep, wStep, dstChan, positions = "R1", "R2", "R3", "R4", "R5", "R6", "R7"
	const groups, wGroup, dstGroup, xk, wk, k, half, out, scratch = "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15", "R16"
	args := func(field, register string) { t.field("winogradProductArgs", field, register) }
	acc := func(i, h int) int { return 2*i + h }
	input, weight := 2*o, 2*o+2

	t.begin("winogradProduct", fmt.Sprintf("winogradProduct%dx%d", o, n), fmt.Sprintf("[2]int{%d, %d}", o, n), "winogradProductArgs")
	for _, f := range [][2]string{{"dst", dst}, {"x", x}, {"w", w}, {"kStep", kStep}, {"wStep", wStep}, {"dstChan", dstChan}, {"positions", positions}} {
		args(f[0], f[1])
	}
	t.label("position")
	t.p("MOVD %s, %s", w, wGroup)
	t.p("MOVD %s, %s", dst, dstGroup)
	args("groups", groups)
	t.label("group")
	t.p("MOVD $0, %s", half)
	t.label("half")
	for i := range 2 * o {
		t.zero(i)
	}
	t.p("ADD %s, %s, %s", half, x, xk)
	t.p("MOVD %s, %s", wGroup, wk)
	args("k", k)
	t.label("k")
	t.p("FLDPQ (%s), (F%d, F%d)", xk, input, input+1)
	t.loadFew(wk, o, weight)
	t.p("ADD %s, %s", kStep, xk)
	t.p("ADD %s, %s", wStep, wk)
	for i := range o {
		for h := range 2 {
			t.fmlaElement(acc(i, h), input+h, weight+i/4, i%4)
		}
	}
	t.next(k, "k")
	t.p("ADD %s, %s, %s", half, dstGroup, out)
	for i := range o {
		t.p("FSTPQ (F%d, F%d), (%s)", acc(i, 0), acc(i, 1), out)
		if i < o-1 {
			t.p("ADD %s, %s", dstChan, out)
		}
	}
	t.p("ADD $32, %s", half)
	t.p("CMP $%d, %s", 64*n, half)
	t.p("BNE half")
	t.p("MOVD %s, %s", wk, wGroup)
	args("dstGroup", scratch)
	t.p("ADD %s, %s", scratch, dstGroup)
	t.next(groups, "group")
	for _, f := range [][2]string{{"wPosition", w}, {"xPosition", x}, {"dstPosition", dst}} {
		args(f[0], scratch)
		t.p("ADD %s, %s", scratch, f[1])
	}
	t.next(positions, "position")
	t.end()
}
