package account

import (
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rows reads a table of testdata as maps from column to value.
func rows(t *testing.T, file string) []map[string]string {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var table []map[string]string
	for _, record := range records[1:] {
		row := map[string]string{}
		for i, name := range records[0] {
			row[name] = record[i]
		}
		table = append(table, row)
	}
	return table
}

func number(t *testing.T, row map[string]string, column string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(row[column], 64)
	if err != nil {
		t.Fatalf("row %v, column %s: %v", row, column, err)
	}
	return x
}

func phases(t *testing.T, text string) []Event {
	t.Helper()
	var events []Event
	for _, phase := range strings.Split(text, ";") {
		var e Event
		if _, err := fmt.Sscanf(strings.ReplaceAll(phase, ":", " "), "%g %g %d", &e.SampleRate, &e.NoiseMultiplier, &e.Steps); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// Every row of the table lies in its band: never below the truth, and hardly
// above. Planted, each failed here: the direction of adding alone (P01, P02, P04
// and more), losses rounded down instead of spread (most rows).
func TestEpsilonOfReferenceTable(t *testing.T) {
	for _, row := range rows(t, "epsilon.csv") {
		adjacency := AddRemove
		if row["kind"] == "replace_one" {
			adjacency = ReplaceOne
		}
		events, delta := phases(t, row["phases_q:sigma:T"]), number(t, row, "delta")
		g, err := Epsilon(events, delta, adjacency)
		if err != nil {
			t.Fatalf("%s: %v", row["id"], err)
		}
		if lo, hi := number(t, row, "pass_lo"), number(t, row, "pass_hi"); !(g.Epsilon >= lo && g.Epsilon <= hi) {
			t.Errorf("%s: ε = %v, want one in [%v, %v]", row["id"], g.Epsilon, lo, hi)
		}
		if g.RDPEpsilon < g.Epsilon || g.Delta != delta || g.Adjacency != adjacency {
			t.Errorf("%s: %+v", row["id"], g)
		}
	}
}

// Calibration by its property, and against the reference's PLD answer.
func TestCalibrate(t *testing.T) {
	for _, row := range rows(t, "sigma.csv") {
		q, steps := number(t, row, "q"), int(number(t, row, "steps"))
		target, delta := number(t, row, "target_eps"), number(t, row, "delta")
		sigma, err := Calibrate(target, delta, q, steps, nil, AddRemove)
		if err != nil {
			t.Errorf("%s: %v", row["id"], err)
			continue
		}
		holds(t, row["id"], sigma, target, delta, q, steps, nil)
		if high := number(t, row, "sigma_pld_1e-4"); sigma > 1.002*high {
			t.Errorf("%s: σ = %v, the reference needs only %v", row["id"], sigma, high)
		}
	}
}

func holds(t *testing.T, name string, sigma, target, delta, q float64, steps int, fixed []Event) {
	t.Helper()
	at, err := Epsilon(append(slices.Clone(fixed), Event{q, sigma, steps}), delta, AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	less, err := Epsilon(append(slices.Clone(fixed), Event{q, 0.999 * sigma, steps}), delta, AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	if !(at.Epsilon <= target && target < less.Epsilon) {
		t.Errorf("%s: ε(σ) = %v, target %v, ε(0.999σ) = %v", name, at.Epsilon, target, less.Epsilon)
	}
}

func TestCalibrateBesideOtherPhases(t *testing.T) {
	fixed := []Event{{1, 10, 1}, {0.05, 2, 30}}
	alone, err := Calibrate(2, 1e-5, 0.01, 1000, nil, AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	sigma, err := Calibrate(2, 1e-5, 0.01, 1000, fixed, AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, "beside others", sigma, 2, 1e-5, 0.01, 1000, fixed)
	if sigma <= alone {
		t.Errorf("other phases cost nothing: σ = %v with them, %v without", sigma, alone)
	}
}

func TestCalibrateRefuses(t *testing.T) {
	spent, err := Epsilon([]Event{{1, 1, 1}}, 1e-5, AddRemove)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name          string
		target, delta float64
		q             float64
		steps         int
		fixed         []Event
		want          string
	}{
		{"target 0", 0, 1e-5, 0.1, 1, nil, "target epsilon is 0"},
		{"target NaN", math.NaN(), 1e-5, 0.1, 1, nil, "target epsilon is NaN"},
		{"delta 0", 1, 0, 0.1, 1, nil, "delta is 0"},
		{"delta 1", 1, 1, 0.1, 1, nil, "delta is 1"},
		{"rate above 1", 1, 1e-5, 1.1, 1, nil, "sampling rate is 1.1"},
		{"no steps", 1, 1e-5, 0.1, 0, nil, "needs no noise"},
		{"negative steps", 1, 1e-5, 0.1, -1, nil, "steps is -1"},
		{"bad other phase", 1, 1e-5, 0.1, 1, []Event{{0.1, math.NaN(), 1}}, "event 1: the noise multiplier is NaN"},
		{"other phases too dear", 1, 1e-5, 0.1, 1, []Event{{1, 1, 1}}, "the other phases alone cost epsilon 4.377"},
		{"nothing left for this phase", spent.Epsilon, 1e-5, 1, 1, []Event{{1, 1, 1}}, "no noise multiplier"},
	} {
		sigma, err := Calibrate(c.target, c.delta, c.q, c.steps, c.fixed, AddRemove)
		if err == nil || !strings.Contains(err.Error(), c.want) || sigma != 0 {
			t.Errorf("%s: %v, error %v, want %q", c.name, sigma, err, c.want)
		}
	}
}

// Invariant 8: ε is a pure function of the events: asking twice, splitting them
// or reordering them changes nothing; another step never lowers it.
func TestEpsilonIsAFunctionOfTheEvents(t *testing.T) {
	ask := func(events ...Event) float64 {
		t.Helper()
		g, err := Epsilon(events, 1e-5, AddRemove)
		if err != nil {
			t.Fatal(err)
		}
		return g.Epsilon
	}
	a, b := Event{0.01, 1, 500}, Event{0.02, 1.2, 500}
	whole := ask(a, b)
	if again := ask(a, b); again != whole {
		t.Errorf("asked twice: %v, then %v", whole, again)
	}
	if split := ask(Event{0.01, 1, 1}, b, Event{0.01, 1, 499}); split != whole {
		t.Errorf("split: %v, want %v", split, whole)
	}
	if swapped := ask(b, a); swapped != whole {
		t.Errorf("reordered: %v, want %v", swapped, whole)
	}
	if more := ask(a, b, Event{0.01, 1, 1}); more <= whole {
		t.Errorf("one more step lowers ε from %v to %v", whole, more)
	}
	if none := ask(); none != 0 {
		t.Errorf("nothing spent: ε = %v", none)
	}
	if none := ask(Event{0.5, 0, 0}); none != 0 {
		t.Errorf("no steps: ε = %v", none)
	}
}

func TestEpsilonAtTheEdges(t *testing.T) {
	for _, c := range []struct {
		name  string
		event Event
		want  float64
	}{
		{"no noise", Event{0.1, 0, 1}, math.Inf(1)},
		{"nobody sampled", Event{0, 0, 100}, 0},
		{"hardly any noise", Event{0.1, 1e-200, 1}, math.Inf(1)},
		{"noise without end", Event{0.1, 1e9, 1}, 0},
	} {
		got, err := Epsilon([]Event{c.event}, 1e-5, AddRemove)
		if err != nil || got.Epsilon != c.want {
			t.Errorf("%s: ε = %v (%v), want %v", c.name, got.Epsilon, err, c.want)
		}
	}
	// Below weakNoise the bound without sampling is used: never lower than above.
	below, errBelow := Epsilon([]Event{{0.1, weakNoise * 0.999, 1}}, 1e-5, AddRemove)
	above, errAbove := Epsilon([]Event{{0.1, weakNoise, 1}}, 1e-5, AddRemove)
	if errBelow != nil || errAbove != nil || below.Epsilon < above.Epsilon {
		t.Errorf("ε falls from %v (%v) to %v (%v) where noise gets weaker", above, errAbove, below, errBelow)
	}
}

func TestEventsAreChecked(t *testing.T) {
	for _, c := range []struct {
		event Event
		delta float64
		want  string
	}{
		{Event{-0.1, 1, 1}, 1e-5, "sampling rate is -0.1"},
		{Event{math.NaN(), 1, 1}, 1e-5, "sampling rate is NaN"},
		{Event{0.1, -1, 1}, 1e-5, "noise multiplier is -1"},
		{Event{0.1, math.Inf(1), 1}, 1e-5, "noise multiplier is +Inf"},
		{Event{0.1, 1, -1}, 1e-5, "steps is -1"},
		{Event{0.1, 1, 1}, 0, "delta is 0"},
		{Event{0.1, 1, 1}, math.NaN(), "delta is NaN"},
	} {
		if _, err := Epsilon([]Event{{0.1, 1, 1}, c.event}, c.delta, AddRemove); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v at %v: error %v, want %q", c.event, c.delta, err, c.want)
		}
	}
}
