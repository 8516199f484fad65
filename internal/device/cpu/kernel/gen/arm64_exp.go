package main

// neonExp holds the constants of kernel.Exp and registers for its work.
type neonExp struct {
	*neonPlane
	c              map[string]vec
	a, b, s, other vec
}

var neonExpConstants = []string{"expLow", "expHigh", "log2E", "round", "minusLn2High", "minusLn2Low",
	"exp5", "exp4", "exp3", "exp2", "exp1", "exp0", "one"}

func (p *neonPlane) expSetup() *neonExp {
	e := &neonExp{neonPlane: p, c: map[string]vec{}}
	for _, name := range neonExpConstants {
		e.c[name] = p.fixed(expConstants[name])
	}
	e.a, e.b, e.s, e.other = p.wide(), p.wide(), p.wide(), p.wide()
	return e
}

// exp replaces x by e^x, by the steps of kernel.Exp, using a, b and other.
func (e *neonExp) exp(x vec) {
	a, b, c := e.a, e.b, e.c
	e.do("fmax", x, x, c["expLow"])
	e.do("fmin", x, x, c["expHigh"])
	e.do("mov", a, c["round"])
	e.do("fmla", a, x, c["log2E"])
	e.do("fsub", b, a, c["round"])
	e.do("fmla", x, b, c["minusLn2High"])
	e.do("fmla", x, b, c["minusLn2Low"])
	from, to := e.other, b
	e.do("mov", from, c["exp4"])
	e.do("fmla", from, x, c["exp5"])
	for _, name := range []string{"exp3", "exp2", "exp1", "exp0"} {
		e.do("mov", to, c[name])
		e.do("fmla", to, from, x)
		from, to = to, from
	}
	e.do("fmul", from, from, x) // p·r
	e.do("mov", to, x)
	e.do("fmla", to, from, x) // p·r·r + r
	e.do("fadd", to, to, c["one"])
	e.do("shl23", a, a)
	e.do("add", a, a, c["one"])
	e.do("fmul", x, to, a)
}

// sigmoid sets s to 1/(1+e^-x), keeping x.
func (e *neonExp) sigmoid(x vec) {
	e.denominator(x)
	e.do("fdiv", e.s, e.c["one"], e.s)
}

// silu replaces x by x/(1+e^-x).
func (e *neonExp) silu(x vec) {
	e.denominator(x)
	e.do("fdiv", x, x, e.s)
}

// denominator sets s to 1+e^-x.
func (e *neonExp) denominator(x vec) {
	e.do("fneg", e.s, x)
	e.exp(e.s)
	e.do("fadd", e.s, e.s, e.c["one"])
}

// siluSlope replaces x by the derivative of x·sigmoid(x).
func (e *neonExp) siluSlope(x vec) {
	e.sigmoid(x)
	e.do("fsub", e.a, e.c["one"], e.s)
	e.do("mov", e.b, e.c["one"])
	e.do("fmla", e.b, x, e.a)
	e.do("fmul", x, e.s, e.b)
}

func (t *arm64) siluPlanes() {
	t.plane(neonStream{op: "opSiLU", name: "silu", size: 2, open: func(p *neonPlane) (func(u, off int), func()) {
		exp, x := p.expSetup(), p.wide()
		return func(_, off int) {
			p.get(xPixel, off, x)
			exp.silu(x)
			p.put(x, dPixel, off)
		}, nil
	}})
	backward := func(op, name string, add bool) {
		t.plane(neonStream{op: op, name: name, size: 2, open: func(p *neonPlane) (func(u, off int), func()) {
			exp, x, y := p.expSetup(), p.wide(), p.wide()
			return func(_, off int) {
				p.get(xPixel, off, x)
				exp.siluSlope(x)
				p.get(yPixel, off, y)
				p.do("fmul", x, y, x)
				if add {
					p.get(dPixel, off, y)
					p.do("fadd", x, y, x)
				}
				p.put(x, dPixel, off)
			}, nil
		}})
	}
	backward("opSiLUBackward", "siluBackward", false)
	backward("opSiLUBackwardAdd", "siluBackwardAdd", true)
	t.plane(neonStream{op: "opAffineSiLU", name: "affineSiLU", size: 2, open: func(p *neonPlane) (func(u, off int), func()) {
		exp, x, v, y := p.expSetup(), p.wide(), p.wide(), p.wide()
		return func(_, off int) {
			p.get(xPixel, off, x)
			p.vector(0, v)
			p.do("fsub", x, x, v)
			p.vector(1, v)
			p.vector(2, y)
			p.do("fmla", y, x, v)
			exp.silu(y)
			p.put(y, dPixel, off)
		}, nil
	}})
}

// softmax works on one row, eight lanes at a time: R1 and R2 address it in dst
// and x.
func (t *arm64) softmax() {
	// rows opens a kernel whose passes each walk the row by pixels.
	rows := func(op, name string, open func(p *neonPlane, pass func(label string, pixel func()))) {
		t.begin("plane", name, op, "planeArgs")
		t.field("planeArgs", "dst", "R1")
		t.field("planeArgs", "x", "R2")
		t.field("planeArgs", "v", "R13")
		t.p("MOVD $2, R15")
		t.label("half")
		open(&neonPlane{group: group{arm64: t, size: 2}}, func(label string, pixel func()) {
			t.p("MOVD R1, %s", dPixel)
			t.p("MOVD R2, %s", xPixel)
			t.field("planeArgs", "cols", "R14")
			t.label(label)
			pixel()
			t.p("ADD $64, %s", dPixel)
			t.p("ADD $64, %s", xPixel)
			t.next("R14", label)
		})
		for _, r := range []string{"R1", "R2", "R13"} {
			t.p("ADD $32, %s", r)
		}
		t.next("R15", "half")
		t.end()
	}
	rows("opSoftmax", "softmax", func(p *neonPlane, pass func(label string, pixel func())) {
		exp, scale, m, sum, x := p.expSetup(), p.vectors(0, 1)[0], p.wide(), p.wide(), p.wide()
		mask := exp.a
		t.p("MOVD $0xff800000, R26 // -Inf")
		for q := range p.size {
			t.p("VDUP R26, V%d.S4", m.first+q)
		}
		pass("maximum", func() {
			p.get(dPixel, 0, x)
			p.larger(m, x, mask)
		})
		p.clear(sum)
		pass("exponential", func() {
			p.get(dPixel, 0, x)
			p.do("fsub", x, x, m)
			p.do("fmul", x, x, scale)
			exp.exp(x)
			p.do("fadd", sum, sum, x)
			p.put(x, dPixel, 0)
		})
		p.do("fdiv", sum, exp.c["one"], sum)
		pass("quotient", func() {
			p.get(dPixel, 0, x)
			p.do("fmul", x, x, sum)
			p.put(x, dPixel, 0)
		})
	})
	rows("opSoftmaxBackward", "softmaxBackward", func(p *neonPlane, pass func(label string, pixel func())) {
		scale, dot, x, d := p.vectors(0, 1)[0], p.wide(), p.wide(), p.wide()
		p.clear(dot)
		pass("dot", func() {
			p.get(dPixel, 0, d)
			p.get(xPixel, 0, x)
			p.do("fmla", dot, x, d)
		})
		pass("gradient", func() {
			p.get(dPixel, 0, d)
			p.get(xPixel, 0, x)
			p.do("fsub", d, d, dot)
			p.do("fmul", d, x, d)
			p.do("fmul", d, d, scale)
			p.put(d, dPixel, 0)
		})
	})
}
