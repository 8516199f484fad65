package main

// gradient writes a kernel on n coordinates of per-example gradients: R2 walks
// g, R3 counts its coordinates; dst, scale and mask are in R1, R4 and R5. It
// makes passes over as many parts of the lanes, the current one's first lane
// in R15.
func (t *arm64) gradient(name string, passes int, setup, one, finish func()) {
	t.begin("", name, "", "gradientArgs")
	for i, field := range []string{"dst", "g", "n", "scale", "mask"} {
		t.field("gradientArgs", field, registers(1, 5)[i])
	}
	if passes > 1 {
		t.p("MOVD $0, R15")
		t.label("pass")
	}
	if setup != nil {
		setup()
	}
	t.label("loop")
	one()
	t.p("ADD $64, R2")
	t.next("R3", "loop")
	if finish != nil {
		finish()
	}
	if passes > 1 {
		t.p("ADD $%d, R15", 16/passes)
		t.p("CMP $16, R15")
		t.p("BNE pass")
	}
	t.end()
}

// doubles widens the float32 of a register to float64 in two.
func (t *arm64) doubles(from, to int) {
	t.op("fcvtl", to, from)
	t.op("fcvtl2", to+1, from)
}

func (t *arm64) loadFour(pointer string, off, v int) {
	t.p("FLDPQ %d(%s), (F%d, F%d)", off, pointer, v, v+1)
	t.p("FLDPQ %d(%s), (F%d, F%d)", off+32, pointer, v+2, v+3)
}

func (t *arm64) storeFour(v int, pointer string, off int) {
	t.p("FSTPQ (F%d, F%d), %d(%s)", v, v+1, off, pointer)
	t.p("FSTPQ (F%d, F%d), %d(%s)", v+2, v+3, off+32, pointer)
}

func (t *arm64) gradients() {
	t.gradient("sumLanes", 1, nil, func() {
		t.loadFour("R2", 0, 0)
		t.op("fadd", 0, 0, 2)
		t.op("fadd", 1, 1, 3)
		t.op("fadd", 0, 0, 1)
		t.p("VEXT $8, V0.B16, V0.B16, V1.B16")
		t.op("fadd", 0, 0, 1)
		t.op("faddp", 0, 0)
		t.p("FMOVS (R1), F1")
		t.p("FADDS F0, F1, F1")
		t.p("FMOVS F1, (R1)")
		t.p("ADD $4, R1")
	}, nil)

	t.gradient("squaredNorms", 1, func() {
		t.loadFour("R1", 0, 0)
		t.loadFour("R1", 64, 4)
	}, func() {
		t.loadFour("R2", 0, 16)
		for q := range 4 {
			t.doubles(16+q, 20+2*q)
		}
		for i := range 8 {
			t.op("fmlaD", i, 20+i, 20+i)
		}
	}, func() {
		t.storeFour(0, "R1", 0)
		t.storeFour(4, "R1", 64)
	})
	t.quantize()

	const scale, mask = 16, 24
	t.gradient("accumulate", 1, func() {
		t.loadFour("R4", 0, scale)
		t.loadFour("R4", 64, scale+4)
		t.loadFour("R5", 0, mask)
	}, func() {
		t.loadFour("R2", 0, 0)
		for q := range 4 {
			t.doubles(q, 8+2*q)
		}
		for i := range 8 {
			t.op("fmulD", 8+i, 8+i, scale+i)
			t.op("fcvtnsD", 8+i, 8+i)
		}
		for q := range 4 {
			t.op("xtn", q, 8+2*q)
			t.op("xtn2", q, 9+2*q)
			t.op("and", q, q, mask+q)
		}
		t.op("add", 0, 0, 1)
		t.op("add", 2, 2, 3)
		t.op("add", 0, 0, 2)
		t.p("VADDV V0.S4, V0")
		t.p("VMOV V0.S[0], R6")
		t.p("MOVW (R1), R7")
		t.p("ADDW R6, R7")
		t.p("MOVW R7, (R1)")
		t.p("ADD $4, R1")
	}, nil)
}

// quantize works on eight lanes at a time. The state at R1 is sum, overflow and
// invalid, 16 uint64 each.
func (t *arm64) quantize() {
	const sum, overflow, valid, scale, x, v, mask, limit, notInteger = 0, 4, 8, 12, 16, 18, 22, 28, 29
	t.gradient("quantize", 2, func() {
		t.field("gradientArgs", "g", "R2")
		t.field("gradientArgs", "n", "R3")
		t.p("ADD R15<<2, R2")
		t.p("ADD R15<<3, R4, R6")
		t.p("ADD R15<<3, R1, R7")
		t.loadFour("R7", 0, sum)
		t.loadFour("R7", 128, overflow)
		t.loadFour("R6", 0, scale)
		t.p("MOVD $0x41e0000000000000, R26 // 2³¹")
		t.p("VDUP R26, V%d.D2", limit)
		t.p("MOVD $-0x80000000, R26")
		t.p("VDUP R26, V%d.D2", notInteger)
		for i := range 4 {
			t.op("fcmeq", valid+i, limit, limit)
		}
	}, func() {
		t.p("FLDPQ (R2), (F%d, F%d)", x, x+1)
		t.doubles(x, v)
		t.doubles(x+1, v+2)
		for i := range 4 {
			v, m := v+i, mask+i
			t.op("fmulD", v, v, scale+i)
			t.op("frintnD", v, v)
			t.op("facgtD", m, limit, v) // not of a NaN
			t.op("fcvtzsD", v, v)
			t.op("bif", v, notInteger, m)
			t.op("and", valid+i, valid+i, m)
			t.op("xtn", v, v)
			t.op("smull", v, v, v)
			t.op("addD", sum+i, sum+i, v)
			t.op("cmhiD", m, v, sum+i) // addend > sum: a carry
			t.op("orr", overflow+i, overflow+i, m)
		}
	}, func() {
		t.storeFour(sum, "R7", 0)
		t.storeFour(overflow, "R7", 128)
		t.loadFour("R7", 256, x)
		for i := range 4 {
			t.op("not", valid+i, valid+i)
			t.op("orr", valid+i, valid+i, x+i)
		}
		t.storeFour(valid, "R7", 256)
	})
}
