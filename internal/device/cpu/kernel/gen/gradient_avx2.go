package main

// gradientsAVX2 writes the kernels on per-example gradients g[P][16] for
// targets of 32 bytes. All 16 lanes take part in one pass: in float64 and in
// uint64 they fill four registers.
func (t *target) gradientsAVX2() {
	t.gradient("sumLanes", nil, func() {
		t.p("VMOVUPS (SI), Y0")
		t.p("VADDPS 32(SI), Y0, Y0")
		t.p("VEXTRACTF128 $1, Y0, X1")
		t.p("VADDPS X1, X0, X0")
		t.p("VPERMILPS $0x0e, X0, X1")
		t.p("VADDPS X1, X0, X0")
		t.p("VPERMILPS $1, X0, X1")
		t.p("VADDSS X1, X0, X0")
		t.p("VADDSS (R8), X0, X0")
		t.p("VMOVSS X0, (R8)")
		t.p("ADDQ $4, R8")
	}, nil)

	quarters := func(f func(q int)) {
		for q := range 4 {
			f(q)
		}
	}
	t.gradient("squaredNorms", func() {
		quarters(func(q int) { t.p("VMOVUPD %d(R8), Y%d", 32*q, q) })
	}, func() {
		quarters(func(q int) {
			t.p("VCVTPS2PD %d(SI), Y%d", 16*q, 4+q)
			t.p("VFMADD231PD Y%[1]d, Y%[1]d, Y%[2]d", 4+q, q)
		})
	}, func() {
		quarters(func(q int) { t.p("VMOVUPD Y%d, %d(R8)", q, 32*q) })
	})

	// grid leaves v of quarter q of the lanes in the lower half of register r.
	grid := func(q, r int) {
		t.p("VCVTPS2PD %d(SI), Y%d", 16*q, r)
		t.p("VMULPD %d(R9), Y%[2]d, Y%[2]d", 32*q, r)
		t.p("VCVTPD2DQY Y%[1]d, X%[1]d", r)
	}

	// The state at R8 is sum, overflow and invalid, 16 uint64 each. A square is
	// below 2⁶³, so a sum has a carry where its highest bit goes from one to
	// zero; overflow collects those bits.
	sum, overflow, invalid := 0, 4, 8
	t.gradient("quantize", func() {
		quarters(func(q int) {
			t.p("VMOVDQU %d(R8), Y%d", 32*q, sum+q)
			t.p("VPXOR Y%[1]d, Y%[1]d, Y%[1]d", overflow+q)
			t.p("VPXOR Y%[1]d, Y%[1]d, Y%[1]d", invalid+q)
		})
		t.p("VMOVDQU %s, Y15", t.bits("notInteger", 1<<31))
	}, func() {
		quarters(func(q int) {
			grid(q, 12)
			t.p("VPCMPEQD X15, X12, X13")
			t.p("VPOR X13, X%[1]d, X%[1]d", invalid+q)
			t.p("VPMOVSXDQ X12, Y12")
			t.p("VPMULDQ Y12, Y12, Y12")
			t.p("VPADDQ Y%d, Y12, Y12", sum+q)
			t.p("VPANDN Y%d, Y12, Y13", sum+q) // set before, clear now
			t.p("VPOR Y13, Y%[1]d, Y%[1]d", overflow+q)
			t.p("VMOVDQA Y12, Y%d", sum+q)
		})
	}, func() {
		t.p("VPXOR Y15, Y15, Y15")
		quarters(func(q int) {
			t.p("VMOVDQU Y%d, %d(R8)", sum+q, 32*q)
			t.p("VPCMPGTQ Y%[1]d, Y15, Y%[1]d", overflow+q)
			t.p("VPOR %d(R8), Y%[2]d, Y%[2]d", 128+32*q, overflow+q)
			t.p("VMOVDQU Y%d, %d(R8)", overflow+q, 128+32*q)
			t.p("VPMOVSXDQ X%[1]d, Y%[1]d", invalid+q)
			t.p("VPOR %d(R8), Y%[2]d, Y%[2]d", 256+32*q, invalid+q)
			t.p("VMOVDQU Y%d, %d(R8)", invalid+q, 256+32*q)
		})
	})

	t.gradient("accumulate", nil, func() {
		quarters(func(q int) {
			grid(q, q)
			t.p("VPAND %d(R10), X%[2]d, X%[2]d", 16*q, q)
		})
		t.p("VPADDD X1, X0, X0")
		t.p("VPADDD X3, X2, X2")
		t.p("VPADDD X2, X0, X0")
		t.p("VPSHUFD $0x0e, X0, X1")
		t.p("VPADDD X1, X0, X0")
		t.p("VPSHUFD $1, X0, X1")
		t.p("VPADDD X1, X0, X0")
		t.p("VMOVD X0, AX")
		t.p("ADDL AX, (R8)")
		t.p("ADDQ $4, R8")
	}, nil)
}
