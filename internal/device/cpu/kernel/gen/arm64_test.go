package main

import (
	"strings"
	"testing"
)

// TestWords holds the encodings to those of the GNU assembler, for operands 1,
// 2 and 3.
func TestWords(t *testing.T) {
	want := map[string]uint32{
		"fadd": 0x4e23d441, "fsub": 0x4ea3d441, "fmul": 0x6e23dc41, "fdiv": 0x6e23fc41,
		"fmax": 0x4e23f441, "fmin": 0x4ea3f441, "fcmeq": 0x4e23e441, "fcmgt": 0x6ea3e441,
		"fcmgt0": 0x4ea0c841, "fcmlt0": 0x4ea0e841, "fneg": 0x6ea0f841, "fsqrt": 0x6ea1f841,
		"faddD": 0x4e63d441, "fsubD": 0x4ee3d441, "fmulD": 0x6e63dc41, "facgtD": 0x6ee3ec41,
		"cmhiD": 0x6ee33441, "frintnD": 0x4e618841, "fcvtnsD": 0x4e61a841, "fcvtzsD": 0x4ee1b841,
		"fcvtl": 0x0e617841, "fcvtl2": 0x4e617841, "fcvtn": 0x0e616841, "xtn": 0x0ea12841,
		"xtn2": 0x4ea12841, "smull": 0x0ea3c041, "faddp": 0x7e30d841, "not": 0x6e205841,
		"bic": 0x4e631c41, "ldr": 0x3ce36841, "str": 0x3ca36841,
	}
	for name, i := range instructions {
		if i.bits == 0 {
			continue
		}
		got := encode(i.bits, 1, 2, []int{0, 0, 0, 3}[strings.Count(i.form, "%d")])
		if got != want[name] {
			t.Errorf("%s is encoded as %08x, want %08x", name, got, want[name])
		}
	}
	for element, want := range []uint32{0x4f831041, 0x4fa31041, 0x4f831841, 0x4fa31841} {
		if got := encodeElement(fmlaByElement, 1, 2, 3, element); got != want {
			t.Errorf("fmla by element %d is encoded as %08x, want %08x", element, got, want)
		}
	}
	if got := encodeElement(fmlsByElement, 9, 31, 28, 2); got != 0x4f9c5be9 {
		t.Errorf("fmls v9.4s, v31.4s, v28.s[2] is encoded as %08x", got)
	}
}
