// Package conformance holds every device to one float64 reference and to the
// promises that differential privacy rests on. A device's tests call [Run].
package conformance

import (
	"fmt"
	"math"
	"testing"

	"github.com/dploda/dploda/internal/device"
)

// Tolerances, relative to the largest element of the tensor compared (at least
// 1). A float32 chain of n random terms is off by about √n·2⁻²⁴; the test
// networks stay below n = 2000 in a sum and a few sums in a row, which is 1e-5.
// A mistake in an index or a sign is off by order 1.
const (
	forwardTolerance  = 3e-5
	gradientTolerance = 1e-4 // sums of products of such values
	summedTolerance   = 1e-5 // the same numbers added in another order
)

// Poisoner is a stream that can fill all its memory with NaN, but for what a
// Run is allowed to read before writing.
type Poisoner interface{ Poison() }

// A Case is a small network: Build makes it, names its outputs and returns its
// loss, or [device.NoValue].
type Case struct {
	Name  string
	Build func(n Net) device.Value
}

// Run checks a device.
func Run(t *testing.T, dev device.Device) {
	t.Logf("device %s, %d lanes", dev.Kind(), dev.Lanes())
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { check(t, dev, c) })
	}
}

// check makes all comparisons of one case.
func check(t *testing.T, dev device.Device, c Case) {
	f := newFixture(t, dev, c)
	f.forward(t)
	if f.loss == device.NoValue {
		return
	}
	s := f.gradients(t)
	f.againstDifferences(t, s)
	f.alone(t, s)
	f.shuffled(t, s)
	f.poisoned(t, s)
	f.repeated(t, s)
	f.summed(t, s)
	f.accumulated(t, s)
}

// example is the data of one lane.
type example struct {
	inputs map[string][]float32
	rows   map[string]int
}

// fixture is a case with data.
type fixture struct {
	c        Case
	dev      device.Device
	builder  *device.Builder
	loss     device.Value
	list     *device.OpList // of outputs
	params   map[string][]float32
	examples []example
}

func newFixture(t *testing.T, dev device.Device, c Case) *fixture {
	t.Helper()
	f := &fixture{c: c, dev: dev, builder: device.NewBuilder(), params: map[string][]float32{}}
	f.loss = c.Build(f.builder)
	if f.loss != device.NoValue {
		f.builder.Output("loss", f.loss)
	}
	var err error
	if f.list, err = f.builder.Forward(); err != nil {
		t.Fatal(err)
	}
	g := newGenerator(c.Name)
	for _, p := range f.list.Params() {
		f.params[p.Name] = g.parameter(p)
	}
	for range dev.Lanes() {
		f.examples = append(f.examples, g.example(f.builder, f.list))
	}
	return f
}

// compile makes a stream with parameters set and no example.
func (f *fixture) compile(t *testing.T, l *device.OpList) device.Stream {
	t.Helper()
	e, err := f.dev.Compile(l)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range f.params {
		must(t, e.SetParam(name, values))
	}
	s, err := e.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fixture) set(t *testing.T, s device.Stream, lane int, e example) {
	t.Helper()
	for name, data := range e.inputs {
		must(t, s.SetInput(name, lane, data))
	}
	for name, row := range e.rows {
		must(t, s.SetIndex(name, lane, row))
	}
}

func (f *fixture) setAll(t *testing.T, s device.Stream) {
	t.Helper()
	for lane, e := range f.examples {
		f.set(t, s, lane, e)
	}
}

// evaluate computes an example in float64; params replaces the fixture's if it
// is not nil.
func (f *fixture) evaluate(e example, params map[string][]float64) (outputs map[string][]float64) {
	if params == nil {
		params = widen(f.params)
	}
	r := &reference{params: params, inputs: widen(e.inputs), rows: e.rows, outputs: map[string][]float64{}}
	if loss := f.c.Build(r); loss != device.NoValue {
		r.Output("loss", loss)
	}
	return r.outputs
}

func widen(m map[string][]float32) map[string][]float64 {
	out := map[string][]float64{}
	for name, values := range m {
		w := make([]float64, len(values))
		for i, v := range values {
			w[i] = float64(v)
		}
		out[name] = w
	}
	return out
}

// forward compares every lane's outputs with the reference.
func (f *fixture) forward(t *testing.T) {
	t.Helper()
	s := f.compile(t, f.list)
	f.setAll(t, s)
	must(t, s.Run())
	f.compareOutputs(t, s)
}

func (f *fixture) compareOutputs(t *testing.T, s device.Stream) {
	t.Helper()
	for lane, e := range f.examples {
		for name, want := range f.evaluate(e, nil) {
			compare(t, fmt.Sprintf("output %q of lane %d", name, lane), f.output(t, s, name, lane), want, forwardTolerance)
		}
	}
}

func (f *fixture) output(t *testing.T, s device.Stream, name string, lane int) []float32 {
	t.Helper()
	for _, o := range f.list.Outputs {
		if o.Name == name {
			dst := make([]float32, f.builder.Shape(o.Value).Len())
			must(t, s.Output(name, lane, dst))
			return dst
		}
	}
	t.Fatalf("no output %q", name)
	return nil
}

// gradients runs the per-example list on all examples.
func (f *fixture) gradients(t *testing.T) device.Stream {
	t.Helper()
	s := f.perExample(t)
	f.setAll(t, s)
	must(t, s.Run())
	f.compareOutputs(t, s)
	return s
}

func (f *fixture) perExample(t *testing.T) device.Stream {
	t.Helper()
	l, err := f.builder.Gradient(f.loss, device.PerExample)
	if err != nil {
		t.Fatal(err)
	}
	return f.compile(t, l)
}

func (f *fixture) gradient(t *testing.T, s device.Stream, lane int) []float32 {
	t.Helper()
	dst := make([]float32, f.list.Trainable())
	must(t, s.Gradient(lane, dst))
	return dst
}

// checkedCoordinates bounds the finite differences of a case and lane.
const checkedCoordinates = 48

// againstDifferences compares gradients with central differences of the float64
// reference. At a step of 1e-5 these are off by about 1e-10.
func (f *fixture) againstDifferences(t *testing.T, s device.Stream) {
	t.Helper()
	const step = 1e-5
	for _, lane := range []int{0, f.dev.Lanes() - 1} {
		got := f.gradient(t, s, lane)
		scale := largest(got)
		params := widen(f.params)
		stride := max(1, len(got)/checkedCoordinates)
		for _, p := range f.list.Params() {
			if !p.Trainable {
				continue
			}
			values := params[p.Name]
			for i := range values {
				if (p.Offset+i)%stride != 0 && len(values) > 4 {
					continue
				}
				v := values[i]
				values[i] = v + step
				above := f.evaluate(f.examples[lane], params)["loss"][0]
				values[i] = v - step
				below := f.evaluate(f.examples[lane], params)["loss"][0]
				values[i] = v
				want := (above - below) / (2 * step)
				if diff := math.Abs(float64(got[p.Offset+i]) - want); !(diff <= gradientTolerance*max(scale, math.Abs(want), 1e-2)) {
					t.Fatalf("gradient of %q at %d, lane %d: %g, by differences %g (largest %g)", p.Name, i, lane, got[p.Offset+i], want, scale)
				}
			}
		}
	}
}

// alone: an example among NaN gives the same bits as among others, in any lane.
func (f *fixture) alone(t *testing.T, s device.Stream) {
	t.Helper()
	one := f.perExample(t)
	for _, at := range []struct{ from, to int }{{0, 0}, {1 % f.dev.Lanes(), f.dev.Lanes() - 1}} {
		for lane := range f.dev.Lanes() {
			f.set(t, one, lane, nan(f.examples[lane]))
		}
		f.set(t, one, at.to, f.examples[at.from])
		one.ZeroGradient()
		must(t, one.Run())
		f.same(t, "among NaN", one, at.to, s, at.from)
	}
}

// shuffled: examples give the same bits in other lanes.
func (f *fixture) shuffled(t *testing.T, s device.Stream) {
	t.Helper()
	other, n := f.perExample(t), f.dev.Lanes()
	place := func(lane int) int { return (lane*5 + 3) % n }
	for lane, e := range f.examples {
		f.set(t, other, place(lane), e)
	}
	must(t, other.Run())
	for lane := range n {
		f.same(t, "shuffled", other, place(lane), s, lane)
	}
}

// poisoned: what memory held before is of no influence.
func (f *fixture) poisoned(t *testing.T, s device.Stream) {
	t.Helper()
	other := f.perExample(t)
	p, ok := other.(Poisoner)
	if !ok {
		t.Log("not checked: the streams of this device cannot poison their memory")
		return
	}
	f.setAll(t, other)
	p.Poison()
	must(t, other.Run())
	for lane := range f.dev.Lanes() {
		f.same(t, "poisoned", other, lane, s, lane)
	}
	p.Poison()
	other.ZeroGradient()
	must(t, other.Run())
	for lane := range f.dev.Lanes() {
		f.same(t, "poisoned and run again", other, lane, s, lane)
	}
}

// same compares an example's outputs, gradient, norm and integers bit for bit.
func (f *fixture) same(t *testing.T, what string, got device.Stream, lane int, want device.Stream, wantLane int) {
	t.Helper()
	for _, o := range f.list.Outputs {
		equalBits(t, fmt.Sprintf("%s: output %q", what, o.Name), f.output(t, got, o.Name, lane), f.output(t, want, o.Name, wantLane))
	}
	equalBits(t, what+": gradient", f.gradient(t, got, lane), f.gradient(t, want, wantLane))
	if g, w := f.norms(t, got)[lane], f.norms(t, want)[wantLane]; math.Float64bits(g) != math.Float64bits(w) {
		t.Fatalf("%s: squared norm %g, want %g", what, g, w)
	}
	g, w := f.integers(t, got, lane), f.integers(t, want, wantLane)
	for i := range g {
		if g[i] != w[i] {
			t.Fatalf("%s: integer %d is %d, want %d", what, i, g[i], w[i])
		}
	}
}

func (f *fixture) norms(t *testing.T, s device.Stream) []float64 {
	t.Helper()
	dst := make([]float64, f.dev.Lanes())
	must(t, s.SquaredNorms(dst))
	return dst
}

// gridScale maps the gradients of the test networks to some thousands.
const gridScale = 4096

// integers returns one lane's contribution.
func (f *fixture) integers(t *testing.T, s device.Stream, lane int) []int32 {
	t.Helper()
	scale := make([]float64, f.dev.Lanes())
	scale[lane] = gridScale
	sum := make([]int32, f.list.Trainable())
	kept := make([]bool, f.dev.Lanes())
	must(t, s.Accumulate(f.dev.Lanes(), scale, math.MaxUint64, sum, kept))
	for l, k := range kept {
		if k && l != lane {
			t.Fatalf("lane %d of scale 0 is said to contribute", l)
		}
	}
	return sum
}

// repeated: a second Run adds to the gradient, and ZeroGradient starts anew.
func (f *fixture) repeated(t *testing.T, s device.Stream) {
	t.Helper()
	other := f.perExample(t)
	f.setAll(t, other)
	must(t, other.Run())
	must(t, other.Run())
	for lane := range f.dev.Lanes() {
		once, twice := f.gradient(t, s, lane), f.gradient(t, other, lane)
		want := make([]float64, len(once))
		for i, g := range once {
			want[i] = 2 * float64(g)
		}
		compare(t, "gradient of two runs", twice, want, summedTolerance)
	}
	other.ZeroGradient()
	must(t, other.Run())
	f.same(t, "after ZeroGradient", other, 0, s, 0)
}

// summed: the list of the summed gradient agrees with the lanes, unused ones
// having weight 0, and adds up over runs and to its destination.
func (f *fixture) summed(t *testing.T, s device.Stream) {
	t.Helper()
	l, err := f.builder.Gradient(f.loss, device.Summed)
	if err != nil {
		t.Fatal(err)
	}
	other := f.compile(t, l)
	f.setAll(t, other)
	if p, ok := other.(Poisoner); ok {
		p.Poison()
	}
	must(t, other.Run())
	must(t, other.Run())
	f.compareOutputs(t, other)
	want := make([]float64, l.Trainable())
	size := 0.0
	for lane := range f.dev.Lanes() {
		g := f.gradient(t, s, lane)
		size = max(size, largest(g))
		for i, v := range g {
			want[i] += 2 * float64(v)
		}
	}
	got := make([]float32, l.Trainable())
	for i := range want {
		got[i] = 1
		want[i]++
	}
	must(t, other.AddGradient(got))
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= summedTolerance*max(1, size*float64(2*f.dev.Lanes()))) {
			t.Fatalf("summed gradient %d: %g, the lanes give %g", i, got[i], w)
		}
	}
}

// accumulated compares the integers with their definition, in each way that a
// lane can be left out.
func (f *fixture) accumulated(t *testing.T, s device.Stream) {
	t.Helper()
	n := f.dev.Lanes()
	scale := make([]float64, n)
	for lane := range scale {
		scale[lane] = gridScale / float64(lane+1)
	}
	contribution := make([][]int32, n)
	squares := make([]uint64, n)
	var limit uint64
	for lane := range n {
		contribution[lane] = make([]int32, f.list.Trainable())
		for i, g := range f.gradient(t, s, lane) {
			v := int32(math.RoundToEven(float64(g) * scale[lane]))
			contribution[lane][i] = v
			squares[lane] += uint64(int64(v) * int64(v))
		}
		limit = max(limit, squares[lane]) // the largest is still in
	}
	for _, refuse := range []bool{false, true} {
		if refuse && limit == 0 {
			break
		}
		lim := limit
		if refuse {
			lim-- // and now it is out
		}
		used := n - 1
		want, got := make([]int32, f.list.Trainable()), make([]int32, f.list.Trainable())
		for i := range want {
			want[i], got[i] = math.MaxInt32-5, math.MaxInt32-5 // the sums wrap
		}
		for lane := range used {
			if squares[lane] > lim {
				continue
			}
			for i, v := range contribution[lane] {
				want[i] += v
			}
		}
		kept := make([]bool, n)
		for lane := range kept {
			kept[lane] = lane%2 == 0 // as an earlier call left it
		}
		must(t, s.Accumulate(used, scale[:used], lim, got, kept))
		for lane, k := range kept {
			if want := squares[lane] <= lim; lane < used && k != want {
				t.Fatalf("lane %d is said to contribute: %v, want %v", lane, k, want)
			}
			if lane >= used && k != (lane%2 == 0) {
				t.Fatalf("lane %d was not asked for and got an answer", lane)
			}
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("sum of integers at %d: %d, want %d", i, got[i], want[i])
			}
		}
	}
}

func nan(e example) example {
	out := example{map[string][]float32{}, e.rows}
	for name, data := range e.inputs {
		out.inputs[name] = make([]float32, len(data))
		for i := range data {
			out.inputs[name][i] = float32(math.NaN())
		}
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func largest(v []float32) float64 {
	m := 0.0
	for _, x := range v {
		m = max(m, math.Abs(float64(x)))
	}
	return m
}

// compare fails if got is further than tolerance from want, relative to the
// largest of want and 1.
func compare(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	scale := 1.0
	for _, w := range want {
		scale = max(scale, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= tolerance*scale) {
			t.Fatalf("%s: element %d is %g, want %g (scale %g)", what, i, got[i], w, scale)
		}
	}
}

func equalBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d is %g, want exactly %g", what, i, got[i], want[i])
		}
	}
}
