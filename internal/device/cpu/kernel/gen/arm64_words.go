package main

import "fmt"

// instruction is one of three operands (d, n, m) or fewer, destination first.
type instruction struct {
	// form is the Go assembler's text or, where it has no such instruction, the
	// architecture's, which bits then encode (Arm Architecture Reference Manual
	// for A-profile, C7.2).
	form string
	bits uint32
}

// instructions work on four float32 unless their name says otherwise.
var instructions = map[string]instruction{
	"mov":   {form: "VMOV V%[2]d.B16, V%[1]d.B16"},
	"fmla":  {form: "VFMLA V%[3]d.S4, V%[2]d.S4, V%[1]d.S4"}, // d += n·m, rounded once
	"eor":   {form: "VEOR V%[3]d.B16, V%[2]d.B16, V%[1]d.B16"},
	"and":   {form: "VAND V%[3]d.B16, V%[2]d.B16, V%[1]d.B16"},
	"orr":   {form: "VORR V%[3]d.B16, V%[2]d.B16, V%[1]d.B16"},
	"bit":   {form: "VBIT V%[3]d.B16, V%[2]d.B16, V%[1]d.B16"}, // d = n where m is set
	"bif":   {form: "VBIF V%[3]d.B16, V%[2]d.B16, V%[1]d.B16"}, // d = n where m is clear
	"add":   {form: "VADD V%[3]d.S4, V%[2]d.S4, V%[1]d.S4"},
	"shl23": {form: "VSHL $23, V%[2]d.S4, V%[1]d.S4"},

	"fadd":   {"fadd v%d.4s, v%d.4s, v%d.4s", 0x4e20d400},
	"fsub":   {"fsub v%d.4s, v%d.4s, v%d.4s", 0x4ea0d400},
	"fmul":   {"fmul v%d.4s, v%d.4s, v%d.4s", 0x6e20dc00},
	"fdiv":   {"fdiv v%d.4s, v%d.4s, v%d.4s", 0x6e20fc00},
	"fmax":   {"fmax v%d.4s, v%d.4s, v%d.4s", 0x4e20f400},
	"fmin":   {"fmin v%d.4s, v%d.4s, v%d.4s", 0x4ea0f400},
	"fcmeq":  {"fcmeq v%d.4s, v%d.4s, v%d.4s", 0x4e20e400},
	"fcmgt":  {"fcmgt v%d.4s, v%d.4s, v%d.4s", 0x6ea0e400},
	"fcmgt0": {"fcmgt v%d.4s, v%d.4s, #0.0", 0x4ea0c800},
	"fcmlt0": {"fcmlt v%d.4s, v%d.4s, #0.0", 0x4ea0e800},
	"fneg":   {"fneg v%d.4s, v%d.4s", 0x6ea0f800},
	"fsqrt":  {"fsqrt v%d.4s, v%d.4s", 0x6ea1f800},
	"bic":    {"bic v%d.16b, v%d.16b, v%d.16b", 0x4e601c00}, // d = n and not m

	// on float64, or on integers of 64 bits
	"fmlaD":   {form: "VFMLA V%[3]d.D2, V%[2]d.D2, V%[1]d.D2"},
	"addD":    {form: "VADD V%[3]d.D2, V%[2]d.D2, V%[1]d.D2"},
	"faddD":   {"fadd v%d.2d, v%d.2d, v%d.2d", 0x4e60d400},
	"fsubD":   {"fsub v%d.2d, v%d.2d, v%d.2d", 0x4ee0d400},
	"fmulD":   {"fmul v%d.2d, v%d.2d, v%d.2d", 0x6e60dc00},
	"facgtD":  {"facgt v%d.2d, v%d.2d, v%d.2d", 0x6ee0ec00}, // |n| > |m|
	"cmhiD":   {"cmhi v%d.2d, v%d.2d, v%d.2d", 0x6ee03400},
	"frintnD": {"frintn v%d.2d, v%d.2d", 0x4e618800},
	"fcvtnsD": {"fcvtns v%d.2d, v%d.2d", 0x4e61a800},
	"fcvtzsD": {"fcvtzs v%d.2d, v%d.2d", 0x4ee1b800},

	// between widths
	"fcvtl":  {"fcvtl v%d.2d, v%d.2s", 0x0e617800},
	"fcvtl2": {"fcvtl2 v%d.2d, v%d.4s", 0x4e617800},
	"fcvtn":  {"fcvtn v%d.2s, v%d.2d", 0x0e616800},
	"xtn":    {"xtn v%d.2s, v%d.2d", 0x0ea12800},
	"xtn2":   {"xtn2 v%d.4s, v%d.2d", 0x4ea12800},
	"smull":  {"smull v%d.2d, v%d.2s, v%d.2s", 0x0ea0c000},
	"faddp":  {"faddp s%d, v%d.2s", 0x7e30d800},
	"not":    {"mvn v%d.16b, v%d.16b", 0x6e205800},

	"ldr": {"ldr q%d, [x%d, x%d]", 0x3ce06800},
	"str": {"str q%d, [x%d, x%d]", 0x3ca06800},
}

// op writes an instruction.
func (t *arm64) op(name string, operands ...int) {
	i, ok := instructions[name]
	if !ok {
		panic("arm64: no instruction " + name)
	}
	var all []any
	var encoded [3]int
	for k, o := range operands {
		all, encoded[k] = append(all, o), o
	}
	text := fmt.Sprintf(i.form, all...)
	if i.bits == 0 {
		t.p("%s", text)
		return
	}
	t.word(encode(i.bits, encoded[0], encoded[1], encoded[2]), text)
}

func (t *arm64) word(bits uint32, text string) { t.p("WORD $0x%08x // %s", bits, text) }

func encode(bits uint32, d, n, m int) uint32 {
	return bits | uint32(m)<<16 | uint32(n)<<5 | uint32(d)
}

// fmlaElement adds n times one element of m to d; fmlsElement subtracts it.
func (t *arm64) fmlaElement(d, n, m, element int) {
	t.word(encodeElement(fmlaByElement, d, n, m, element), fmt.Sprintf("fmla v%d.4s, v%d.4s, v%d.s[%d]", d, n, m, element))
}

func (t *arm64) fmlsElement(d, n, m, element int) {
	t.word(encodeElement(fmlsByElement, d, n, m, element), fmt.Sprintf("fmls v%d.4s, v%d.4s, v%d.s[%d]", d, n, m, element))
}

const (
	fmlaByElement = 0x4f801000
	fmlsByElement = 0x4f805000
)

func encodeElement(bits uint32, d, n, m, element int) uint32 {
	return encode(bits, d, n, m) | uint32(element&1)<<21 | uint32(element>>1)<<11
}
