package main

import "fmt"

// winogradWeights writes G g Gᵀ of as many kernels as a register has float64:
// G g of each column into scratch, then each of its rows times Gᵀ. R8 addresses
// dst, R9 steps through positions.
func (t *target) winogradWeights() {
	t.begin("", "winogradWeights", "", "winogradWeightArgs")
	toFloat32, narrow := "VCVTPD2PS", "Y"
	if t == avx2 {
		toFloat32, narrow = "VCVTPD2PSY", "X"
	}
	factors := []string{"quarter", "sixth", "minusSixth", "twelfth", "twentyFourth"}
	factor := map[string]string{}
	for i, name := range factors {
		factor[name] = t.v(11 + i)
		t.p("VBROADCASTSD winogradWeightArgs_%s(DI), %s", name, t.v(11+i))
	}
	t.p("MOVQ winogradWeightArgs_dst(DI), R8")
	t.p("MOVQ winogradWeightArgs_position(DI), R9")
	// transform leaves the six results of registers 0 to 2 in the order of
	// their use by store.
	transform := func(store func(i int, v string)) {
		g0, g1, g2 := t.v(0), t.v(1), t.v(2)
		near, odd, far, half, x := t.v(3), t.v(4), t.v(5), t.v(6), t.v(7)
		t.p("VMULPD %s, %s, %s", factor["quarter"], g0, x)
		store(0, x)
		t.p("VADDPD %s, %s, %s", g2, g0, near)
		t.p("VMULPD %s, %[2]s, %[2]s", factor["minusSixth"], near)
		t.p("VMULPD %s, %s, %s", factor["sixth"], g1, odd)
		t.p("VSUBPD %s, %s, %s", odd, near, x)
		store(1, x)
		t.p("VADDPD %s, %s, %s", odd, near, x)
		store(2, x)
		t.p("VMULPD %s, %s, %s", factor["twentyFourth"], g0, far)
		t.p("VMULPD %s, %s, %s", factor["sixth"], g2, x)
		t.p("VADDPD %s, %[2]s, %[2]s", x, far)
		t.p("VMULPD %s, %s, %s", factor["twelfth"], g1, half)
		t.p("VADDPD %s, %s, %s", half, far, x)
		store(3, x)
		t.p("VSUBPD %s, %s, %s", half, far, x)
		store(4, x)
		store(5, g2)
	}
	half := func(i, c int) string { return fmt.Sprintf("(winogradWeightArgs_half+%d)(DI)", 64*(3*i+c)) }
	for c := range 3 {
		for r := range 3 {
			t.p("VCVTPS2PD (winogradWeightArgs_g+%d)(DI), %s", 32*(3*r+c), t.v(r))
		}
		transform(func(i int, v string) { t.p("VMOVUPD %s, %s", v, half(i, c)) })
	}
	for i := range 6 {
		for c := range 3 {
			t.p("VMOVUPD %s, %s", half(i, c), t.v(c))
		}
		transform(func(_ int, v string) {
			t.p("%s %s, %s8", toFloat32, v, narrow)
			t.p("VMOVUPS %s8, (R8)", narrow)
			t.p("ADDQ R9, R8")
		})
	}
	t.end()
}
