package main

// reductions keep four chains, of the columns congruent modulo 4.
func (t *arm64) reductions() {
	chains := func(p *neonPlane) (s [4]vec) {
		for u := range s {
			s[u] = p.wide()
			p.clear(s[u])
		}
		return s
	}
	// fold adds (s0+s1) + (s2+s3) to a vector of the arguments.
	fold := func(p *neonPlane, s [4]vec, vector int) {
		p.do("fadd", s[0], s[0], s[1])
		p.do("fadd", s[2], s[2], s[3])
		p.do("fadd", s[0], s[0], s[2])
		p.vector(vector, s[1])
		p.do("fadd", s[0], s[1], s[0])
		p.put(s[0], "R13", 64*vector)
	}
	t.plane(neonStream{op: "opSum", name: "sum", size: 4, passes: true, chains: true,
		open: func(p *neonPlane) (func(u, off int), func()) {
			s, x := chains(p), p.wide()
			return func(u, off int) {
				p.get(xPixel, off, x)
				p.do("fadd", s[u], s[u], x)
			}, func() { fold(p, s, 0) }
		}})
	t.plane(neonStream{op: "opSquares", name: "squares", size: 4, passes: true, chains: true,
		open: func(p *neonPlane) (func(u, off int), func()) {
			s, v, x := chains(p), p.vectors(0, 1), p.wide()
			return func(u, off int) {
				p.get(xPixel, off, x)
				p.do("fsub", x, x, v[0])
				p.do("fmla", s[u], x, x)
			}, func() { fold(p, s, 1) }
		}})
	t.plane(neonStream{op: "opSquaredDifference", name: "squaredDifference", size: 4, passes: true, chains: true,
		open: func(p *neonPlane) (func(u, off int), func()) {
			s, x, y := chains(p), p.wide(), p.wide()
			return func(u, off int) {
				p.get(xPixel, off, x)
				p.get(yPixel, off, y)
				p.do("fsub", x, x, y)
				p.do("fmla", s[u], x, x)
			}, func() { fold(p, s, 0) }
		}})
	t.plane(neonStream{op: "opNormSums", name: "normSums", size: 2, passes: true, chains: true,
		open: func(p *neonPlane) (func(u, off int), func()) {
			s, products := chains(p), chains(p)
			mean, rstd, x, dz := p.vectors(0, 1)[0], p.vectors(3, 1)[0], p.wide(), p.wide()
			return func(u, off int) {
				p.get(xPixel, off, x)
				p.get(yPixel, off, dz)
				p.do("fsub", x, x, mean)
				p.do("fmul", x, x, rstd)
				p.do("fadd", s[u], s[u], dz)
				p.do("fmla", products[u], dz, x)
			}, func() { fold(p, s, 4); fold(p, products, 5) }
		}})
	t.plane(neonStream{op: "opNormSumsSiLU", name: "normSumsSiLU", size: 1, passes: true, chains: true,
		open: func(p *neonPlane) (func(u, off int), func()) {
			s, products, v := chains(p), chains(p), p.vectors(0, 4)
			exp, x, z := p.expSetup(), p.wide(), p.wide()
			return func(u, off int) {
				p.get(xPixel, off, x)
				p.do("fsub", x, x, v[0])
				p.do("mov", z, v[2])
				p.do("fmla", z, x, v[1])
				exp.siluSlope(z)
				p.get(yPixel, off, exp.a)
				p.do("fmul", z, exp.a, z)
				p.put(z, dPixel, off)
				p.do("fadd", s[u], s[u], z)
				p.do("fmul", x, x, v[3])
				p.do("fmla", products[u], z, x)
			}, func() { fold(p, s, 4); fold(p, products, 5) }
		}})
}
