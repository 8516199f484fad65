package main

import "fmt"

// The transforms of kernel.Winograd walk channels. BX holds the step between
// positions of the transformed tile, SI and R14 three and five of them.

func (t *target) winograd() {
	for cols := 3; cols <= 6; cols++ {
		t.winogradInput(cols)
	}
	for cols := 1; cols <= 4; cols++ {
		t.winogradOutput(cols, false)
		t.winogradOutput(cols, true)
	}
	for o := t.winogradO; o > 0; o /= 2 {
		t.winogradProduct(o, 2)
		t.winogradProduct(o, 1)
	}
	t.winogradWeights()
}

var winogradConstants = map[string]float32{"two": 2, "four": 4, "five": 5, "eight": 8}

// factor is an operand that may lie in memory.
func (t *target) factor(name string) string { return t.constant(name, winogradConstants[name]) }

// factorRegister is a register with a factor: a resident one, or the given one
// after a load.
func (t *target) factorRegister(name string, free int) string {
	if r, ok := t.resident[name]; ok {
		return t.v(r)
	}
	t.p("VMOVUPS %s, %s", t.factor(name), t.v(free))
	return t.v(free)
}

// winogradSteps sets SI and R14 from BX.
func (t *target) winogradSteps() {
	t.p("LEAQ (BX)(BX*2), SI")
	t.p("LEAQ (BX)(BX*4), R14")
}

// place is the address of position j of the row of positions at base.
func place(base string, j int) string {
	return "(" + base + ")" + []string{"", "(BX*1)", "(BX*2)", "(SI*1)", "(BX*4)", "(R14*1)"}[j]
}

func inputRow(i int) string { return fmt.Sprintf("R%d", 8+i) }

// winogradInput writes Bᵀ d B of a tile of which cols columns are not zero: the
// rows of Bᵀd by ones and pairs that share their work, and from each the row
// of positions that R15 addresses.
func (t *target) winogradInput(cols int) {
	t.begin("winogradInput", fmt.Sprintf("winogradInput%d", cols), fmt.Sprintf("[2]int{6, %d}", cols), "winogradInArgs")
	for i := range 6 {
		t.p("MOVQ (winogradInArgs_row+%d)(DI), %s", 8*i, inputRow(i))
	}
	t.p("MOVQ winogradInArgs_dst(DI), AX")
	t.p("MOVQ winogradInArgs_position(DI), BX")
	t.winogradSteps()
	t.p("MOVQ winogradInArgs_n(DI), CX")
	t.keep(winogradConstants)

	t.label("channel")
	t.p("MOVQ AX, R15")
	t.inputOuter(cols, 4, 2, 0)
	t.inputPair(cols, func(u, w, free int, d func(int) string) (top, bottom, left int) {
		four := t.factorRegister("four", 12)
		t.p("VFNMADD231PS %s, %s, %s", d(2), four, t.v(u))
		t.p("VFNMADD231PS %s, %s, %s", d(1), four, t.v(w))
		t.p("VADDPS %s, %s, %s", t.v(w), t.v(u), t.v(free))
		t.p("VSUBPS %s, %s, %[1]s", t.v(w), t.v(u))
		return free, w, u
	})
	t.inputPair(cols, func(u, w, free int, d func(int) string) (top, bottom, left int) {
		t.p("VSUBPS %s, %[2]s, %[2]s", d(2), t.v(u))
		t.p("VSUBPS %s, %[2]s, %[2]s", d(1), t.v(w))
		t.p("VMOVAPS %s, %s", t.v(u), t.v(free))
		t.p("VFMADD231PS %s, %s, %s", t.factor("two"), t.v(w), t.v(free))
		t.p("VFNMADD231PS %s, %s, %s", t.factor("two"), t.v(w), t.v(u))
		return free, u, w
	})
	t.inputOuter(cols, 5, 3, 1)
	for i := range 6 {
		t.p("ADDQ (winogradInArgs_rowStep+%d)(DI), %s", 8*i, inputRow(i))
	}
	t.p("ADDQ winogradInArgs_dstStep(DI), AX")
	t.p("DECQ CX")
	t.p("JNZ channel")
	t.end()
}

// inputOuter makes d_last - 5·d_middle + 4·d_first of each column, the first or
// last row of Bᵀd.
func (t *target) inputOuter(cols, last, middle, first int) {
	five, four := t.factorRegister("five", 12), t.factorRegister("four", 13)
	var row [6]int
	for j := range row {
		row[j] = j
		if j >= cols {
			t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(j))
			continue
		}
		t.p("VMOVUPS %d(%s), %s", 64*j, inputRow(last), t.v(j))
		t.p("VFNMADD231PS %d(%s), %s, %s", 64*j, inputRow(middle), five, t.v(j))
		t.p("VFMADD231PS %d(%s), %s, %s", 64*j, inputRow(first), four, t.v(j))
	}
	t.inputStore(row, 12, 13, 14)
}

// inputPair makes two rows of Bᵀd. combine takes registers with d_4 and d_3 of
// a column and a free one, and returns those of the two results and the free one.
func (t *target) inputPair(cols int, combine func(u, w, free int, d func(int) string) (top, bottom, left int)) {
	var top, bottom [6]int
	free := 13
	for j := range 6 {
		u, w := j, 6+j
		if j >= cols {
			top[j], bottom[j] = u, w
			t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(u))
			t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(w))
			continue
		}
		d := func(i int) string { return fmt.Sprintf("%d(%s)", 64*j, inputRow(i)) }
		t.p("VMOVUPS %s, %s", d(4), t.v(u))
		t.p("VMOVUPS %s, %s", d(3), t.v(w))
		top[j], bottom[j], free = combine(u, w, free, d)
	}
	t.inputStore(top, 12, free, 14)
	t.inputStore(bottom, 12, free, 14)
}

// inputStore multiplies a row of Bᵀd by B and stores it at the next row of
// positions.
func (t *target) inputStore(row [6]int, a, b, c int) {
	r := func(i int) string { return t.v(row[i]) }
	x, y, z := t.v(a), t.v(b), t.v(c)
	store := func(v string, j int) { t.p("VMOVUPS %s, %s", v, place("R15", j)) }

	t.p("VMOVAPS %s, %s", r(4), x)
	t.p("VFNMADD231PS %s, %s, %s", t.factor("five"), r(2), x)
	t.p("VFMADD231PS %s, %s, %s", t.factor("four"), r(0), x)
	store(x, 0)
	t.p("VFNMADD231PS %s, %s, %s", t.factor("five"), r(3), r(5))
	t.p("VFMADD231PS %s, %s, %s", t.factor("four"), r(1), r(5))
	store(r(5), 5)

	t.p("VMOVAPS %s, %s", r(4), x)
	t.p("VFNMADD231PS %s, %s, %s", t.factor("four"), r(2), x)
	t.p("VMOVAPS %s, %s", r(3), y)
	t.p("VFNMADD231PS %s, %s, %s", t.factor("four"), r(1), y)
	t.p("VADDPS %s, %s, %s", y, x, z)
	store(z, 1)
	t.p("VSUBPS %s, %s, %s", y, x, x)
	store(x, 2)

	t.p("VSUBPS %s, %s, %s", r(2), r(4), x)
	t.p("VSUBPS %s, %s, %s", r(1), r(3), y)
	t.p("VMOVAPS %s, %s", x, z)
	t.p("VFMADD231PS %s, %s, %s", t.factor("two"), y, z)
	store(z, 3)
	t.p("VFNMADD231PS %s, %s, %s", t.factor("two"), y, x)
	store(x, 4)
	t.p("LEAQ (R15)(SI*2), R15")
}

// winogradOutput writes Aᵀ m A of which cols columns are stored or, with add,
// added to what is there. R8 to R13 address the rows of positions, R15 the bias.
func (t *target) winogradOutput(cols int, add bool) {
	name, mode := "winogradOutput", 0
	if add {
		name, mode = "winogradOutputAdd", 1
	}
	t.begin("winogradOutput", fmt.Sprintf("%s%d", name, cols), fmt.Sprintf("[2]int{%d, %d}", mode, cols), "winogradOutArgs")
	t.p("MOVQ winogradOutArgs_src(DI), R8")
	t.p("MOVQ winogradOutArgs_position(DI), BX")
	t.winogradSteps()
	for i := range 5 {
		t.p("LEAQ (R%d)(SI*2), R%d", 8+i, 9+i)
	}
	t.p("MOVQ winogradOutArgs_bias(DI), R15")
	t.p("MOVQ winogradOutArgs_n(DI), CX")
	t.keep(winogradConstants)

	t.label("channel")
	m := func(i, j int) string { return place(fmt.Sprintf("R%d", 8+i), j) }
	even, odd := [6]int{0, 1, 2, 3, 4, 5}, [6]int{6, 7, 8, 9, 10, 11}
	q := t.v(12)
	for j := range 6 {
		s0, p := t.v(even[j]), t.v(odd[j])
		t.p("VMOVUPS %s, %s", m(1, j), p)
		t.p("VADDPS %s, %[2]s, %[2]s", m(2, j), p)
		t.p("VMOVUPS %s, %s", m(3, j), q)
		t.p("VADDPS %s, %[2]s, %[2]s", m(4, j), q)
		t.p("VADDPS %s, %s, %s", m(0, j), p, s0)
		t.p("VADDPS %s, %[2]s, %[2]s", q, s0)
		t.p("VFMADD231PS %s, %s, %s", t.factor("four"), q, p)
	}
	t.outputStore(even, 0, cols, add)
	t.outputStore(odd, 2, cols, add)
	for j := range 6 {
		s1, d := t.v(even[j]), t.v(odd[j])
		t.p("VMOVUPS %s, %s", m(1, j), d)
		t.p("VSUBPS %s, %[2]s, %[2]s", m(2, j), d)
		t.p("VMOVUPS %s, %s", m(3, j), q)
		t.p("VSUBPS %s, %[2]s, %[2]s", m(4, j), q)
		t.p("VMOVAPS %s, %s", d, s1)
		t.p("VFMADD231PS %s, %s, %s", t.factor("two"), q, s1)
		t.p("VFMADD231PS %s, %s, %s", t.factor("eight"), q, d)
		t.p("VADDPS %s, %[2]s, %[2]s", m(5, j), d)
	}
	t.outputStore(even, 1, cols, add)
	t.outputStore(odd, 3, cols, add)
	for i := range 6 {
		t.p("ADDQ winogradOutArgs_srcStep(DI), R%d", 8+i)
	}
	t.p("ADDQ winogradOutArgs_biasStep(DI), R15")
	t.p("DECQ CX")
	t.p("JNZ channel")
	t.end()
}

// outputStore multiplies a row of Aᵀm by A and finishes row k of the output.
func (t *target) outputStore(row [6]int, k, cols int, add bool) {
	r := func(i int) string { return t.v(row[i]) }
	p, q, bias := t.v(12), t.v(13), t.v(14)
	store := func(y string, j int) {
		if add {
			t.p("VADDPS %d(AX), %[2]s, %[2]s", 64*j, y)
		} else {
			t.p("VADDPS %s, %[2]s, %[2]s", bias, y)
		}
		t.p("VMOVUPS %s, %d(AX)", y, 64*j)
	}
	t.p("MOVQ (winogradOutArgs_row+%d)(DI), AX", 8*k)
	if !add {
		t.p("VBROADCASTSS (R15), %s", bias)
	}
	t.p("VADDPS %s, %s, %s", r(2), r(1), p)
	t.p("VADDPS %s, %s, %s", r(4), r(3), q)
	t.p("VADDPS %s, %[2]s, %[2]s", p, r(0))
	t.p("VADDPS %s, %[2]s, %[2]s", q, r(0))
	store(r(0), 0)
	if cols > 1 {
		t.p("VSUBPS %s, %s, %[2]s", r(2), r(1))
		t.p("VSUBPS %s, %s, %[2]s", r(4), r(3))
		t.p("VMOVAPS %s, %s", r(1), r(2))
		t.p("VFMADD231PS %s, %s, %s", t.factor("two"), r(3), r(2))
		store(r(2), 1)
	}
	if cols > 2 {
		t.p("VFMADD231PS %s, %s, %s", t.factor("four"), q, p)
		store(p, 2)
	}
	if cols > 3 {
		t.p("VFMADD231PS %s, %s, %s", t.factor("eight"), r(3), r(1))
		t.p("VADDPS %s, %[2]s, %[2]s", r(5), r(1))
		store(r(1), 3)
	}
	t.p("ADDQ (winogradOutArgs_rowStep+%d)(DI), AX", 8*k)
	t.p("MOVQ AX, (winogradOutArgs_row+%d)(DI)", 8*k)
}

// winogradProduct writes the sums over input channels for o output channels of
// n tiles, at each of several positions for each of several groups of output
// channels. R15, R9 and R10 address a position's results, inputs and weights,
// R11 a group's results. The arguments stay as they are.
func (t *target) winogradProduct(o, n int) {
	t.begin("winogradProduct", fmt.Sprintf("winogradProduct%dx%d", o, n), fmt.Sprintf("[2]int{%d, %d}", o, n), "winogradProductArgs")
	acc := func(i, j int) string { return t.v(i*n + j) }
	x := func(j int) string { return t.v(o*n + j) }
	w := t.v(o*n + n)
	for _, f := range []struct{ field, register string }{
		{"dst", "R15"}, {"x", "R9"}, {"w", "R10"}, {"kStep", "BX"}, {"wStep", "SI"}, {"dstChan", "R12"}, {"positions", "R14"},
	} {
		t.p("MOVQ winogradProductArgs_%s(DI), %s", f.field, f.register)
	}
	t.label("position")
	t.p("MOVQ R10, DX")
	t.p("MOVQ R15, R11")
	t.p("MOVQ winogradProductArgs_groups(DI), R13")
	t.label("group")
	for i := range o * n {
		t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(i))
	}
	t.p("MOVQ R9, R8")
	t.p("MOVQ winogradProductArgs_k(DI), CX")
	t.label("k")
	for j := range n {
		t.p("VMOVUPS %d(R8), %s", 64*j, x(j))
	}
	for i := range o {
		t.p("VBROADCASTSS %d(DX), %s", 4*i, w)
		for j := range n {
			t.p("VFMADD231PS %s, %s, %s", x(j), w, acc(i, j))
		}
	}
	t.p("ADDQ BX, R8")
	t.p("ADDQ SI, DX")
	t.p("DECQ CX")
	t.p("JNZ k")
	t.p("MOVQ R11, AX")
	for i := range o {
		for j := range n {
			t.p("VMOVUPS %s, %d(AX)", acc(i, j), 64*j)
		}
		if i < o-1 {
			t.p("ADDQ R12, AX")
		}
	}
	t.p("ADDQ winogradProductArgs_dstGroup(DI), R11")
	t.p("DECQ R13")
	t.p("JNZ group")
	t.p("ADDQ winogradProductArgs_wPosition(DI), R10")
	t.p("ADDQ winogradProductArgs_xPosition(DI), R9")
	t.p("ADDQ winogradProductArgs_dstPosition(DI), R15")
	t.p("DECQ R14")
	t.p("JNZ position")
	t.end()
}
