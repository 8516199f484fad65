package bench

import (
	"fmt"
	"slices"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// memoryFootprint is what a row by bytes cycles through: far more than the
// caches hold, so that its data come from memory.
const memoryFootprint = 512 << 20

// single returns the list with the kept ops alone. What these read and none of
// them writes becomes an input.
func single(l *device.OpList, keep func(device.Op) bool) *device.OpList {
	s := *l
	s.Ops, s.Inputs, s.Outputs = nil, nil, nil
	known := map[device.Value]bool{device.NoValue: true}
	for _, op := range l.Ops {
		if !keep(op) {
			continue
		}
		s.Ops = append(s.Ops, op)
		for _, v := range op.Reads() {
			if !known[v] {
				s.Inputs = append(s.Inputs, device.NamedValue{Name: fmt.Sprint(v), Value: v})
				known[v] = true
			}
		}
		for _, v := range op.Writes() {
			known[v] = true
		}
	}
	return &s
}

// listWork compiles a list and returns a maker of streams that run it, each
// with inputs of its own. With bytes, the count of one run, the work cycles
// through as many streams as exceed the caches.
func listWork(l *device.OpList, bytes int) (func() (func(), error), work, error) {
	if len(l.Ops) == 0 {
		return nil, work{}, fmt.Errorf("the op list is empty")
	}
	dev := cpu.New()
	exe, err := dev.Compile(l)
	if err != nil {
		return nil, work{}, err
	}
	for i, p := range l.Params() {
		if err := exe.SetParam(p.Name, pattern(p.Len(), i)); err != nil {
			return nil, work{}, err
		}
	}
	count := listCount(exe, l, dev.Lanes())
	streams := 1
	if bytes > 0 {
		count = work{bytes: float64(bytes)}
		streams = min(maxStreams, 1+memoryFootprint/bytes)
	}
	newWork := func() (func(), error) {
		var all []device.Stream
		for range streams {
			s, err := exe.NewStream()
			if err != nil {
				return nil, err
			}
			if err := fillInputs(s, l, dev.Lanes()); err != nil {
				return nil, err
			}
			if err := s.Run(); err != nil { // touches all memory
				return nil, err
			}
			all = append(all, s)
		}
		next := 0
		return func() {
			if err := all[next].Run(); err != nil {
				panic(err) // all parameters are set
			}
			if next++; next == len(all) {
				next = 0
			}
		}, nil
	}
	return newWork, count, nil
}

// maxStreams bounds the streams of an op with little data, which is far from
// the speed of memory in any cache.
const maxStreams = 256

// listCount is what one run of a list multiplies, on all lanes.
func listCount(exe device.Executable, l *device.OpList, lanes int) work {
	w := work{algorithm: device.Direct, direct: float64(l.FLOPs()) * float64(lanes)}
	w.executed = w.direct
	a, ok := exe.(device.Arithmetic)
	if !ok {
		return w
	}
	w.executed = 0
	for i := range l.Ops {
		name, flops := a.Algorithm(i)
		w.executed += float64(flops) * float64(lanes)
		if flops > 0 {
			w.algorithm = name
		}
	}
	return w
}

// fillInputs sets every lane of every input.
func fillInputs(s device.Stream, l *device.OpList, lanes int) error {
	for _, in := range l.Inputs {
		for lane := range lanes {
			if err := s.SetInput(in.Name, lane, pattern(l.Shapes[in.Value].Len(), lane)); err != nil {
				return err
			}
		}
	}
	for _, in := range l.Indexes {
		for lane := range lanes {
			if err := s.SetIndex(in.Name, lane, lane*7%in.N); err != nil {
				return err
			}
		}
	}
	return nil
}

// pattern returns n small numbers of both signs. With them all sums stay small,
// however often a gradient is added to.
func pattern(n, seed int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32((seed+7*i)%13-6) / 64
	}
	return v
}

// lanesOf allocates lane buffers for kernels that are called without a list,
// aligned like a device's.
func lanesOf(floats, seed int) []float32 {
	const line = 16 // floats of a cache line
	v := pattern(floats+line, seed)
	skip := 0
	for ; !aligned(v[skip:]); skip++ {
	}
	return v[skip : skip+floats : skip+floats]
}

// A listCase is a row of one op of a compiled list.
type listCase struct {
	op, dir, shape string
	bar            float64
	mode           device.GradMode // NoGradient: a forward list of what build returns
	// build records the op; its result is the output, or what a loss reads.
	build func(b *device.Builder) device.Value
	keep  func(device.Op) bool
	bytes int // of one run, least traffic of all lanes; 0: the op multiplies
}

func (c listCase) kernelCase() kernelCase {
	return kernelCase{op: c.op, dir: c.dir, shape: c.shape, bar: c.bar, prepare: func() (func() (func(), error), work, error) {
		l, err := c.list()
		if err != nil {
			return nil, work{}, err
		}
		return listWork(single(l, c.keep), c.bytes)
	}}
}

func (c listCase) list() (*device.OpList, error) {
	b := device.NewBuilder()
	y := c.build(b)
	if c.mode == device.NoGradient {
		b.Output("y", y)
		return b.Forward()
	}
	target := b.Input("target", b.Shape(y))
	return b.Gradient(b.MSE(y, target, b.Input("weight", device.Shape{C: 1, H: 1, W: 1})), c.mode)
}

// only keeps the ops of one type, of which ok is true.
func only[T device.Op](ok func(T) bool) func(device.Op) bool {
	return func(op device.Op) bool {
		o, is := op.(T)
		return is && (ok == nil || ok(o))
	}
}

// laneBytes is the size of values of the given shapes over all lanes.
func laneBytes(shapes ...device.Shape) int {
	n := 0
	for _, s := range shapes {
		n += 4 * kernel.Lanes * s.Len()
	}
	return n
}

// trained returns x in a form that a trainable parameter is upstream of, so
// that ops behind it have a gradient by data.
func trained(b *device.Builder, x device.Value) device.Value {
	c := b.Shape(x).C
	return b.AddChannels(x, b.Embedding(b.Param("upstream", true, 1, c), b.Index("row", 1)))
}

// concat joins lists of cases.
func concat(lists ...[]kernelCase) []kernelCase { return slices.Concat(lists...) }
