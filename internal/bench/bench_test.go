package bench

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(b) }

// TestCases: every row can be prepared, has a name of its own and counts
// something; a row of an op list has that op alone.
func TestCases(t *testing.T) {
	names := map[string]bool{}
	for _, c := range kernelCases() {
		if names[c.name()] {
			t.Errorf("two rows are called %s", c.name())
		}
		names[c.name()] = true
		_, count, err := c.prepare()
		if err != nil {
			t.Errorf("%s: %v", c.name(), err)
			continue
		}
		if (count.bytes > 0) == (count.executed > 0) || count.executed > 0 && count.executed > count.direct {
			t.Errorf("%s counts %+v: either bytes or operations, of which no more than the direct ones", c.name(), count)
		}
	}
}

// TestConvolutionCount holds the counts of a convolution's rows to the loop
// that defines it.
func TestConvolutionCount(t *testing.T) {
	for _, c := range []conv{
		{3, 5, 6, 3, device.Pad(1)},
		{4, 4, 7, 3, device.Conv{Stride: 2, Top: 1, Left: 1, Bottom: 1, Right: 1}},
		{2, 8, 4, 1, device.Pad(0)},
	} {
		g, taps := c.geometry, 0
		out := (c.side+g.Top+g.Bottom-c.kernel)/g.Stride + 1
		for y := range out {
			for x := range out {
				for i := range c.kernel {
					for j := range c.kernel {
						row, col := y*g.Stride-g.Top+i, x*g.Stride-g.Left+j
						if row >= 0 && row < c.side && col >= 0 && col < c.side {
							taps++
						}
					}
				}
			}
		}
		want := float64(2 * kernel.Lanes * taps * c.in * c.out)
		rows := c.all("conv", 0, 0)
		if c.kernel == 3 && g.Stride == 1 {
			rows = append(rows, c.direct("forward", false), c.direct("data", true))
		}
		for _, row := range rows {
			_, count, err := row.prepare()
			if err != nil {
				t.Fatalf("%s: %v", row.name(), err)
			}
			if count.direct != want {
				t.Errorf("%s counts %v operations, want %v", row.name(), count.direct, want)
			}
		}
	}
}

// TestMemoryCount: each input once, each output once, 16 lanes of float32.
func TestMemoryCount(t *testing.T) {
	want := map[string]int{
		"residual/forward": 3, "concat/forward": 4, "group norm + silu/forward": 2, "group norm + silu/backward": 3,
		"upsample/forward": 5, "upsample/backward": 5,
	}
	p := plane{8, 4}
	for _, c := range p.cases() {
		passes, ok := want[c.op+"/"+c.dir]
		if !ok {
			continue
		}
		_, count, err := c.prepare()
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(passes * 4 * 16 * 8 * 4 * 4); count.bytes != got {
			t.Errorf("%s counts %v bytes, want %v", c.name(), count.bytes, got)
		}
		delete(want, c.op+"/"+c.dir)
	}
	if len(want) > 0 {
		t.Errorf("no rows of %v", want)
	}
}

// TestProductsAreAttention: the specs compute what their comments say.
func TestProductsAreAttention(t *testing.T) {
	tk := tokens{3, 5}
	n, lanes := tk.count(), kernel.Lanes
	square, values := n*n*lanes, tk.width*n*lanes
	s, v, dst := lanesOf(square, 1), lanesOf(values, 2), lanesOf(max(square, values), 3)
	w := lanesOf(values, 4)
	at := func(m []float32, i, j, cols int) float64 { return float64(m[(i*cols+j)*lanes+7]) }
	for name, c := range map[string]struct {
		spec        *kernel.ProductSpec
		left, right []float32
		rows, cols  int
		want        func(i, j int) float64
	}{
		"scores": {tk.scores(), v, w, n, n, func(i, j int) (sum float64) {
			for d := range tk.width {
				sum += at(v, d, i, n) * at(w, d, j, n)
			}
			return sum
		}},
		"rows": {tk.rows(), s, v, tk.width, n, func(d, i int) (sum float64) {
			for j := range n {
				sum += at(s, i, j, n) * at(v, d, j, n)
			}
			return sum
		}},
		"columns": {tk.columns(), s, v, tk.width, n, func(d, j int) (sum float64) {
			for i := range n {
				sum += at(s, i, j, n) * at(v, d, i, n)
			}
			return sum
		}},
	} {
		kernel.LaneProduct(dst, c.left, c.right, c.spec, false)
		for i := range c.rows {
			for j := range c.cols {
				if got, want := at(dst, i, j, c.cols), c.want(i, j); math.Abs(got-want) > 1e-5 {
					t.Fatalf("%s: element %d, %d is %v, want %v", name, i, j, got, want)
				}
			}
		}
	}
}

func TestRowArithmetic(t *testing.T) {
	peak := yardstick{clock: 3e9, flops: 90e9, theory: 96e9, bytes: 40e9}
	r := newKernelRow(kernelCase{bar: 0.8}, work{algorithm: "winograd", executed: 2e6, direct: 8e6}, 30_000, peak)
	if !near(r.GFLOPS, 60) || !near(r.Effective, 240) || !near(r.Peak, 90) || !near(r.Share, 60.0/90) || !near(r.Theory, 96) ||
		r.Unit != "GFLOP/s" || r.GBPS != 0 || !*r.Met {
		t.Errorf("a row of operations: %+v", r)
	}
	r = newKernelRow(kernelCase{bar: 0.8}, work{executed: 2e6, direct: 2e6}, 30_000, peak)
	if *r.Met {
		t.Errorf("a direct row at 0.67 of peak meets 0.8: %+v", r)
	}
	r = newKernelRow(kernelCase{bar: 0.6}, work{bytes: 3e6}, 8_000, peak)
	if !near(r.GBPS, 24) || !near(r.Peak, 40) || !near(r.Share, 0.6) || r.Unit != "GB/s" || r.GFLOPS != 0 || !*r.Met {
		t.Errorf("a row of bytes: %+v", r)
	}
	if r = newKernelRow(kernelCase{}, work{bytes: 3e6}, 8_000, peak); r.Met != nil {
		t.Errorf("a row without a bar meets one: %+v", r)
	}
}

func TestTheoreticalPeak(t *testing.T) {
	const clock, lanes = 2e9, 8 // one unit: 32 GFLOP/s
	for _, c := range []struct{ measured, want float64 }{
		{15e9, 16e9}, {16.2e9, 16e9}, {17e9, 32e9}, {31e9, 32e9}, {32.5e9, 32e9}, {34e9, 64e9}, {63e9, 64e9}, {90e9, 96e9}, {120e9, 128e9},
	} {
		if got := theoreticalPeak(clock, lanes, c.measured); got != c.want {
			t.Errorf("at %v measured the theoretical peak is %v, want %v", c.measured, got, c.want)
		}
	}
	if theoreticalPeak(0, lanes, 1e9) != 0 || theoreticalPeak(clock, 0, 1e9) != 0 {
		t.Error("a peak in theory without a clock or registers")
	}
}

// TestWrongMeasurementsAreRepeatedThenRefused with injected ones.
func TestWrongMeasurementsAreRepeatedThenRefused(t *testing.T) {
	good := yardstick{clock: 3e9, flops: 95e9, theory: 96e9}
	slow := yardstick{clock: 3e9, flops: 90e9, theory: 96e9}
	broken := errors.New("broken")
	type measurement struct {
		calls float64
		peak  yardstick
		err   error
	}
	c, count := kernelCase{op: "op", dir: "forward", shape: "1@1x1"}, work{executed: 1e6, direct: 1e6}
	for name, tc := range map[string]struct {
		measured []measurement // the last one again and again
		calls    int
		want     error
		sentence string
	}{
		"good":             {[]measurement{{50_000, good, nil}}, 1, nil, ""},
		"one slow peak":    {[]measurement{{50_000, slow, nil}, {50_000, good, nil}}, 2, nil, ""},
		"always slow":      {[]measurement{{50_000, slow, nil}}, attempts, ErrPeak, "op/forward/1@1x1: the measured peak is too low: 90.0 GFLOP/s are 93.8 % of the theoretical 96.0 at 3.00 GHz, and must be 95 %; measure again on a quieter machine (after 5 attempts)"},
		"one above 1":      {[]measurement{{100_000, good, nil}, {50_000, good, nil}}, 2, nil, ""},
		"always above 1":   {[]measurement{{100_000, good, nil}}, attempts, ErrShare, "op/forward/1@1x1: a share above 1 cannot be: it is 1.053; the row's count of work or its yardstick is wrong, or the clock changed between them (after 5 attempts)"},
		"another mistake":  {[]measurement{{0, good, broken}}, 1, broken, "broken"},
		"no clock, no law": {[]measurement{{50_000, yardstick{flops: 90e9}, nil}}, 1, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			row, err := validRow(c, count, func() (float64, yardstick, error) {
				m := tc.measured[min(calls, len(tc.measured)-1)]
				calls++
				return m.calls, m.peak, m.err
			})
			if !errors.Is(err, tc.want) || err != nil && err.Error() != tc.sentence {
				t.Errorf("error %q, want %q", err, tc.sentence)
			}
			if calls != tc.calls {
				t.Errorf("measured %d times, want %d", calls, tc.calls)
			}
			if tc.want == nil && (row.Attempts > 1) != (calls > 1) {
				t.Errorf("the row tells of %d attempts, there were %d", row.Attempts, calls)
			}
		})
	}
}

// TestStepArithmetic: figures of the median step, rates by processor time.
func TestStepArithmetic(t *testing.T) {
	r := &stepRun{
		threads: 2, step: &Step{Images: 32}, recorder: &recorder{Device: cpu.New()}, peak: yardstick{flops: 200e9, theory: 210e9},
		wall:    []time.Duration{9 * time.Second, 2 * time.Second, time.Second},
		cpu:     []time.Duration{8 * time.Second, 3200 * time.Millisecond, time.Second},
		mallocs: []uint64{900, 5, 4}, bytes: []uint64{9000, 500, 400}, direct: 480e9, executed: 160e9,
	}
	row := r.row(Work{Kind: "finetune", Net: "net"})
	for what, c := range map[string]struct{ got, want float64 }{
		"seconds": {row.SecondsPerStep, 2}, "images/s": {row.ImagesPerSecond, 16}, "GFLOP/image": {row.GFLOPPerImage, 15},
		"effective": {row.EffectiveGFLOPS, 300}, "executed": {row.ExecutedGFLOPS, 100}, "share": {row.Share, 0.5},
		"busy": {row.Busy, 0.8}, "allocations": {row.AllocsPerStep, 5}, "bytes": {row.BytesPerStep, 500}, "peak": {row.PeakGFLOPS, 200},
	} {
		if !near(c.got, c.want) {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
}

// TestRecorder: it counts every run's operations and names what streams do.
func TestRecorder(t *testing.T) {
	c := conv{4, 4, 5, 3, device.Pad(1)}
	b := device.NewBuilder()
	w := c.weight(b, true)
	x := c.input(b)
	y := c.apply(b, x, w)
	l, err := b.Gradient(b.MSE(y, b.Input("target", b.Shape(y)), b.Input("weight", device.Shape{C: 1, H: 1, W: 1})), device.PerExample)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{Device: cpu.New(), profile: true}
	exe, err := r.Compile(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := exe.SetTrainable(pattern(l.Trainable(), 1)); err != nil {
		t.Fatal(err)
	}
	s, err := exe.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := fillInputs(s, l, r.Lanes()); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	r.reset()
	for range 3 {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
	s.ZeroGradient()
	direct, executed := r.flops()
	if want := float64(3 * 16 * l.FLOPs()); direct != want || executed <= 0 || executed > want {
		t.Errorf("three runs count %v and %v operations, want %v and at most that", direct, executed, want)
	}
	seen, total := map[string]bool{}, 0.0
	for _, op := range r.breakdown(time.Hour) {
		seen[op.Op+" "+op.Dir] = true
		total += op.Share
	}
	for _, want := range []string{"Convolution forward", "Convolution weights", "SquaredError backward", "zero gradients "} {
		if !seen[want] {
			t.Errorf("no %q in %v", want, seen)
		}
	}
	if seen["load and store lanes "] {
		t.Error("what was before the reset is counted")
	}
	if !(total > 0 && total < 1) {
		t.Errorf("three small runs take %v of an hour", total)
	}
	m := exe.Memory()
	if got, want := r.memory(2), m.Weights+2*(m.ArenaPerStream+m.GradientPerStream); got != want {
		t.Errorf("the plan of two threads is %d bytes, want %d", got, want)
	}
}

func TestTextTellsWhatWasMissed(t *testing.T) {
	row := newKernelRow(kernelCase{op: "add", dir: "forward", shape: "1@1x1", bar: 0.6}, work{bytes: 1e6}, 10_000, yardstick{bytes: 40e9})
	d := &KernelDocument{Header: Header{Machine: "m", CPU: "c", Go: "g", Level: "l"}, Rows: []KernelRow{row}}
	text := d.Text()
	for _, want := range []string{"add", "0.250", "0.60", "missed", "1 rows, 1 below their bar"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
