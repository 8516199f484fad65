package account

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// More steps, a higher rate, weaker noise and a smaller δ never cost less, up to
// what the lattice may add.
func TestEpsilonIsOrdered(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := Event{
			math.Exp(-rapid.Float64Range(0.05, 9).Draw(rt, "-log q")),
			math.Exp(rapid.Float64Range(math.Log(0.4), math.Log(20)).Draw(rt, "log σ")),
			int(math.Exp(rapid.Float64Range(0, 6).Draw(rt, "log steps"))),
		}
		delta := math.Exp(-rapid.Float64Range(2, 25).Draw(rt, "-log δ"))
		adjacency := Adjacency(rapid.IntRange(0, 1).Draw(rt, "adjacency"))
		ask := func(e Event, delta float64) float64 {
			g, err := Epsilon([]Event{e}, delta, adjacency)
			if err != nil {
				rt.Fatalf("%+v at %v: %v", e, delta, err)
			}
			return g.Epsilon
		}
		at := ask(e, delta)
		for _, dearer := range []float64{
			ask(Event{e.SampleRate, e.NoiseMultiplier, e.Steps + 1 + e.Steps/20}, delta),
			ask(Event{e.SampleRate * 1.05, e.NoiseMultiplier, e.Steps}, delta),
			ask(Event{e.SampleRate, e.NoiseMultiplier / 1.02, e.Steps}, delta),
			ask(e, delta/1.2),
		} {
			if dearer < at*(1-2*discretization)-2*leastError {
				rt.Fatalf("%+v at %v: ε = %v, and %v for what costs more", e, delta, at, dearer)
			}
		}
	})
}

// A meter that follows a training gives at every step what Epsilon gives for the
// events alone, and what was asked before changes nothing.
func TestMeterIsEpsilon(t *testing.T) {
	for _, adjacency := range []Adjacency{AddRemove, ReplaceOne} {
		m, err := NewMeter(1e-5, adjacency)
		if err != nil {
			t.Fatal(err)
		}
		last := 0.0
		for _, counts := range [][2]int{{0, 0}, {3, 0}, {5, 0}, {5, 1}, {5, 7}, {5, 8}, {5, 9}, {5, 100}, {5, 127}, {5, 128}, {5, 129}, {5, 60}, {5, 129}} {
			events := []Event{{1, 10, counts[0]}, {512. / 60000, 0.6, counts[1]}}
			got, err := m.Epsilon(events)
			if err != nil {
				t.Fatal(err)
			}
			want, err := Epsilon(events, 1e-5, adjacency)
			if err != nil || got != want {
				t.Errorf("%v: %+v, want %+v (error %v)", counts, got, want, err)
			}
			if counts[1] != 60 && got.Epsilon < last*(1-2*discretization) {
				t.Errorf("%v: ε falls from %v to %v", counts, last, got.Epsilon)
			}
			last = got.Epsilon
		}
	}
}

// ε covers both directions: it is the larger of the two. Planted, each failed
// here: one of them alone.
func TestBothDirections(t *testing.T) {
	c, err := merge([]Event{{0.2, 1, 10}, {1, 5, 1}}, AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(directions ...direction) float64 {
		m, err := NewMeter(1e-5, AddRemove)
		if err != nil {
			t.Fatal(err)
		}
		if directions != nil {
			m.directions = directions
		}
		return m.epsilon(c)
	}
	with, without, both := ask(removing), ask(adding), ask()
	if both != math.Max(with, without) || with <= without {
		t.Errorf("ε = %v removing, %v adding, %v in both directions", with, without, both)
	}
	if d := fmt.Sprint(AddRemove.directions(), ReplaceOne.directions()); d != "[0 1] [2]" {
		t.Errorf("directions are %v", d)
	}
}

// Replacing one example at q = 1 is a Gaussian mechanism of twice the
// sensitivity, and it never costs less than removing one.
func TestReplaceOne(t *testing.T) {
	twice, err := Epsilon([]Event{{1, 2, 3}}, 1e-6, ReplaceOne)
	if err != nil {
		t.Fatal(err)
	}
	once, err := Epsilon([]Event{{1, 1, 3}}, 1e-6, AddRemove)
	if err != nil || twice.Epsilon != once.Epsilon || twice.RDPEpsilon != once.RDPEpsilon {
		t.Errorf("replacing at σ = 2: %+v, removing at σ = 1: %+v (error %v)", twice, once, err)
	}
	for _, e := range []Event{{0.01, 1, 100}, {0.3, 2, 20}, {0.001, 0.5, 1000}} {
		replace, err := Epsilon([]Event{e}, 1e-5, ReplaceOne)
		if err != nil {
			t.Fatal(err)
		}
		remove, err := Epsilon([]Event{e}, 1e-5, AddRemove)
		if err != nil || replace.Epsilon < remove.Epsilon {
			t.Errorf("%+v: replacing costs %v, removing %v (error %v)", e, replace.Epsilon, remove.Epsilon, err)
		}
	}
}

func TestCheck(t *testing.T) {
	sound := Guarantee{Epsilon: 1.0005, RDPEpsilon: 1, Delta: 1e-5}
	if err := sound.check(); err != nil {
		t.Error(err)
	}
	for _, g := range []Guarantee{{Epsilon: 1.01, RDPEpsilon: 1}, {Epsilon: math.Inf(1), RDPEpsilon: 3}} {
		if err := g.check(); err == nil || !strings.Contains(err.Error(), "contradict each other") {
			t.Errorf("%+v: %v", g, err)
		}
	}
}

func TestAdjacencyAsText(t *testing.T) {
	for text, want := range map[string]Adjacency{
		"add-remove": AddRemove, "replace-one": ReplaceOne,
	} {
		got := ReplaceOne - want
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %v (%v)", text, got, err)
		}
		if out, err := want.MarshalText(); err != nil || string(out) != want.String() {
			t.Errorf("%v is written %q (%v)", want, out, err)
		}
	}
	var a Adjacency
	if err := a.UnmarshalText([]byte("zero-out")); err == nil || !strings.Contains(err.Error(), `"zero-out"`) {
		t.Error(err)
	}
	if _, err := Adjacency(9).MarshalText(); err == nil {
		t.Error("adjacency 9 is written")
	}
	if _, err := NewMeter(1e-5, 9); err == nil {
		t.Error("there is a meter for adjacency 9")
	}
}
