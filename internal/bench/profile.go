package bench

import (
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dploda/dploda/internal/device"
)

// A recorder is a device that keeps what is compiled and run on it: the work's
// own code runs unchanged on top.
type recorder struct {
	device.Device
	profile bool // also time everything that streams do

	mu          sync.Mutex
	executables []*recordedExecutable
	update      time.Duration // of the optimizer, which the device does not see
	packs       time.Duration // of taking trained weights
}

type recordedExecutable struct {
	device.Executable
	list    *device.OpList
	owner   *recorder
	runs    atomic.Int64      // of all streams
	streams []*recordedStream // if they are profiled: a work may make new ones in each step
}

// recordedStream times the calls of a stream by the thread's processor time.
type recordedStream struct {
	device.Stream
	executable *recordedExecutable
	ops        device.Profiler          // nil if the device has none
	others     map[string]time.Duration // by what they are; nil if nobody asked
}

func (r *recorder) Compile(l *device.OpList) (device.Executable, error) {
	e, err := r.Device.Compile(l)
	if err != nil {
		return nil, err
	}
	recorded := &recordedExecutable{Executable: e, list: l, owner: r}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.executables = append(r.executables, recorded)
	return recorded, nil
}

func (e *recordedExecutable) NewStream() (device.Stream, error) {
	inner, err := e.Executable.NewStream()
	if err != nil {
		return nil, err
	}
	s := &recordedStream{Stream: inner, executable: e}
	if !e.owner.profile {
		return s, nil
	}
	s.ops, _ = inner.(device.Profiler)
	s.reset()
	e.owner.mu.Lock()
	defer e.owner.mu.Unlock()
	e.streams = append(e.streams, s)
	return s, nil
}

// SetTrainable is called by one goroutine at a time, between Runs.
func (e *recordedExecutable) SetTrainable(flat []float32) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime()
	err := e.Executable.SetTrainable(flat)
	e.owner.packs += threadTime() - start
	return err
}

// reset forgets what was recorded; what is compiled stays.
func (r *recorder) reset() {
	r.packs = 0
	for _, e := range r.executables {
		e.runs.Store(0)
		for _, s := range e.streams {
			s.reset()
		}
	}
}

func (s *recordedStream) reset() {
	s.others = map[string]time.Duration{}
	if s.ops != nil {
		s.ops.Profile(threadTime)
	}
}

// What a stream does besides the ops of its list.
const (
	loading    = "load and store lanes"
	packing    = "pack weights"
	norms      = "squared norms"
	summing    = "clip and accumulate"
	zeroing    = "zero gradients"
	collecting = "collect gradients"
	optimizing = "optimizer and average"
)

// outside are those of them that are not arithmetic.
var outside = []string{loading, packing}

// time runs f and adds its time to what.
func (s *recordedStream) time(what string, f func() error) error {
	if s.others == nil {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime()
	err := f()
	s.others[what] += threadTime() - start
	return err
}

func (s *recordedStream) Run() error {
	s.executable.runs.Add(1)
	runtime.LockOSThread() // the ops are timed by the thread's clock
	defer runtime.UnlockOSThread()
	return s.Stream.Run()
}

func (s *recordedStream) SetInput(name string, lane int, data []float32) error {
	return s.time(loading, func() error { return s.Stream.SetInput(name, lane, data) })
}

func (s *recordedStream) Output(name string, lane int, dst []float32) error {
	return s.time(loading, func() error { return s.Stream.Output(name, lane, dst) })
}

func (s *recordedStream) ZeroGradient() {
	_ = s.time(zeroing, func() error {
		s.Stream.ZeroGradient()
		return nil
	})
}

func (s *recordedStream) AddGradient(dst []float32) error {
	return s.time(collecting, func() error { return s.Stream.AddGradient(dst) })
}

func (s *recordedStream) SquaredNorms(dst []float64) error {
	return s.time(norms, func() error { return s.Stream.SquaredNorms(dst) })
}

func (s *recordedStream) Accumulate(n int, scale []float64, limitSq uint64, sum []int32, kept []bool) error {
	return s.time(summing, func() error { return s.Stream.Accumulate(n, scale, limitSq, sum, kept) })
}

// flops sums over all Runs so far what every lane computed: by the direct
// count, and what was executed.
func (r *recorder) flops() (direct, executed float64) {
	for _, e := range r.executables {
		d, x := e.list.FLOPs(), int64(0)
		for i, op := range e.list.Ops {
			n := e.list.OpFLOPs(op)
			if a, ok := e.Executable.(device.Arithmetic); ok {
				_, n = a.Algorithm(i)
			}
			x += n
		}
		examples := float64(e.runs.Load()) * float64(r.Lanes())
		direct += examples * float64(d)
		executed += examples * float64(x)
	}
	return direct, executed
}

// memory is the plan's own estimate of everything compiled, with a stream for
// each thread.
func (r *recorder) memory(threads int) int64 {
	var n int64
	for _, e := range r.executables {
		m := e.Memory()
		n += m.Weights + int64(threads)*(m.ArenaPerStream+m.GradientPerStream)
	}
	return n
}

// OpTime is what one kind of op took of a step.
type OpTime struct {
	Op        string  `json:"op"`
	Dir       string  `json:"dir,omitempty"`       // forward, backward, data, weights
	Algorithm string  `json:"algorithm,omitempty"` // of ops that multiply
	Share     float64 `json:"share"`               // of the step's processor time
	GFLOPS    float64 `json:"gflops,omitempty"`    // executed operations over their own time
}

// breakdown lists what the recorded streams did, the longest first, in shares
// of the total.
func (r *recorder) breakdown(total time.Duration) []OpTime {
	type sums struct {
		time  time.Duration
		flops float64
	}
	by := map[OpTime]sums{}
	add := func(k OpTime, t time.Duration, flops float64) {
		s := by[k]
		by[k] = sums{s.time + t, s.flops + flops}
	}
	for _, e := range r.executables {
		for _, s := range e.streams {
			if s.ops != nil {
				for i, t := range s.ops.OpTimes() {
					k, flops := e.kind(i)
					add(k, t, flops*float64(e.runs.Load())*float64(r.Lanes())/float64(len(e.streams)))
				}
			}
			for what, t := range s.others {
				add(OpTime{Op: what}, t, 0)
			}
		}
	}
	for what, t := range map[string]time.Duration{optimizing: r.update, packing: r.packs} {
		if t > 0 {
			add(OpTime{Op: what}, t, 0)
		}
	}
	var list []OpTime
	for k, s := range by {
		k.Share = s.time.Seconds() / total.Seconds()
		if s.flops > 0 {
			k.GFLOPS = s.flops / s.time.Seconds() / 1e9
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b OpTime) int {
		switch {
		case a.Share != b.Share:
			if a.Share > b.Share {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Op+a.Dir+a.Algorithm, b.Op+b.Dir+b.Algorithm)
	})
	return list
}

// kind names an op of the list and returns the operations it executes.
func (e *recordedExecutable) kind(position int) (OpTime, float64) {
	op := e.list.Ops[position]
	k := OpTime{Op: reflect.TypeOf(op).Elem().Name(), Dir: "forward"}
	for _, suffix := range []struct{ suffix, dir string }{
		{"Data", "data"}, {"Weights", "weights"}, {"Backward", "backward"},
	} {
		if name, ok := strings.CutSuffix(k.Op, suffix.suffix); ok {
			k.Op, k.Dir = name, suffix.dir
		}
	}
	if c, ok := op.(*device.Convolution); ok {
		k.Op = convolutionName(c.Kernel)
	} else if c, ok := op.(*device.ConvolutionData); ok {
		k.Op = convolutionName(c.Kernel)
	} else if c, ok := op.(*device.ConvolutionWeights); ok {
		k.Op = convolutionName(c.Kernel)
	}
	name, flops := device.Direct, e.list.OpFLOPs(op)
	if a, ok := e.Executable.(device.Arithmetic); ok {
		name, flops = a.Algorithm(position)
	}
	if flops > 0 {
		k.Algorithm = name
	}
	return k, float64(flops)
}

func convolutionName(kernel [2]int) string {
	if kernel == [2]int{1, 1} {
		return "Convolution 1x1"
	}
	return "Convolution"
}
