package main

// winogradWeights writes G g Gᵀ of eight kernels, two at a time in float64:
// R15 is the byte of the first in g and dst. G g stays in 18 registers.
func (t *arm64) winogradWeights() {
	const g, near, odd, far, half, x, out, factor = 18, 21, 22, 23, 24, 25, 26, 27
	const quarter, sixth, minusSixth, twelfth, twentyFourth = factor, factor + 1, factor + 2, factor + 3, factor + 4
	t.begin("", "winogradWeights", "", "winogradWeightArgs")
	t.field("winogradWeightArgs", "dst", "R1")
	t.field("winogradWeightArgs", "position", "R3")
	for i, name := range []string{"quarter", "sixth", "minusSixth", "twelfth", "twentyFourth"} {
		t.field("winogradWeightArgs", name, "R26")
		t.p("VDUP R26, V%d.D2", factor+i)
	}
	// transform leaves result i in register to(i), in the order of its calls of
	// done.
	transform := func(g0, g1, g2 int, to func(i int) int, done func(i int)) {
		results := []func(r int){
			func(r int) { t.op("fmulD", r, g0, quarter) },
			func(r int) {
				t.op("faddD", near, g0, g2)
				t.op("fmulD", near, near, minusSixth)
				t.op("fmulD", odd, g1, sixth)
				t.op("fsubD", r, near, odd)
			},
			func(r int) { t.op("faddD", r, near, odd) },
			func(r int) {
				t.op("fmulD", far, g0, twentyFourth)
				t.op("fmulD", x, g2, sixth)
				t.op("faddD", far, far, x)
				t.op("fmulD", half, g1, twelfth)
				t.op("faddD", r, far, half)
			},
			func(r int) { t.op("fsubD", r, far, half) },
			func(r int) { t.op("mov", r, g2) },
		}
		for i, result := range results {
			result(to(i))
			done(i)
		}
	}
	t.p("MOVD $0, R15")
	t.label("pair")
	t.p("ADD R15, R0, R2")
	for c := range 3 {
		for r := range 3 {
			t.p("FMOVD (winogradWeightArgs_g+%d)(R2), F%d", 32*(3*r+c), g+r)
			t.op("fcvtl", g+r, g+r)
		}
		transform(g, g+1, g+2, func(i int) int { return 3*i + c }, func(int) {})
	}
	t.p("ADD R15, R1, R4")
	for i := range 6 {
		transform(3*i, 3*i+1, 3*i+2, func(int) int { return out }, func(int) {
			t.op("fcvtn", out, out)
			t.p("FMOVD F%d, (R4)", out)
			t.p("ADD R3, R4")
		})
	}
	t.p("ADD $8, R15")
	t.p("CMP $32, R15")
	t.p("BNE pair")
	t.end()
}
