package main

// gradient writes a kernel on n coordinates of per-example gradients: SI walks
// g, CX counts its coordinates; dst, scale and mask stay in R8, R9 and R10.
func (t *target) gradient(name string, setup, one, finish func()) {
	t.begin("", name, "", "gradientArgs")
	t.p("MOVQ gradientArgs_dst(DI), R8")
	t.p("MOVQ gradientArgs_g(DI), SI")
	t.p("MOVQ gradientArgs_n(DI), CX")
	t.p("MOVQ gradientArgs_scale(DI), R9")
	t.p("MOVQ gradientArgs_mask(DI), R10")
	if setup != nil {
		setup()
	}
	t.label("loop")
	one()
	t.p("ADDQ $64, SI")
	t.p("DECQ CX")
	t.p("JNZ loop")
	if finish != nil {
		finish()
	}
	t.end()
}

// gradients writes the kernels on per-example gradients g[P][16] for targets of
// 64 bytes.
func (t *target) gradients() {
	t.gradient("sumLanes", nil, func() {
		t.p("VMOVUPS (SI), Z0")
		t.p("VEXTRACTF64X4 $1, Z0, Y1")
		t.p("VADDPS Y1, Y0, Y0")
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

	t.gradient("squaredNorms", func() {
		t.p("VMOVUPD (R8), Z0")
		t.p("VMOVUPD 64(R8), Z1")
	}, func() {
		t.p("VCVTPS2PD (SI), Z2")
		t.p("VCVTPS2PD 32(SI), Z3")
		t.p("VFMADD231PD Z2, Z2, Z0")
		t.p("VFMADD231PD Z3, Z3, Z1")
	}, func() {
		t.p("VMOVUPD Z0, (R8)")
		t.p("VMOVUPD Z1, 64(R8)")
	})

	grid := func() { // v of the current coordinate in Y2 and Y3
		t.p("VCVTPS2PD (SI), Z2")
		t.p("VCVTPS2PD 32(SI), Z3")
		t.p("VMULPD Z30, Z2, Z2")
		t.p("VMULPD Z31, Z3, Z3")
		t.p("VCVTPD2DQ Z2, Y2")
		t.p("VCVTPD2DQ Z3, Y3")
	}
	scale := func() {
		t.p("VMOVUPD (R9), Z30")
		t.p("VMOVUPD 64(R9), Z31")
	}

	// The state at R8 is sum, overflow and invalid, 16 uint64 each.
	t.gradient("quantize", func() {
		scale()
		t.p("VMOVDQU64 (R8), Z0")
		t.p("VMOVDQU64 64(R8), Z1")
		t.p("VMOVDQU64 %s, Z29", t.bits("notInteger", 1<<31))
		for k := 1; k <= 4; k++ {
			t.p("KXORW K%[1]d, K%[1]d, K%[1]d", k)
		}
	}, func() {
		grid()
		for h := range 2 {
			t.p("VPCMPEQD Y29, Y%d, K5", 2+h)
			t.p("KORW K5, K%[1]d, K%[1]d", 1+h)
			t.p("VPMOVSXDQ Y%d, Z%[1]d", 2+h)
			t.p("VPMULDQ Z%[1]d, Z%[1]d, Z%[1]d", 2+h)
			t.p("VPADDQ Z%d, Z%[2]d, Z%[2]d", 2+h, h)
			t.p("VPCMPUQ $1, Z%d, Z%d, K5", 2+h, h) // sum < addend: a carry
			t.p("KORW K5, K%[1]d, K%[1]d", 3+h)
		}
	}, func() {
		t.p("VMOVDQU64 Z0, (R8)")
		t.p("VMOVDQU64 Z1, 64(R8)")
		for i, k := range []int{3, 4, 1, 2} {
			t.p("VPMOVM2Q K%d, Z4", k)
			t.p("VPORQ %d(R8), Z4, Z4", 128+64*i)
			t.p("VMOVDQU64 Z4, %d(R8)", 128+64*i)
		}
	})

	t.gradient("accumulate", func() {
		scale()
		t.p("VMOVDQU (R10), Y4")
		t.p("VMOVDQU 32(R10), Y5")
	}, func() {
		grid()
		t.p("VPAND Y4, Y2, Y2")
		t.p("VPAND Y5, Y3, Y3")
		t.p("VPADDD Y3, Y2, Y2")
		t.p("VEXTRACTI128 $1, Y2, X3")
		t.p("VPADDD X3, X2, X2")
		t.p("VPSHUFD $0x0e, X2, X3")
		t.p("VPADDD X3, X2, X2")
		t.p("VPSHUFD $1, X2, X3")
		t.p("VPADDD X3, X2, X2")
		t.p("VMOVD X2, AX")
		t.p("ADDL AX, (R8)")
		t.p("ADDQ $4, R8")
	}, nil)
}
