package main

import "math"

// A plane kernel walks rows of pixels. dst, x and y of the current row are in
// R8, R9 and R10, the byte offset within the row in AX.

// stream says how a plane kernel uses its tensors.
type stream struct {
	op     string // constant of package kernel
	name   string
	unroll int
	// setup loads vectors; one processes the pixel at AX + off, where u numbers
	// the copies of an unrolled loop.
	setup func()
	one   func(u, off int)
	// mixed interleaves the copies, which then must not share registers: for
	// long chains of operations.
	mixed bool
	// finish stores the sums of a reduction.
	finish func()
	// scaleDst and scaleX are 2 where that tensor has twice the height and width.
	scaleDst, scaleX int
}

func (t *target) plane(s stream) {
	t.begin("plane", s.name, s.op, "planeArgs")
	t.p("MOVQ planeArgs_dst(DI), R8")
	t.p("MOVQ planeArgs_x(DI), R9")
	t.p("MOVQ planeArgs_y(DI), R10")
	t.p("MOVQ planeArgs_dRow(DI), R11")
	t.p("MOVQ planeArgs_xRow(DI), R12")
	t.p("MOVQ planeArgs_yRow(DI), R13")
	t.p("SHLQ $2, R11")
	t.p("SHLQ $2, R12")
	t.p("SHLQ $2, R13")
	t.p("MOVQ planeArgs_rows(DI), BX")
	t.p("MOVQ planeArgs_v(DI), DX")
	if s.setup != nil {
		s.setup()
	}
	t.label("row")
	t.p("MOVQ planeArgs_cols(DI), CX")
	t.p("XORQ AX, AX")
	if s.unroll > 1 {
		t.p("SUBQ $%d, CX", s.unroll)
		t.p("JLT tail")
		t.label("main")
		if s.mixed {
			t.interleave(s.unroll, func(u int) { s.one(u, 64*u) })
		} else {
			for u := range s.unroll {
				s.one(u, 64*u)
			}
		}
		t.p("ADDQ $%d, AX", 64*s.unroll)
		t.p("SUBQ $%d, CX", s.unroll)
		t.p("JGE main")
		t.label("tail")
		t.p("ADDQ $%d, CX", s.unroll)
		// The tail's pixels are distinct copies, for reductions depend on the
		// column modulo the unrolling.
		for u := range s.unroll - 1 {
			t.p("DECQ CX")
			t.p("JLT next")
			s.one(u, 64*u)
		}
	} else {
		t.label("main")
		s.one(0, 0)
		t.p("ADDQ $64, AX")
		t.p("DECQ CX")
		t.p("JNZ main")
	}
	t.label("next")
	for _, r := range []struct {
		pointer, step string
		scale         int
	}{{"R8", "R11", s.scaleDst}, {"R9", "R12", s.scaleX}, {"R10", "R13", 1}} {
		t.p("ADDQ %s, %s", r.step, r.pointer)
		if r.scale == 2 {
			t.p("ADDQ %s, %s", r.step, r.pointer)
		}
	}
	t.p("DECQ BX")
	t.p("JNZ row")
	if s.finish != nil {
		s.finish()
	}
	t.end()
}

func (t *target) planes() {
	t.simplePlanes()
	t.siluPlanes()
	t.normPlanes()
	t.reductions()
	t.quads()
	t.softmax()
}

// vectors loads the first n vectors of the arguments into registers from on.
func (t *target) vectors(from, n int) {
	for i := range n {
		t.p("VMOVUPS %d(DX), %s", 64*i, t.v(from+i))
	}
}

func (t *target) simplePlanes() {
	load := func(p string, off int, r string) { t.p("VMOVUPS %d(%s)(AX*1), %s", off, p, r) }
	store := func(r string, off int) { t.p("VMOVUPS %s, %d(R8)(AX*1)", r, off) }
	const v0 = 15 // register of the vector operand
	vector := func() { t.p("VMOVUPS (DX), %s", t.v(v0)) }
	zero := func() { t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(v0)) }

	t.plane(stream{op: "opCopy", name: "copy", unroll: 4, one: func(u, off int) {
		load("R9", off, t.v(u))
		store(t.v(u), off)
	}})
	// Stores past the caches are of all lanes at once, for half a line is slow.
	around := func(u, off int, change func(u, off int)) {
		for part := 0; part < 64; part += t.width {
			load("R9", off+part, t.v(u))
			change(u, off+part)
			t.p("VMOVNTPS %s, %d(R8)(AX*1)", t.v(u), off+part)
		}
	}
	fence := func() { t.p("SFENCE") } // a goroutine may go on on another processor
	t.plane(stream{op: "opCopyAround", name: "copyAround", unroll: 4, one: func(u, off int) {
		around(u, off, func(int, int) {})
	}, finish: fence})
	t.plane(stream{op: "opAddAround", name: "addAround", unroll: 4, one: func(u, off int) {
		around(u, off, func(u, off int) { t.p("VADDPS %d(R10)(AX*1), %[2]s, %[2]s", off, t.v(u)) })
	}, finish: fence})
	t.plane(stream{op: "opFill", name: "fill", unroll: 4, setup: vector, one: func(u, off int) {
		store(t.v(v0), off)
	}})
	t.plane(stream{op: "opAdd", name: "add", unroll: 4, one: func(u, off int) {
		load("R9", off, t.v(u))
		t.p("VADDPS %d(R10)(AX*1), %[2]s, %[2]s", off, t.v(u))
		store(t.v(u), off)
	}})
	t.plane(stream{op: "opAxpy", name: "axpy", unroll: 4, setup: vector, one: func(u, off int) {
		load("R8", off, t.v(u))
		t.p("VFMADD231PS %d(R9)(AX*1), %s, %s", off, t.v(v0), t.v(u))
		store(t.v(u), off)
	}})
	t.plane(stream{op: "opScale", name: "scale", unroll: 4, setup: vector, one: func(u, off int) {
		t.p("VMULPS %d(R9)(AX*1), %s, %s", off, t.v(v0), t.v(u))
		store(t.v(u), off)
	}})
	t.plane(stream{op: "opAddVector", name: "addVector", unroll: 4, setup: vector, one: func(u, off int) {
		t.p("VADDPS %d(R9)(AX*1), %s, %s", off, t.v(v0), t.v(u))
		store(t.v(u), off)
	}})
	t.plane(stream{op: "opReLU", name: "relu", unroll: 4, setup: zero, one: func(u, off int) {
		t.p("VMAXPS %d(R9)(AX*1), %s, %s", off, t.v(v0), t.v(u))
		store(t.v(u), off)
	}})
	gate := func(u, off int) {
		load("R9", off, t.v(u))
		if t == avx512 {
			t.p("VCMPPS $0x1e, %s, %s, K1", t.v(v0), t.v(u))
			t.p("VMOVUPS.Z %d(R10)(AX*1), K1, %s", off, t.v(u))
			return
		}
		t.p("VCMPPS $0x1e, %[1]s, %[2]s, %[2]s", t.v(v0), t.v(u))
		t.p("VANDPS %d(R10)(AX*1), %[2]s, %[2]s", off, t.v(u))
	}
	t.plane(stream{op: "opReLUBackward", name: "reluBackward", unroll: 4, setup: zero, one: func(u, off int) {
		gate(u, off)
		store(t.v(u), off)
	}})
	t.plane(stream{op: "opReLUBackwardAdd", name: "reluBackwardAdd", unroll: 4, setup: zero, one: func(u, off int) {
		gate(u, off)
		t.p("VADDPS %d(R8)(AX*1), %[2]s, %[2]s", off, t.v(u))
		store(t.v(u), off)
	}})
	difference := func(u, off int) {
		load("R9", off, t.v(u))
		t.p("VSUBPS %d(R10)(AX*1), %[2]s, %[2]s", off, t.v(u))
	}
	t.plane(stream{op: "opScaledDifference", name: "scaledDifference", unroll: 4, setup: vector, one: func(u, off int) {
		difference(u, off)
		t.p("VMULPS %s, %[2]s, %[2]s", t.v(v0), t.v(u))
		store(t.v(u), off)
	}})
	t.plane(stream{op: "opScaledDifferenceAdd", name: "scaledDifferenceAdd", unroll: 4, setup: vector, one: func(u, off int) {
		difference(u, off)
		t.p("VFMADD213PS %d(R8)(AX*1), %s, %s", off, t.v(v0), t.v(u))
		store(t.v(u), off)
	}})
}

// expConstants are those of kernel.Exp and of what is made of it.
var expConstants = map[string]float32{
	"expLow": -86.5, "expHigh": 88, "log2E": math.Log2E, "round": 12582912,
	"minusLn2High": -0.693359375, "minusLn2Low": 2.12194440e-4,
	"exp5": 1.9875691500e-4, "exp4": 1.3981999507e-3, "exp3": 8.3334519073e-3,
	"exp2": 4.1665795894e-2, "exp1": 1.6666665459e-1, "exp0": 5.0000001201e-1,
	"one": 1, "signBit": float32(math.Copysign(0, -1)),
}

func (t *target) keepExp() { t.keep(expConstants) }

func (t *target) expConstant(name string) string { return t.constant(name, expConstants[name]) }

// exp replaces x by e^x, by the steps of kernel.Exp, using two other registers.
func (t *target) exp(x, a, b string) {
	round := t.expConstant("round")
	t.p("VMOVUPS %s, %s", t.expConstant("expLow"), a)
	t.p("VMAXPS %s, %s, %s", x, a, x)
	t.p("VMOVUPS %s, %s", t.expConstant("expHigh"), a)
	t.p("VMINPS %s, %s, %s", x, a, x)
	t.p("VMOVUPS %s, %s", t.expConstant("log2E"), a)
	t.p("VFMADD213PS %s, %s, %s", round, x, a) // t
	t.p("VSUBPS %s, %s, %s", round, a, b)      // n
	t.p("VFMADD231PS %s, %s, %s", t.expConstant("minusLn2High"), b, x)
	t.p("VFMADD231PS %s, %s, %s", t.expConstant("minusLn2Low"), b, x) // r
	t.p("VMOVUPS %s, %s", t.expConstant("exp5"), b)
	t.p("VFMADD213PS %s, %s, %s", t.expConstant("exp4"), x, b)
	t.p("VFMADD213PS %s, %s, %s", t.expConstant("exp3"), x, b)
	t.p("VFMADD213PS %s, %s, %s", t.expConstant("exp2"), x, b)
	t.p("VFMADD213PS %s, %s, %s", t.expConstant("exp1"), x, b)
	t.p("VFMADD213PS %s, %s, %s", t.expConstant("exp0"), x, b)
	t.p("VMULPS %s, %s, %s", x, b, b)      // p·r
	t.p("VFMADD213PS %s, %s, %s", x, x, b) // p·r·r + r
	t.p("VADDPS %s, %s, %s", t.expConstant("one"), b, b)
	t.p("VPSLLD $23, %s, %s", a, a)
	t.p("VPADDD %s, %s, %s", t.expConstant("one"), a, a)
	t.p("VMULPS %s, %s, %s", b, a, x)
}

// sigmoid sets s to 1/(1+e^-x), keeping x.
func (t *target) sigmoid(x, s, a, b string) {
	t.p("VXORPS %s, %s, %s", t.expConstant("signBit"), x, s)
	t.exp(s, a, b)
	t.p("VADDPS %s, %s, %s", t.expConstant("one"), s, s)
	t.p("VMOVUPS %s, %s", t.expConstant("one"), a)
	t.p("VDIVPS %s, %s, %s", s, a, s)
}

// silu replaces x by x/(1+e^-x).
func (t *target) silu(x, s, a, b string) {
	t.p("VXORPS %s, %s, %s", t.expConstant("signBit"), x, s)
	t.exp(s, a, b)
	t.p("VADDPS %s, %s, %s", t.expConstant("one"), s, s)
	t.p("VDIVPS %s, %s, %s", s, x, x)
}

// siluSlope replaces x by the derivative of x·sigmoid(x).
func (t *target) siluSlope(x, s, a, b string) {
	t.sigmoid(x, s, a, b)
	t.p("VMOVUPS %s, %s", t.expConstant("one"), a)
	t.p("VSUBPS %s, %s, %s", s, a, b)
	t.p("VFMADD213PS %s, %s, %s", a, b, x)
	t.p("VMULPS %s, %s, %s", s, x, x)
}

func (t *target) siluPlanes() {
	t.plane(stream{op: "opSiLU", name: "silu", unroll: 3, mixed: true, setup: t.keepExp, one: func(u, off int) {
		x := t.v(4 * u)
		t.p("VMOVUPS %d(R9)(AX*1), %s", off, x)
		t.silu(x, t.v(4*u+1), t.v(4*u+2), t.v(4*u+3))
		t.p("VMOVUPS %s, %d(R8)(AX*1)", x, off)
	}})
	slope := func(u, off int) string {
		x := t.v(4 * u)
		t.p("VMOVUPS %d(R9)(AX*1), %s", off, x)
		t.siluSlope(x, t.v(4*u+1), t.v(4*u+2), t.v(4*u+3))
		t.p("VMULPS %d(R10)(AX*1), %[2]s, %[2]s", off, x)
		return x
	}
	t.plane(stream{op: "opSiLUBackward", name: "siluBackward", unroll: 3, mixed: true, setup: t.keepExp, one: func(u, off int) {
		t.p("VMOVUPS %s, %d(R8)(AX*1)", slope(u, off), off)
	}})
	t.plane(stream{op: "opSiLUBackwardAdd", name: "siluBackwardAdd", unroll: 3, mixed: true, setup: t.keepExp, one: func(u, off int) {
		x := slope(u, off)
		t.p("VADDPS %d(R8)(AX*1), %[2]s, %[2]s", off, x)
		t.p("VMOVUPS %s, %d(R8)(AX*1)", x, off)
	}})
}

func (t *target) normPlanes() {
	const base = 12 // vectors v0, v1… are in registers from here
	v := func(i int) string { return t.v(base + i) }
	affine := func(x string, off int) {
		t.p("VMOVUPS %d(R9)(AX*1), %s", off, x)
		t.p("VSUBPS %s, %[2]s, %[2]s", v(0), x)
		t.p("VFMADD213PS %s, %s, %s", v(2), v(1), x)
	}
	three := func() { t.vectors(base, 3) }
	t.plane(stream{op: "opAffine", name: "affine", unroll: 4, setup: three, one: func(u, off int) {
		affine(t.v(u), off)
		t.p("VMOVUPS %s, %d(R8)(AX*1)", t.v(u), off)
	}})
	t.plane(stream{op: "opAffineSiLU", name: "affineSiLU", unroll: 3, mixed: true, setup: func() { three(); t.keepExp() }, one: func(u, off int) {
		x := t.v(4 * u)
		affine(x, off)
		t.silu(x, t.v(4*u+1), t.v(4*u+2), t.v(4*u+3))
		t.p("VMOVUPS %s, %d(R8)(AX*1)", x, off)
	}})
	backward := func(u, off int) {
		t.p("VMOVUPS %d(R9)(AX*1), %s", off, t.v(u))
		t.p("VSUBPS %s, %[2]s, %[2]s", v(0), t.v(u))
		t.p("VFMADD213PS %s, %s, %s", v(3), v(2), t.v(u))
		t.p("VFMADD231PS %d(R10)(AX*1), %s, %s", off, v(1), t.v(u))
	}
	four := func() { t.vectors(base, 4) }
	t.plane(stream{op: "opNormBackward", name: "normBackward", unroll: 4, setup: four, one: func(u, off int) {
		backward(u, off)
		t.p("VMOVUPS %s, %d(R8)(AX*1)", t.v(u), off)
	}})
	t.plane(stream{op: "opNormBackwardAdd", name: "normBackwardAdd", unroll: 4, setup: four, one: func(u, off int) {
		backward(u, off)
		t.p("VADDPS %d(R8)(AX*1), %[2]s, %[2]s", off, t.v(u))
		t.p("VMOVUPS %s, %d(R8)(AX*1)", t.v(u), off)
	}})
}

// reductions keep four chains, of the columns congruent modulo 4.
func (t *target) reductions() {
	zero := func(from, n int) {
		for i := range n {
			t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(from+i))
		}
	}
	// fold adds (s0+s1) + (s2+s3) to a vector of the arguments.
	fold := func(from, vector int) {
		t.p("VADDPS %s, %s, %s", t.v(from+1), t.v(from), t.v(from))
		t.p("VADDPS %s, %s, %s", t.v(from+3), t.v(from+2), t.v(from+2))
		t.p("VADDPS %s, %s, %s", t.v(from+2), t.v(from), t.v(from))
		t.p("VADDPS %d(DX), %[2]s, %[2]s", 64*vector, t.v(from))
		t.p("VMOVUPS %s, %d(DX)", t.v(from), 64*vector)
	}
	t.plane(stream{op: "opSum", name: "sum", unroll: 4,
		setup:  func() { zero(0, 4) },
		one:    func(u, off int) { t.p("VADDPS %d(R9)(AX*1), %[2]s, %[2]s", off, t.v(u)) },
		finish: func() { fold(0, 0) },
	})
	t.plane(stream{op: "opSquares", name: "squares", unroll: 4,
		setup: func() { zero(0, 4); t.vectors(8, 1) },
		one: func(u, off int) {
			t.p("VMOVUPS %d(R9)(AX*1), %s", off, t.v(4+u))
			t.p("VSUBPS %s, %[2]s, %[2]s", t.v(8), t.v(4+u))
			t.p("VFMADD231PS %[1]s, %[1]s, %[2]s", t.v(4+u), t.v(u))
		},
		finish: func() { fold(0, 1) },
	})
	t.plane(stream{op: "opSquaredDifference", name: "squaredDifference", unroll: 4,
		setup: func() { zero(0, 4) },
		one: func(u, off int) {
			t.p("VMOVUPS %d(R9)(AX*1), %s", off, t.v(4+u))
			t.p("VSUBPS %d(R10)(AX*1), %[2]s, %[2]s", off, t.v(4+u))
			t.p("VFMADD231PS %[1]s, %[1]s, %[2]s", t.v(4+u), t.v(u))
		},
		finish: func() { fold(0, 0) },
	})
	t.plane(stream{op: "opNormSums", name: "normSums", unroll: 4,
		setup: func() { zero(0, 8); t.vectors(8, 1); t.p("VMOVUPS 192(DX), %s", t.v(9)) },
		one: func(u, off int) {
			t.p("VMOVUPS %d(R9)(AX*1), %s", off, t.v(10))
			t.p("VSUBPS %s, %[2]s, %[2]s", t.v(8), t.v(10))
			t.p("VMULPS %s, %[2]s, %[2]s", t.v(9), t.v(10))
			t.p("VMOVUPS %d(R10)(AX*1), %s", off, t.v(11))
			t.p("VADDPS %s, %[2]s, %[2]s", t.v(11), t.v(u))
			t.p("VFMADD231PS %s, %s, %s", t.v(11), t.v(10), t.v(4+u))
		},
		finish: func() { fold(0, 4); fold(4, 5) },
	})
	t.plane(stream{op: "opNormSumsSiLU", name: "normSumsSiLU", unroll: 4,
		setup: func() { zero(0, 8); t.keepExp() },
		one: func(u, off int) {
			e, z := t.v(8), t.v(9)
			t.p("VMOVUPS %d(R9)(AX*1), %s", off, e)
			t.p("VSUBPS (DX), %[1]s, %[1]s", e)
			t.p("VMOVUPS 64(DX), %s", z)
			t.p("VFMADD213PS 128(DX), %s, %s", e, z)
			t.siluSlope(z, t.v(10), t.v(11), t.v(12))
			t.p("VMULPS %d(R10)(AX*1), %[2]s, %[2]s", off, z)
			t.p("VMOVUPS %s, %d(R8)(AX*1)", z, off)
			t.p("VADDPS %s, %[2]s, %[2]s", z, t.v(u))
			t.p("VMULPS 192(DX), %[1]s, %[1]s", e)
			t.p("VFMADD231PS %s, %s, %s", z, e, t.v(4+u))
		},
		finish: func() { fold(0, 4); fold(4, 5) },
	})
}

// quads are the ops between a plane and one of twice its height and width. SI
// addresses the second row of the larger plane.
func (t *target) quads() {
	upper := func(p string) []string {
		return []string{"(" + p + ")(AX*2)", "64(" + p + ")(AX*2)", "(SI)(AX*2)", "64(SI)(AX*2)"}
	}
	t.plane(stream{op: "opUpsample", name: "upsample", unroll: 1, scaleDst: 2, one: func(u, off int) {
		t.p("LEAQ (R8)(R11*1), SI")
		t.p("VMOVUPS (R9)(AX*1), %s", t.v(0))
		for _, d := range upper("R8") {
			t.p("VMOVUPS %s, %s", t.v(0), d)
		}
	}})
	gather := func() {
		t.p("LEAQ (R9)(R12*1), SI")
		q := upper("R9")
		t.p("VMOVUPS %s, %s", q[0], t.v(0))
		t.p("VADDPS %s, %[2]s, %[2]s", q[1], t.v(0))
		t.p("VMOVUPS %s, %s", q[2], t.v(1))
		t.p("VADDPS %s, %[2]s, %[2]s", q[3], t.v(1))
		t.p("VADDPS %s, %[2]s, %[2]s", t.v(1), t.v(0))
	}
	t.plane(stream{op: "opUpsampleBackward", name: "upsampleBackward", unroll: 1, scaleX: 2, one: func(u, off int) {
		gather()
		t.p("VMOVUPS %s, (R8)(AX*1)", t.v(0))
	}})
	t.plane(stream{op: "opUpsampleBackwardAdd", name: "upsampleBackwardAdd", unroll: 1, scaleX: 2, one: func(u, off int) {
		gather()
		t.p("VADDPS (R8)(AX*1), %[1]s, %[1]s", t.v(0))
		t.p("VMOVUPS %s, (R8)(AX*1)", t.v(0))
	}})
	// maximum leaves the four pixels in registers 0 to 3, their maximum in 4.
	maximum := func() {
		t.p("LEAQ (R9)(R12*1), SI")
		for i, q := range upper("R9") {
			t.p("VMOVUPS %s, %s", q, t.v(i))
		}
		t.p("VMAXPS %s, %s, %s", t.v(1), t.v(0), t.v(4))
		t.p("VMAXPS %s, %[2]s, %[2]s", t.v(2), t.v(4))
		t.p("VMAXPS %s, %[2]s, %[2]s", t.v(3), t.v(4))
	}
	t.plane(stream{op: "opMaxPool", name: "maxPool", unroll: 1, scaleX: 2, one: func(u, off int) {
		maximum()
		t.p("VMOVUPS %s, (R8)(AX*1)", t.v(4))
	}})
	t.plane(stream{op: "opMaxPoolBackward", name: "maxPoolBackward", unroll: 1, scaleX: 2, scaleDst: 2, one: func(u, off int) {
		maximum()
		t.p("LEAQ (R8)(R11*1), SI")
		t.p("VMOVUPS (R10)(AX*1), %s", t.v(5))
		t.firstMaximum(upper("R8"))
	}})
}

// firstMaximum adds register 5 to the pixels at d, in each lane to the first
// whose register 0 to 3 equals register 4.
func (t *target) firstMaximum(d []string) {
	if t == avx512 {
		t.p("KXNORW K1, K1, K1") // lanes without a maximum so far
		for i, p := range d {
			t.p("VCMPPS $0, %s, %s, K1, K2", t.v(4), t.v(i))
			t.p("KANDNW K1, K2, K1")
			t.p("VMOVUPS %s, %s", p, t.v(6))
			t.p("VADDPS %s, %[2]s, K2, %[2]s", t.v(5), t.v(6))
			t.p("VMOVUPS %s, %s", t.v(6), p)
		}
		return
	}
	t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(7)) // lanes with a maximum
	for i, p := range d {
		t.p("VCMPPS $0, %s, %s, %s", t.v(4), t.v(i), t.v(8))
		t.p("VANDNPS %s, %s, %s", t.v(8), t.v(7), t.v(9))
		t.p("VORPS %s, %[2]s, %[2]s", t.v(8), t.v(7))
		t.p("VMOVUPS %s, %s", p, t.v(6))
		t.p("VADDPS %s, %s, %s", t.v(5), t.v(6), t.v(10))
		t.p("VBLENDVPS %s, %s, %[3]s, %[3]s", t.v(9), t.v(10), t.v(6))
		t.p("VMOVUPS %s, %s", t.v(6), p)
	}
}

// softmax works on one row, R8; CX counts its columns.
func (t *target) softmax() {
	m, sum, scale, x := t.v(4), t.v(5), t.v(6), t.v(0)
	pass := func(name string, one func()) {
		t.p("MOVQ planeArgs_cols(DI), CX")
		t.p("XORQ AX, AX")
		t.label(name)
		one()
		t.p("ADDQ $64, AX")
		t.p("DECQ CX")
		t.p("JNZ %s", name)
	}
	open := func() {
		t.p("MOVQ planeArgs_dst(DI), R8")
		t.p("MOVQ planeArgs_x(DI), R9")
		t.p("MOVQ planeArgs_v(DI), DX")
		t.p("VMOVUPS (DX), %s", scale)
		t.p("VXORPS %[1]s, %[1]s, %[1]s", sum)
		t.keepExp()
	}

	t.begin("plane", "softmax", "opSoftmax", "planeArgs")
	open()
	t.p("VMOVUPS %s, %s", t.constant("minusInf", float32(math.Inf(-1))), m)
	pass("maximum", func() { t.p("VMAXPS (R8)(AX*1), %[1]s, %[1]s", m) })
	pass("exponential", func() {
		t.p("VMOVUPS (R8)(AX*1), %s", x)
		t.p("VSUBPS %s, %[2]s, %[2]s", m, x)
		t.p("VMULPS %s, %[2]s, %[2]s", scale, x)
		t.exp(x, t.v(1), t.v(2))
		t.p("VADDPS %s, %[2]s, %[2]s", x, sum)
		t.p("VMOVUPS %s, (R8)(AX*1)", x)
	})
	t.p("VMOVUPS %s, %s", t.expConstant("one"), x)
	t.p("VDIVPS %s, %s, %s", sum, x, sum)
	pass("quotient", func() {
		t.p("VMULPS (R8)(AX*1), %s, %s", sum, x)
		t.p("VMOVUPS %s, (R8)(AX*1)", x)
	})
	t.end()

	t.begin("plane", "softmaxBackward", "opSoftmaxBackward", "planeArgs")
	open()
	pass("dot", func() {
		t.p("VMOVUPS (R9)(AX*1), %s", x)
		t.p("VFMADD231PS (R8)(AX*1), %s, %s", x, sum)
	})
	pass("gradient", func() {
		t.p("VMOVUPS (R8)(AX*1), %s", x)
		t.p("VSUBPS %s, %[2]s, %[2]s", sum, x)
		t.p("VMULPS (R9)(AX*1), %[1]s, %[1]s", x)
		t.p("VMULPS %s, %[2]s, %[2]s", scale, x)
		t.p("VMOVUPS %s, (R8)(AX*1)", x)
	})
	t.end()
}
