package main

import "fmt"

// peakSums are the numbers of independent sums that the peak loops keep. Which
// one is fastest depends on a processor's latency and number of units.
func (t *target) peakSums() []int {
	if t == avx2 {
		return []int{8, 10, 12, 14}
	}
	return []int{8, 12, 16, 24}
}

// peaks writes loops of independent multiply-adds in registers, the yardstick
// of the benchmarks.
func (t *target) peaks() {
	for _, n := range t.peakSums() {
		t.begin("", fmt.Sprintf("peak%d", n), "", "peakArgs")
		for i := range n + 2 {
			t.p("VXORPS %[1]s, %[1]s, %[1]s", t.v(i))
		}
		t.p("MOVQ peakArgs_iterations(DI), CX")
		t.label("loop")
		for range peakUnroll {
			for i := range n {
				t.p("VFMADD231PS %s, %s, %s", t.v(n), t.v(n+1), t.v(i))
			}
		}
		t.p("DECQ CX")
		t.p("JNZ loop")
		t.end()
	}
}

// peakUnroll is how often an iteration adds to each sum.
const peakUnroll = 2

// chain writes a chain of additions, each of which needs the one before: one
// cycle each, by which the clock is measured. Both operands are registers, for
// some processors add a constant in no time.
func (t *target) chain() {
	t.begin("", "chain", "", "peakArgs")
	t.p("XORQ AX, AX")
	t.p("MOVQ $1, BX")
	t.p("MOVQ peakArgs_iterations(DI), CX")
	t.label("loop")
	for range 64 {
		t.p("ADDQ BX, AX")
	}
	t.p("DECQ CX")
	t.p("JNZ loop")
	t.end()
}
