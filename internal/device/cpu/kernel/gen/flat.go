package main

import "fmt"

// flat says how a kernel on flat vectors works: dst, x, y and z are in R8 to
// R11, the byte offset in AX. Scalar i of the arguments is in every lane of s(i).
type flat struct {
	op, name      string
	scalars       int
	setup, finish func()
	one           func(off int)
}

func (t *target) flat(f flat) {
	t.begin("flat", f.name, f.op, "flatArgs")
	for i, tensor := range []string{"dst", "x", "y", "z"} {
		t.p("MOVQ flatArgs_%s(DI), R%d", tensor, 8+i)
	}
	t.p("MOVQ flatArgs_n(DI), CX") // groups of 16 floats
	for i := range f.scalars {
		t.p("VBROADCASTSS (flatArgs_s+%d)(DI), %s", 4*i, t.s(i))
	}
	if f.setup != nil {
		f.setup()
	}
	t.p("XORQ AX, AX")
	t.label("loop")
	for off := 0; off < 64; off += t.width {
		f.one(off)
	}
	t.p("ADDQ $64, AX")
	t.p("DECQ CX")
	t.p("JNZ loop")
	if f.finish != nil {
		f.finish()
	}
	t.end()
}

// s names the register of a scalar of a flat kernel.
func (t *target) s(i int) string { return t.v(t.regs - 1 - i) }

// flats writes the kernels by the steps of flatPortable.
func (t *target) flats() {
	at := func(pointer string, off int) string { return fmt.Sprintf("%d(%s)(AX*1)", off, pointer) }
	v := t.v

	t.flat(flat{op: "opCombine", name: "combine", scalars: 2, one: func(off int) {
		t.p("VMULPS %s, %s, %s", at("R9", off), t.s(0), v(0))
		t.p("VMULPS %s, %s, %s", at("R10", off), t.s(1), v(1))
		t.p("VADDPS %s, %s, %s", v(1), v(0), v(0))
		t.p("VMOVUPS %s, %s", v(0), at("R8", off))
	}})
	t.flat(flat{op: "opAddScaled", name: "addScaled", scalars: 1, one: func(off int) {
		t.p("VMULPS %s, %s, %s", at("R9", off), t.s(0), v(0))
		t.p("VADDPS %s, %s, %s", at("R8", off), v(0), v(0))
		t.p("VMOVUPS %s, %s", v(0), at("R8", off))
	}})
	t.flat(flat{op: "opDivideDifference", name: "divideDifference", scalars: 2, one: func(off int) {
		t.p("VMULPS %s, %s, %s", at("R10", off), t.s(0), v(1))
		t.p("VMOVUPS %s, %s", at("R9", off), v(0))
		t.p("VSUBPS %s, %s, %s", v(1), v(0), v(0))
		t.p("VDIVPS %s, %s, %s", t.s(1), v(0), v(0))
		t.p("VMOVUPS %s, %s", v(0), at("R8", off))
	}})
	t.clamp(at)
	t.adam("opAdam", "adam", at, func(x string) {
		t.p("VSQRTPS %[1]s, %[1]s", x)
		t.p("VADDPS %s, %[2]s, %[2]s", t.s(7), x)
	})
	t.adam("opAdamNoise", "adamNoise", at, func(x string) {
		t.p("VSUBPS %s, %[2]s, %[2]s", t.s(8), x)
		t.p("VMAXPS %s, %s, %[1]s", x, t.s(9))
		t.p("VSQRTPS %[1]s, %[1]s", x)
	})
}

// clamp keeps NaN and reports it.
func (t *target) clamp(at func(pointer string, off int) string) {
	x, nan, unordered := t.v(0), t.v(1), t.v(2)
	t.flat(flat{op: "opClamp", name: "clamp", scalars: 2, setup: func() {
		if t == avx512 {
			t.p("KXORW K2, K2, K2")
		} else {
			t.p("VXORPS %[1]s, %[1]s, %[1]s", unordered)
		}
	}, one: func(off int) {
		t.p("VMOVUPS %s, %s", at("R8", off), x)
		if t == avx512 {
			t.p("VCMPPS $3, %[1]s, %[1]s, K1", x)
			t.p("KORW K1, K2, K2")
		} else {
			t.p("VCMPPS $3, %[1]s, %[1]s, %[2]s", x, nan)
			t.p("VORPS %s, %[2]s, %[2]s", nan, unordered)
		}
		t.p("VMAXPS %[1]s, %[2]s, %[1]s", x, t.s(0))
		t.p("VMINPS %[1]s, %[2]s, %[1]s", x, t.s(1))
		t.p("VMOVUPS %s, %s", x, at("R8", off))
	}, finish: func() {
		if t == avx512 {
			t.p("KMOVW K2, AX")
		} else {
			t.p("VMOVMSKPS %s, AX", unordered)
		}
		t.p("MOVQ AX, flatArgs_found(DI)")
	}})
}

// adam writes a step of Adam whose denominator is made of the bias-corrected
// second moment in a register.
func (t *target) adam(op, name string, at func(pointer string, off int) string, denominator func(x string)) {
	g, m, u, p := t.v(0), t.v(1), t.v(2), t.v(3)
	t.flat(flat{op: op, name: name, scalars: 10, one: func(off int) {
		t.p("VMOVUPS %s, %s", at("R11", off), g)
		t.p("VMULPS %s, %s, %s", at("R9", off), t.s(0), m)
		t.p("VMULPS %s, %s, %s", t.s(1), g, p)
		t.p("VADDPS %s, %s, %s", p, m, m)
		t.p("VMOVUPS %s, %s", m, at("R9", off))
		t.p("VMULPS %s, %s, %s", at("R10", off), t.s(2), u)
		t.p("VMULPS %[1]s, %[1]s, %[1]s", g)
		t.p("VMULPS %s, %s, %s", t.s(3), g, p)
		t.p("VADDPS %s, %s, %s", p, u, u)
		t.p("VMOVUPS %s, %s", u, at("R10", off))
		t.p("VDIVPS %s, %s, %s", t.s(5), u, u)
		denominator(u)
		t.p("VMULPS %s, %s, %s", t.s(4), m, m)
		t.p("VDIVPS %s, %s, %s", u, m, m)
		t.p("VMULPS %s, %s, %s", at("R8", off), t.s(6), p)
		t.p("VSUBPS %s, %s, %s", m, p, p)
		t.p("VMOVUPS %s, %s", p, at("R8", off))
	}})
}
