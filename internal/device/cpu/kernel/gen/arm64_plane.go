package main

// A plane kernel walks rows of pixels. dst, x and y of the current row are in
// R1 to R3 and of the current pixel in R4 to R6; R9 to R11 hold the bytes
// between rows, R13 addresses the vectors.

// neonPlane is the state of a plane kernel that is being written.
type neonPlane struct {
	group
	part int // byte of the lanes at work among those of the pass
}

// neonStream says how a plane kernel uses its tensors.
type neonStream struct {
	op, name string
	// size is the registers of a group. With passes, the kernel walks the plane
	// once for each group of a pixel's registers, so that registers keep their
	// lanes' vectors and sums; without, each pixel runs through all groups.
	size   int
	passes bool
	// chains is for reductions: the four columns congruent modulo 4 differ.
	chains bool
	// open allots registers and loads what stays in them. It returns what
	// processes the pixel at off, of column u modulo 4, and what stores the
	// sums of a reduction.
	open func(p *neonPlane) (one func(u, off int), finish func())
	// scaleDst and scaleX are 2 where that tensor has twice the height and width.
	scaleDst, scaleX int
}

func (t *arm64) plane(s neonStream) {
	const rows, cols, pass = "R12", "R14", "R15"
	pointers := []struct {
		field, row, pixel, step string
		scale                   int
	}{{"dst", "R1", "R4", "R9", max(1, s.scaleDst)}, {"x", "R2", "R5", "R10", max(1, s.scaleX)}, {"y", "R3", "R6", "R11", 1}}
	t.begin("plane", s.name, s.op, "planeArgs")
	for _, f := range [][2]string{{"dRow", "R9"}, {"xRow", "R10"}, {"yRow", "R11"}} {
		t.field("planeArgs", f[0], f[1])
		t.p("LSL $2, %s", f[1])
	}
	t.field("planeArgs", "v", "R13")
	if s.passes {
		t.p("MOVD $0, %s", pass)
		t.label("pass")
	}
	for _, p := range pointers {
		t.field("planeArgs", p.field, p.row)
		if s.passes {
			t.p("ADD %s, %s", pass, p.row)
		}
	}
	t.field("planeArgs", "rows", rows)
	k := &neonPlane{group: group{arm64: t, size: s.size}}
	one, finish := s.open(k)
	pixel := func(u int) {
		end := 64
		if s.passes {
			end = 16 * s.size
		}
		for k.part = 0; k.part < end; k.part += 16 * s.size {
			one(u, 64*u+k.part)
		}
		k.part = 0
	}
	advance := func(pixels int) {
		for _, p := range pointers {
			t.p("ADD $%d, %s", 64*pixels*p.scale, p.pixel)
		}
	}
	t.label("row")
	t.field("planeArgs", "cols", cols)
	for _, p := range pointers {
		t.p("MOVD %s, %s", p.row, p.pixel)
	}
	if s.chains {
		t.p("SUBS $4, %s, %[1]s", cols)
		t.p("BLT tail")
		t.label("main")
		for u := range 4 {
			pixel(u)
		}
		advance(4)
		t.p("SUBS $4, %s, %[1]s", cols)
		t.p("BGE main")
		t.label("tail")
		t.p("ADDS $4, %s, %[1]s", cols)
		t.p("BEQ next")
		for u := range 3 {
			pixel(u)
			if u < 2 {
				t.p("SUBS $1, %s, %[1]s", cols)
				t.p("BEQ next")
			}
		}
		t.label("next")
	} else {
		t.label("main")
		pixel(0)
		advance(1)
		t.next(cols, "main")
	}
	for _, p := range pointers {
		for range p.scale {
			t.p("ADD %s, %s", p.step, p.row)
		}
	}
	t.next(rows, "row")
	if finish != nil {
		finish()
	}
	if s.passes {
		t.p("ADD $%d, R13", 16*s.size)
		t.p("ADD $%d, %s", 16*s.size, pass)
		t.p("CMP $64, %s", pass)
		t.p("BNE pass")
	}
	t.end()
}

func (t *arm64) planes() {
	t.simplePlanes()
	t.siluPlanes()
	t.normPlanes()
	t.reductions()
	t.quads()
	t.softmax()
}

const dPixel, xPixel, yPixel = "R4", "R5", "R6"

// vector loads the lanes of vector i of the arguments.
func (p *neonPlane) vector(i int, v vec) { p.get("R13", 64*i+p.part, v) }

// vectors loads several into registers of their own.
func (p *neonPlane) vectors(from, n int) []vec {
	var v []vec
	for i := range n {
		v = append(v, p.wide())
		p.vector(from+i, v[i])
	}
	return v
}

func (t *arm64) simplePlanes() {
	// elementwise writes a kernel that stores x, which of makes of the pixel at off
	// and the vectors v, with a free.
	elementwise := func(op, name string, vectors int, of func(p *neonPlane, v []vec, x, a vec, off int)) {
		t.plane(neonStream{op: op, name: name, size: 4, open: func(p *neonPlane) (func(u, off int), func()) {
			v, x, a := p.vectors(0, vectors), p.wide(), p.wide()
			return func(_, off int) {
				of(p, v, x, a, off)
				p.put(x, dPixel, off)
			}, nil
		}})
	}
	elementwise("opCopy", "copy", 0, func(p *neonPlane, v []vec, x, a vec, off int) { p.get(xPixel, off, x) })
	elementwise("opFill", "fill", 1, func(p *neonPlane, v []vec, x, a vec, off int) { p.do("mov", x, v[0]) })
	elementwise("opAdd", "add", 0, func(p *neonPlane, v []vec, x, a vec, off int) {
		p.get(xPixel, off, x)
		p.get(yPixel, off, a)
		p.do("fadd", x, x, a)
	})
	elementwise("opAxpy", "axpy", 1, func(p *neonPlane, v []vec, x, a vec, off int) {
		p.get(dPixel, off, x)
		p.get(xPixel, off, a)
		p.do("fmla", x, a, v[0])
	})
	elementwise("opScale", "scale", 1, func(p *neonPlane, v []vec, x, a vec, off int) {
		p.get(xPixel, off, x)
		p.do("fmul", x, x, v[0])
	})
	elementwise("opAddVector", "addVector", 1, func(p *neonPlane, v []vec, x, a vec, off int) {
		p.get(xPixel, off, x)
		p.do("fadd", x, x, v[0])
	})
	elementwise("opReLU", "relu", 0, func(p *neonPlane, v []vec, x, a vec, off int) {
		p.get(xPixel, off, x)
		p.do("fcmlt0", a, x)
		p.do("bic", x, x, a)
	})
	gate := func(p *neonPlane, v []vec, x, a vec, off int) {
		p.get(xPixel, off, a)
		p.get(yPixel, off, x)
		p.do("fcmgt0", a, a)
		p.do("and", x, x, a)
	}
	elementwise("opReLUBackward", "reluBackward", 0, gate)
	elementwise("opReLUBackwardAdd", "reluBackwardAdd", 0, func(p *neonPlane, v []vec, x, a vec, off int) {
		gate(p, v, x, a, off)
		p.get(dPixel, off, a)
		p.do("fadd", x, a, x)
	})
	elementwise("opScaledDifference", "scaledDifference", 1, func(p *neonPlane, v []vec, x, a vec, off int) {
		p.get(xPixel, off, x)
		p.get(yPixel, off, a)
		p.do("fsub", x, x, a)
		p.do("fmul", x, x, v[0])
	})
	elementwise("opScaledDifferenceAdd", "scaledDifferenceAdd", 1, func(p *neonPlane, v []vec, x, a vec, off int) {
		p.get(xPixel, off, x)
		p.get(yPixel, off, a)
		p.do("fsub", a, x, a)
		p.get(dPixel, off, x)
		p.do("fmla", x, a, v[0])
	})
}

func (t *arm64) normPlanes() {
	t.plane(neonStream{op: "opAffine", name: "affine", size: 4, open: func(p *neonPlane) (func(u, off int), func()) {
		v, x, y := p.vectors(0, 3), p.wide(), p.wide()
		return func(_, off int) {
			p.get(xPixel, off, x)
			p.do("fsub", x, x, v[0])
			p.do("mov", y, v[2])
			p.do("fmla", y, x, v[1])
			p.put(y, dPixel, off)
		}, nil
	}})
	backward := func(op, name string, add bool) {
		t.plane(neonStream{op: op, name: name, size: 4, open: func(p *neonPlane) (func(u, off int), func()) {
			v, x, y, d := p.vectors(0, 4), p.wide(), p.wide(), p.wide()
			return func(_, off int) {
				p.get(xPixel, off, x)
				p.get(yPixel, off, y)
				p.do("fsub", x, x, v[0])
				p.do("mov", d, v[3])
				p.do("fmla", d, x, v[2])
				p.do("fmla", d, y, v[1])
				if add {
					p.get(dPixel, off, x)
					p.do("fadd", d, x, d)
				}
				p.put(d, dPixel, off)
			}, nil
		}})
	}
	backward("opNormBackward", "normBackward", false)
	backward("opNormBackwardAdd", "normBackwardAdd", true)
}

// quads are the ops between a plane and one of twice its height and width. R7
// and R8 address the second rows of dst and x where these are the larger.
func (t *arm64) quads() {
	upper := func(first, second string, visit func(i int, pointer string, off int)) {
		visit(0, first, 0)
		visit(1, first, 64)
		visit(2, second, 0)
		visit(3, second, 64)
	}
	t.plane(neonStream{op: "opUpsample", name: "upsample", size: 4, scaleDst: 2, open: func(p *neonPlane) (func(u, off int), func()) {
		x := p.wide()
		return func(_, off int) {
			p.p("ADD R9, R4, R7")
			p.get(xPixel, off, x)
			upper(dPixel, "R7", func(_ int, pointer string, at int) { p.put(x, pointer, at+off) })
		}, nil
	}})
	backward := func(op, name string, add bool) {
		t.plane(neonStream{op: op, name: name, size: 4, scaleX: 2, open: func(p *neonPlane) (func(u, off int), func()) {
			x := []vec{p.wide(), p.wide(), p.wide(), p.wide()}
			return func(_, off int) {
				p.p("ADD R10, R5, R8")
				upper(xPixel, "R8", func(i int, pointer string, at int) { p.get(pointer, at+off, x[i]) })
				p.do("fadd", x[0], x[0], x[1])
				p.do("fadd", x[2], x[2], x[3])
				p.do("fadd", x[0], x[0], x[2])
				if add {
					p.get(dPixel, off, x[1])
					p.do("fadd", x[0], x[1], x[0])
				}
				p.put(x[0], dPixel, off)
			}, nil
		}})
	}
	backward("opUpsampleBackward", "upsampleBackward", false)
	backward("opUpsampleBackwardAdd", "upsampleBackwardAdd", true)

	maximum := func(p *neonPlane, x []vec, m, mask vec, off int) {
		p.p("ADD R10, R5, R8")
		upper(xPixel, "R8", func(i int, pointer string, at int) { p.get(pointer, at+off, x[i]) })
		p.do("mov", m, x[0])
		for _, v := range x[1:] {
			p.larger(m, v, mask)
		}
	}
	t.plane(neonStream{op: "opMaxPool", name: "maxPool", size: 4, scaleX: 2, open: func(p *neonPlane) (func(u, off int), func()) {
		x, m, mask := []vec{p.wide(), p.wide(), p.wide(), p.wide()}, p.wide(), p.wide()
		return func(_, off int) {
			maximum(p, x, m, mask, off)
			p.put(m, dPixel, off)
		}, nil
	}})
	t.plane(neonStream{op: "opMaxPoolBackward", name: "maxPoolBackward", size: 2, scaleX: 2, scaleDst: 2, open: func(p *neonPlane) (func(u, off int), func()) {
		x, m, mask := []vec{p.wide(), p.wide(), p.wide(), p.wide()}, p.wide(), p.wide()
		found, y, d, sum := p.wide(), p.wide(), p.wide(), p.wide()
		return func(_, off int) {
			maximum(p, x, m, mask, off)
			p.p("ADD R9, R4, R7")
			p.get(yPixel, off, y)
			p.clear(found) // lanes whose maximum was met
			upper(dPixel, "R7", func(i int, pointer string, at int) {
				p.do("fcmeq", mask, x[i], m)
				p.do("bic", mask, mask, found)
				p.do("orr", found, found, mask)
				p.get(pointer, at+off, d)
				p.do("fadd", sum, d, y)
				p.do("bit", d, sum, mask)
				p.put(d, pointer, at+off)
			})
		}, nil
	}})
}
