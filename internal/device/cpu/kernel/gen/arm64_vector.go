package main

import "fmt"

// vec is an operand of group registers: adjacent ones, or one with a constant
// for all.
type vec struct{ first, step int }

// group allots registers to a kernel whose every instruction is written for
// size registers, that is for 4·size lanes.
type group struct {
	*arm64
	size, used int
}

// wide allots size registers, fixed one that holds a constant.
func (g *group) wide() vec { return vec{g.take(g.size), 1} }

func (g *group) fixed(value float32) vec {
	v := vec{g.take(1), 0}
	g.constant(value, v.first)
	return v
}

func (g *group) take(n int) int {
	g.used += n
	if g.used > 32 {
		panic(fmt.Sprintf("arm64: %s has no register %d", g.functions[len(g.functions)-1].name, g.used))
	}
	return g.used - n
}

// do writes an instruction for each register.
func (g *group) do(name string, operands ...vec) {
	for q := range g.size {
		registers := make([]int, len(operands))
		for i, o := range operands {
			registers[i] = o.first + q*o.step
		}
		g.op(name, registers...)
	}
}

// get and put move the lanes at a pointer.
func (g *group) get(pointer string, off int, v vec) {
	g.move(func(q int) { g.p("FLDPQ %d(%s), (F%d, F%d)", off+16*q, pointer, v.first+q, v.first+q+1) },
		func(q int) { g.arm64.load(pointer, off+16*q, v.first+q) })
}

func (g *group) put(v vec, pointer string, off int) {
	g.move(func(q int) { g.p("FSTPQ (F%d, F%d), %d(%s)", v.first+q, v.first+q+1, off+16*q, pointer) },
		func(q int) { g.arm64.store(v.first+q, pointer, off+16*q) })
}

func (g *group) move(two, one func(q int)) {
	for q := 0; q+1 < g.size; q += 2 {
		two(q)
	}
	if g.size == 1 {
		one(0)
	}
}

func (g *group) clear(v vec) { g.do("eor", v, v, v) }

// larger sets m to x where m is not greater, as the portable maximum does; FMAX
// differs in NaN and zeros.
func (g *group) larger(m, x, mask vec) {
	g.do("fcmgt", mask, m, x)
	g.do("bif", m, x, mask)
}
