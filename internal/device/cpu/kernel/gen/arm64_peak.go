package main

import "fmt"

// peaks writes loops of independent multiply-adds in registers and a chain of
// additions, as for the other targets.
func (t *arm64) peaks() {
	for _, n := range []int{8, 12, 16, 24} {
		t.begin("", fmt.Sprintf("peak%d", n), "", "peakArgs")
		for i := range n + 2 {
			t.zero(i)
		}
		t.field("peakArgs", "iterations", "R1")
		t.label("loop")
		for range peakUnroll {
			for i := range n {
				t.op("fmla", i, n, n+1)
			}
		}
		t.next("R1", "loop")
		t.end()
	}
	t.begin("", "chain", "", "peakArgs")
	t.p("MOVD $0, R2")
	t.p("MOVD $1, R3")
	t.field("peakArgs", "iterations", "R1")
	t.label("loop")
	for range 64 {
		t.p("ADD R3, R2")
	}
	t.next("R1", "loop")
	t.end()
}
