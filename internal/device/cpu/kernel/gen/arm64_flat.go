package main

// neonFlat says how a kernel on flat vectors works: dst, x, y and z are in R1
// to R4, and scalar i of the arguments is in every lane of s(i).
type neonFlat struct {
	op, name string
	scalars  int
	open     func(g *group, s []vec) (one, finish func())
}

func (t *arm64) flat(f neonFlat) {
	t.begin("flat", f.name, f.op, "flatArgs")
	pointers := registers(1, 4)
	for i, tensor := range []string{"dst", "x", "y", "z"} {
		t.field("flatArgs", tensor, pointers[i])
	}
	t.field("flatArgs", "n", "R5") // groups of 16 floats
	g := &group{arm64: t, size: 4}
	var scalars []vec
	t.p("MOVD $flatArgs_s(R0), R6")
	for range f.scalars {
		s := vec{g.take(1), 0}
		t.p("VLD1R.P 4(R6), [V%d.S4]", s.first)
		scalars = append(scalars, s)
	}
	one, finish := f.open(g, scalars)
	t.label("loop")
	one()
	for _, r := range pointers {
		t.p("ADD $64, %s", r)
	}
	t.next("R5", "loop")
	if finish != nil {
		finish()
	}
	t.end()
}

// flats writes the kernels by the steps of flatPortable.
func (t *arm64) flats() {
	const dst, x, y, z = "R1", "R2", "R3", "R4"
	t.flat(neonFlat{"opCombine", "combine", 2, func(g *group, s []vec) (one, finish func()) {
		a, b := g.wide(), g.wide()
		return func() {
			g.get(x, 0, a)
			g.get(y, 0, b)
			g.do("fmul", a, a, s[0])
			g.do("fmul", b, b, s[1])
			g.do("fadd", a, a, b)
			g.put(a, dst, 0)
		}, nil
	}})
	t.flat(neonFlat{"opAddScaled", "addScaled", 1, func(g *group, s []vec) (one, finish func()) {
		a, b := g.wide(), g.wide()
		return func() {
			g.get(dst, 0, a)
			g.get(x, 0, b)
			g.do("fmul", b, b, s[0])
			g.do("fadd", a, a, b)
			g.put(a, dst, 0)
		}, nil
	}})
	t.flat(neonFlat{"opDivideDifference", "divideDifference", 2, func(g *group, s []vec) (one, finish func()) {
		a, b := g.wide(), g.wide()
		return func() {
			g.get(x, 0, a)
			g.get(y, 0, b)
			g.do("fmul", b, b, s[0])
			g.do("fsub", a, a, b)
			g.do("fdiv", a, a, s[1])
			g.put(a, dst, 0)
		}, nil
	}})
	// A NaN stays in FMAX and FMIN, and a bit of numbers is lost.
	t.flat(neonFlat{"opClamp", "clamp", 2, func(g *group, s []vec) (one, finish func()) {
		a, equal, numbers := g.wide(), g.wide(), g.wide()
		g.do("fcmeq", numbers, s[0], s[0])
		return func() {
				g.get(dst, 0, a)
				g.do("fcmeq", equal, a, a)
				g.do("and", numbers, numbers, equal)
				g.do("fmax", a, a, s[0])
				g.do("fmin", a, a, s[1])
				g.put(a, dst, 0)
			}, func() {
				first := numbers.first
				g.op("and", first, first, first+1)
				g.op("and", first+2, first+2, first+3)
				g.op("and", first, first, first+2)
				g.p("VMOV V%d.D[0], R6", first)
				g.p("VMOV V%d.D[1], R7", first)
				g.p("AND R6, R7")
				g.p("MVN R7, R7")
				g.p("MOVD R7, flatArgs_found(R0)")
			}
	}})
	// adam writes a step of Adam whose denominator is made of the
	// bias-corrected second moment.
	adam := func(op, name string, denominator func(g *group, s []vec, v vec)) {
		t.flat(neonFlat{op, name, 10, func(g *group, s []vec) (one, finish func()) {
			gradient, m, v, p := g.wide(), g.wide(), g.wide(), g.wide()
			return func() {
				g.get(z, 0, gradient)
				g.get(x, 0, m)
				g.get(y, 0, v)
				g.do("fmul", m, m, s[0])
				g.do("fmul", p, gradient, s[1])
				g.do("fadd", m, m, p)
				g.put(m, x, 0)
				g.do("fmul", v, v, s[2])
				g.do("fmul", gradient, gradient, gradient)
				g.do("fmul", p, gradient, s[3])
				g.do("fadd", v, v, p)
				g.put(v, y, 0)
				g.do("fdiv", v, v, s[5])
				denominator(g, s, v)
				g.do("fmul", m, m, s[4])
				g.do("fdiv", m, m, v)
				g.get(dst, 0, p)
				g.do("fmul", p, p, s[6])
				g.do("fsub", p, p, m)
				g.put(p, dst, 0)
			}, nil
		}})
	}
	adam("opAdam", "adam", func(g *group, s []vec, v vec) {
		g.do("fsqrt", v, v)
		g.do("fadd", v, v, s[7])
	})
	adam("opAdamNoise", "adamNoise", func(g *group, s []vec, v vec) {
		g.do("fsub", v, v, s[8])
		g.do("fmax", v, v, s[9])
		g.do("fsqrt", v, v)
	})
}
