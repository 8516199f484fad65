package main

import (
	"fmt"
	"math"
)

// arm64 writes kernels for Advanced SIMD. A group of 16 lanes is four adjacent
// registers; quarter q of its lanes lies at byte 16q. Kernels keep the argument
// in R0 and leave R18 (the platform's), R27 (the assembler's) and from R28 on
// (the runtime's) alone. Pointers advance in registers only, so that none past
// the end of a buffer comes to lie where the garbage collector looks.
type arm64 struct{ listing }

var neon = &arm64{listing{file: "neon", suffix: "NEON"}}

// emit writes every kernel.
func (t *arm64) emit() {
	for _, s := range neonConvShapes {
		t.conv(s[0], s[1])
	}
	for o := 1; o <= 4; o++ {
		for n := 1; n <= 6; n++ {
			t.product(o, n)
		}
	}
	t.planes()
	t.winograd()
	t.flats()
	t.gradients()
	t.peaks()
}

func (t *arm64) text() []byte { return append([]byte(fileHead), t.body.Bytes()...) }

// begin opens a function of one argument, a pointer to a struct, left in R0.
func (t *arm64) begin(family, name, key, arguments string) {
	t.open(family, name, key, arguments)
	t.p("MOVD a+0(FP), R0")
}

func (t *arm64) end() { t.p("RET") }

// next counts a register down and jumps unless it became zero.
func (t *arm64) next(register, label string) {
	t.p("SUBS $1, %s, %[1]s", register)
	t.p("BNE %s", label)
}

// field loads a field of the argument.
func (t *arm64) field(arguments, field, register string) {
	t.p("MOVD %s_%s(R0), %s", arguments, field, register)
}

// element loads element i of an array field of the argument.
func (t *arm64) element(arguments, field string, i int, register string) {
	t.p("MOVD (%s_%s+%d)(R0), %s", arguments, field, 8*i, register)
}

// load and store move a register's 16 bytes.
func (t *arm64) load(pointer string, off, v int) { t.p("FMOVQ %d(%s), F%d", off, pointer, v) }

func (t *arm64) store(v int, pointer string, off int) { t.p("FMOVQ F%d, %d(%s)", v, off, pointer) }

// loadAt and storeAt move 16 bytes at the sum of two general registers.
func (t *arm64) loadAt(base, index, v int) { t.op("ldr", v, base, index) }

func (t *arm64) storeAt(v, base, index int) { t.op("str", v, base, index) }

// loadFew loads n adjacent float32, n = 1, 2, 4 or 8, from register v on.
func (t *arm64) loadFew(pointer string, n, v int) {
	switch n {
	case 8:
		t.p("FLDPQ (%s), (F%d, F%d)", pointer, v, v+1)
	case 4:
		t.load(pointer, 0, v)
	case 2:
		t.p("FMOVD (%s), F%d", pointer, v)
	case 1:
		t.p("FMOVS (%s), F%d", pointer, v)
	}
}

func (t *arm64) zero(v int) { t.op("eor", v, v, v) }

// constant fills a register with a float32, by way of R26.
func (t *arm64) constant(value float32, v int) {
	t.p("MOVD $0x%08x, R26 // %g", math.Float32bits(value), value)
	t.p("VDUP R26, V%d.S4", v)
}

// addresses adds int32 offsets in floats, at the register offsets, to a base.
func (t *arm64) addresses(base, offsets string, registers []string) {
	for i, r := range registers {
		t.p("MOVW %d(%s), %s", 4*i, offsets, r)
		t.p("ADD %s<<2, %s, %[1]s", r, base)
	}
}

// registers names n general registers from the first on.
func registers(first, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("R%d", first+i)
	}
	return names
}
