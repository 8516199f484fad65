package batch

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/dploda/dploda/internal/device"
)

// toy is an executable whose gradient of an example with value x and weight w
// is w·x·(1, 1/3, 1/7) and whose output is x². Float32 sums of it depend on
// their order.
type toy struct {
	device.Executable
	fail error
}

const toyLanes, toyDim = 4, 3

type toyStream struct {
	device.Stream
	fail     error
	x, w     [toyLanes]float32
	gradient [toyDim]float32
}

func (t *toy) NewStream() (device.Stream, error) {
	s := &toyStream{fail: t.fail}
	s.gradient[0] = 1e9 // what a run before left behind
	return s, nil
}

func (s *toyStream) SetInput(name string, lane int, data []float32) error {
	map[string]*[toyLanes]float32{"x": &s.x, "w": &s.w}[name][lane] = data[0]
	return nil
}

func (s *toyStream) Run() error {
	for lane := range toyLanes {
		for i, f := range []float32{1, 1.0 / 3, 1.0 / 7} {
			s.gradient[i] += float32(s.w[lane] * s.x[lane] * f)
		}
	}
	return s.fail
}

func (s *toyStream) Output(_ string, lane int, dst []float32) error {
	dst[0] = s.x[lane] * s.x[lane]
	return nil
}

func (s *toyStream) ZeroGradient() { s.gradient = [toyDim]float32{} }

func (s *toyStream) AddGradient(dst []float32) error {
	for i, g := range s.gradient {
		dst[i] += g
	}
	return nil
}

func value(i int) float32 { return float32(math.Pow(-1.7, float64(i%13))) }

func load(s device.Stream, lane, i int) error {
	return errors.Join(s.SetInput("x", lane, []float32{value(i)}), s.SetInput("w", lane, []float32{1}))
}

func idle(s device.Stream, lane int) error { return s.SetInput("w", lane, []float32{0}) }

func newRunner(t *testing.T, threads int, fail error) *Runner {
	t.Helper()
	r, err := New(&toy{fail: fail}, toyLanes, threads)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGradientIsTheSumForAnyThreads(t *testing.T) {
	for _, n := range []int{0, 1, 4, 5, 31, 32, 33, 100} {
		want := 0.0
		for i := range n {
			want += float64(value(i))
		}
		var first []float32
		for _, threads := range []int{1, 2, 3, 16} {
			r, got := newRunner(t, threads, nil), []float32{7, 7, 7}
			for range 2 { // the second call must not see the first one's gradients
				if err := r.Gradient(context.Background(), got, n, load, idle, nil); err != nil {
					t.Fatal(err)
				}
			}
			if math.Abs(float64(got[0])-want) > 1e-3*math.Abs(want)+1e-2 {
				t.Errorf("%d examples, %d threads: sum %v, want %v", n, threads, got[0], want)
			}
			if first == nil {
				first = slices.Clone(got)
			}
			if !slices.Equal(got, first) {
				t.Errorf("%d examples: %d threads give %v, one gives %v", n, threads, got, first)
			}
		}
	}
}

func TestOutputsOfEveryExample(t *testing.T) {
	for _, threads := range []int{1, 3} {
		for name, run := range map[string]func(r *Runner, read Read) error{
			"forward": func(r *Runner, read Read) error { return r.Forward(context.Background(), 37, load, read) },
			"gradient": func(r *Runner, read Read) error {
				return r.Gradient(context.Background(), make([]float32, toyDim), 37, load, idle, read)
			},
		} {
			var mu sync.Mutex
			seen := map[int]float32{}
			err := run(newRunner(t, threads, nil), func(s device.Stream, lane, i int) error {
				var out [1]float32
				err := s.Output("", lane, out[:])
				mu.Lock()
				defer mu.Unlock()
				seen[i] = out[0]
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) != 37 {
				t.Errorf("%s: %d outputs of 37", name, len(seen))
			}
			for i, got := range seen {
				if want := value(i) * value(i); got != want {
					t.Errorf("%s: output %d is %v, want %v", name, i, got, want)
				}
			}
		}
	}
}

func TestErrorsStopTheWork(t *testing.T) {
	broken := errors.New("broken")
	dst := make([]float32, toyDim)
	bad := func(device.Stream, int, int) error { return broken }
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		want error
		err  error
	}{
		"run":       {broken, newRunner(t, 2, broken).Forward(context.Background(), 9, load, bad)},
		"gradient":  {broken, newRunner(t, 2, broken).Gradient(context.Background(), dst, 9, load, idle, nil)},
		"load":      {broken, newRunner(t, 2, nil).Gradient(context.Background(), dst, 9, bad, idle, nil)},
		"idle":      {broken, newRunner(t, 2, nil).Gradient(context.Background(), dst, 9, load, func(device.Stream, int) error { return broken }, nil)},
		"read":      {broken, newRunner(t, 2, nil).Forward(context.Background(), 9, load, bad)},
		"cancelled": {context.Canceled, newRunner(t, 2, nil).Gradient(ctx, dst, 9, load, idle, nil)},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if _, err := New(&toy{}, 0, 1); err == nil {
		t.Error("a batch without lanes was accepted")
	}
	if _, err := New(&toy{}, 16, 0); err == nil {
		t.Error("a batch without threads was accepted")
	}
}
