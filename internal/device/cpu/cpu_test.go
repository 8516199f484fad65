package cpu

import (
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/conformance"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// TestConformance runs the suite with the fastest kernels of this machine.
func TestConformance(t *testing.T) { conformance.Run(t, New()) }

// netList is the list of a narrow version of the benchmark's U-Net.
func netList(tb testing.TB, mode device.GradMode) *device.OpList {
	tb.Helper()
	net := &benchNet{Builder: device.NewBuilder(), width: 8, rank: 4}
	_, loss := net.build()
	l, err := net.Gradient(loss, mode)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// TestMemoryIsThePlan: what Memory says is what a stream holds, every value
// lies inside it, and no two that live together overlap.
func TestMemoryIsThePlan(t *testing.T) {
	for _, mode := range []device.GradMode{device.PerExample, device.Summed} {
		l := netList(t, mode)
		s := readyStream(t, l)
		m := s.executable.Memory()
		if got := int64(4 * (len(s.arena) + len(s.scratch))); m.ArenaPerStream != got {
			t.Errorf("the plan says %d bytes of arena, the stream holds %d", m.ArenaPerStream, got)
		}
		if got := int64(4 * len(s.gradient)); m.GradientPerStream != got {
			t.Errorf("the plan says %d bytes of gradient, the stream holds %d", m.GradientPerStream, got)
		}
		if got := int64(4 * len(s.weights)); m.Weights != got {
			t.Errorf("the plan says %d bytes of weights, the stream reads %d", m.Weights, got)
		}
		spans, end := l.Spans(), 0
		for v, a := range s.executable.layouts {
			if spans[v].Last < spans[v].First {
				continue
			}
			end = max(end, a.offset+a.size)
			for w, b := range s.executable.layouts[:v] {
				together := spans[w].First <= spans[w].Last && spans[v].First <= spans[w].Last && spans[w].First <= spans[v].Last
				if together && a.offset < b.offset+b.size && b.offset < a.offset+a.size {
					t.Fatalf("values %d and %d live together and overlap", v, w)
				}
			}
		}
		if end != len(s.arena) {
			t.Errorf("the last value ends at %d of %d", end, len(s.arena))
		}
	}
}

// TestGradientMemory: only a per-example list pays for the gradient of each
// lane, and no list for those of frozen weights.
func TestGradientMemory(t *testing.T) {
	l := netList(t, device.PerExample)
	if got, want := readyStream(t, l).executable.Memory().GradientPerStream, int64(64*l.Trainable()); got != want {
		t.Errorf("per-example gradients take %d bytes, want %d", got, want)
	}
	net := &benchNet{Builder: device.NewBuilder(), width: 8, all: true}
	_, loss := net.build()
	l, err := net.Gradient(loss, device.Summed)
	if err != nil {
		t.Fatal(err)
	}
	s := readyStream(t, l)
	if got, want := s.executable.Memory().GradientPerStream, int64(4*l.Trainable()); got != want {
		t.Errorf("the summed gradient takes %d bytes, want %d", got, want)
	}
	if got, limit := len(s.scratch), lanes*maxWeightScratch; got > limit {
		t.Errorf("the lane gradients of a piece take %d floats, more than %d", got, limit)
	}
}

func TestRunDoesNotAllocate(t *testing.T) {
	for _, mode := range []device.GradMode{device.PerExample, device.Summed} {
		s := readyStream(t, netList(t, mode))
		if n := testing.AllocsPerRun(2, func() {
			if err := s.Run(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("a run allocates %v times", n)
		}
	}
}

// TestStreamsShareAnExecutable: streams on several goroutines give the bits of
// one alone.
func TestStreamsShareAnExecutable(t *testing.T) {
	l := netList(t, device.PerExample)
	first := readyStream(t, l)
	if err := first.Run(); err != nil {
		t.Fatal(err)
	}
	streams := []*stream{}
	for range 3 {
		s, err := first.executable.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		loadInputs(t, s, l)
		streams = append(streams, s.(*stream))
	}
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() {
			if err := s.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, s := range streams {
		for j, g := range s.gradient {
			if math.Float32bits(g) != math.Float32bits(first.gradient[j]) {
				t.Fatalf("stream %d differs at %d", i, j)
			}
		}
	}
}

// TestLevelsGiveTheSameBits runs the whole net with each implementation of the
// kernels.
func TestLevelsGiveTheSameBits(t *testing.T) {
	before := kernel.Level()
	defer func() {
		if err := kernel.Use(before); err != nil {
			t.Error(err)
		}
	}()
	s := readyStream(t, netList(t, device.PerExample))
	var want []float32
	for _, level := range kernel.Levels() {
		if err := kernel.Use(level); err != nil {
			t.Fatal(err)
		}
		s.ZeroGradient()
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = append(want, s.gradient...)
		}
		for i, g := range s.gradient {
			if math.Float32bits(g) != math.Float32bits(want[i]) {
				t.Fatalf("%s: gradient %d is %g, the portable kernels give %g", level, i, g, want[i])
			}
		}
	}
}

func TestSetTrainableSetsAll(t *testing.T) {
	l := netList(t, device.PerExample)
	one, other := readyStream(t, l), readyStream(t, l)
	flat := make([]float32, l.Trainable())
	for i := range flat {
		flat[i] = float32(i%17-8) / 50
	}
	if err := one.executable.SetTrainable(flat); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Params() {
		if p.Trainable {
			if err := other.executable.SetParam(p.Name, flat[p.Offset:p.Offset+p.Len()]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, w := range one.weights {
		if w != other.weights[i] {
			t.Fatalf("packed weight %d is %g and %g", i, w, other.weights[i])
		}
	}
}

func TestMisuseIsRefused(t *testing.T) {
	l := netList(t, device.PerExample)
	s := readyStream(t, l)
	empty, err := New().Compile(l)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := empty.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	image := make([]float32, 4*14*14)
	summed := readyStream(t, netList(t, device.Summed))
	for want, err := range map[string]error{
		`parameter "1" was never set`:                   bare.Run(),
		`has no parameter "x"`:                          s.executable.SetParam("x", nil),
		`parameter "1" has 256 values, not 1`:           s.executable.SetParam("1", make([]float32, 1)),
		`1 trainable values given`:                      s.executable.SetTrainable(make([]float32, 1)),
		`has no input "x"`:                              s.SetInput("x", 0, image),
		`input "image" has 784 values, not 3`:           s.SetInput("image", 0, image[:3]),
		`lane 16 is not in [0, 16)`:                     s.SetInput("image", 16, image),
		`index "class" is not in [0, 11)`:               s.SetIndex("class", 0, 11),
		`has no index "x"`:                              s.SetIndex("x", 0, 0),
		`lane -1 is not in [0, 16)`:                     s.SetIndex("class", -1, 0),
		`has no output "x"`:                             s.Output("x", 0, image),
		`the gradient has 1 coordinates`:                s.Gradient(0, make([]float32, 1)),
		`AddGradient needs an op list of another mode`:  s.AddGradient(nil),
		`Gradient needs an op list of another mode`:     summed.Gradient(0, nil),
		`SquaredNorms needs an op list of another mode`: summed.SquaredNorms(make([]float64, 16)),
		`Accumulate needs an op list of another mode`:   summed.Accumulate(1, []float64{1}, 1, nil, nil),
		`cannot accumulate 17 lanes`:                    s.Accumulate(17, make([]float64, 17), 1, nil, make([]bool, 17)),
		`the sum has 1 coordinates`:                     s.Accumulate(1, []float64{1}, 1, make([]int32, 1), make([]bool, 1)),
		`1 norms for 16 lanes`:                          s.SquaredNorms(make([]float64, 1)),
		`cpu: cannot accumulate 2 lanes with 1 factors`: s.Accumulate(2, []float64{1}, 1, nil, make([]bool, 2)),
		`2 factors and room for 1 answers`:              s.Accumulate(2, make([]float64, 2), 1, nil, make([]bool, 1)),
		`the gradient has 0 coordinates, the op list`:   summed.AddGradient(nil),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestHugeValuesAreRefused: before any memory is taken.
func TestHugeValuesAreRefused(t *testing.T) {
	b := device.NewBuilder()
	x := b.Input("x", device.Shape{C: 1, H: 128, W: 128})
	b.Output("y", b.Attention(x, x, x, 1))
	l, err := b.Forward()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New().Compile(l); err == nil || !strings.Contains(err.Error(), "too large for one buffer") {
		t.Errorf("16384² scores: got %v", err)
	}
}

// TestBadLanesContributeNothing: a NaN, an Inf or a norm over the limit takes
// the whole lane out, and no other.
func TestBadLanesContributeNothing(t *testing.T) {
	b := device.NewBuilder()
	one := device.Shape{C: 1, H: 1, W: 1}
	y := b.Linear(b.Input("x", one), b.Param("w", true, 1, 1), b.Param("b", true, 1))
	l, err := b.Gradient(b.MSE(y, b.Input("t", one), b.Input("weight", one)), device.PerExample)
	if err != nil {
		t.Fatal(err)
	}
	s := readyStream(t, l)
	values := []float32{1, 2, float32(math.NaN()), float32(math.Inf(1)), 1e30, 3}
	for lane, v := range values {
		s.gradient[lane] = v       // w
		s.gradient[lanes+lane] = 1 // b
	}
	scale := make([]float64, lanes)
	for lane := range values {
		scale[lane] = 10
	}
	sum := []int32{0, 0}
	kept := make([]bool, lanes)
	if err := s.Accumulate(len(values), scale, 20*20+10*10, sum, kept); err != nil {
		t.Fatal(err)
	}
	if want := []bool{true, true, false, false, false, false}; !slices.Equal(kept[:len(values)], want) {
		t.Errorf("kept %v, want %v", kept[:len(values)], want)
	}
	if sum[0] != 10+20 || sum[1] != 10+10 {
		t.Errorf("sums %v: lanes 0 and 1 give 30 and 20, all others must be out", sum)
	}
}
