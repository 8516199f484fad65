// Package device turns models into static op lists and defines what a device
// must do to run them.
//
// A [Builder] records the computation of one example. [Builder.Forward] gives
// the list of its ops, [Builder.Gradient] the same list followed by the reverse
// list that is derived from it: every op has one rule that emits its backward
// ops, branches without trainable parameters upstream are pruned, and frozen
// weights get no gradient. A [Device] compiles a list into an [Executable],
// whose [Stream]s each run it on one group of [Device.Lanes] examples at a time.
//
// Shapes are logical (channels, height, width); how a device lays out buffers
// and weights is its own affair.
package device

import "time"

// Shape is the size of one example's value: channels, height, width. A vector
// is {C, 1, 1}, a number {1, 1, 1}.
type Shape struct{ C, H, W int }

// Len is the number of elements.
func (s Shape) Len() int { return s.C * s.H * s.W }

// A Value is a tensor of each example: an input, the result of an op, or, in an
// [OpList], a gradient or scratch.
type Value int

// NoValue stands for an absent value.
const NoValue Value = -1

// A ParamID names a parameter, shared by all examples.
type ParamID int

// NoParam stands for an absent parameter, such as the bias of a convolution.
const NoParam ParamID = -1

// An Index is an integer of each example, such as its class.
type Index int

// Conv is the geometry of a convolution: its stride and the zero padding of
// each side, in pixels. The zero Stride means 1.
type Conv struct {
	Stride                   int
	Top, Left, Bottom, Right int
}

// Pad is a convolution of stride 1 with p pixels of padding on each side.
func Pad(p int) Conv { return Conv{Stride: 1, Top: p, Left: p, Bottom: p, Right: p} }

// GradMode says which gradient an op list computes.
type GradMode int

const (
	NoGradient GradMode = iota // forward only
	PerExample                 // the gradient of each example on its own
	Summed                     // the sum over all examples
)

// Param describes a parameter. Dims are as in PyTorch: convolution [out, in,
// kh, kw], linear [out, in], norm and bias [c], embedding [rows, d].
type Param struct {
	Name      string
	Dims      []int
	Trainable bool
	Offset    int // first coordinate in the flat trainable vector; -1 if frozen
}

// Len is the number of elements.
func (p Param) Len() int {
	n := 1
	for _, d := range p.Dims {
		n *= d
	}
	return n
}

// A Device compiles op lists.
type Device interface {
	// Kind names the device and its arithmetic. Devices of equal kind give
	// the same bits.
	Kind() string
	// Lanes is the number of examples in a group.
	Lanes() int
	Compile(*OpList) (Executable, error)
}

// An Executable is a compiled op list with its weights. Its streams may run on
// different goroutines; parameters may be set only while none runs.
type Executable interface {
	// SetParam sets one parameter from its values in PyTorch's order.
	SetParam(name string, values []float32) error
	// SetTrainable sets all trainable parameters from the flat vector.
	SetTrainable(flat []float32) error
	// NewStream allocates the memory for one group of examples.
	NewStream() (Stream, error)
	Memory() Memory
}

// Memory is what an executable uses, in bytes.
type Memory struct {
	Weights           int64 // parameters in the layout of the device, once
	ArenaPerStream    int64 // inputs, activations, gradients of activations, scratch
	GradientPerStream int64 // gradients of parameters
}

// A Stream runs an executable on one group of examples, one per lane. One
// goroutine at a time may use it. Lanes that were not set hold zeros and row 0;
// no lane influences another.
type Stream interface {
	// SetInput sets a lane's input in the order [C][H][W]. It stays for all
	// following Runs.
	SetInput(name string, lane int, data []float32) error
	// SetIndex sets a lane's integer input.
	SetIndex(name string, lane int, row int) error
	// Run executes the list. A list with a gradient adds it to the gradients
	// of this stream.
	Run() error
	// Output copies a lane's output of the last Run in the order [C][H][W].
	Output(name string, lane int, dst []float32) error

	// ZeroGradient forgets the gradients of the Runs so far.
	ZeroGradient()
	// Gradient copies one lane's gradient (PerExample lists).
	Gradient(lane int, dst []float32) error
	// AddGradient adds to dst the gradient summed over lanes and Runs (Summed
	// lists). Lanes without an example must have been given weight 0.
	AddGradient(dst []float32) error
	// SquaredNorms sets dst[lane] to Σg² of each lane's gradient, in float64
	// and in a fixed order (PerExample lists).
	SquaredNorms(dst []float64) error
	// Accumulate adds the gradients of the lanes below n to sum as integers
	// modulo 2³² (PerExample lists):
	//
	//	v_i = RoundToEven(float64(g_i)·scale[lane])
	//
	// A lane with Σv² > limitSq, with a NaN or an Inf, or with scale 0
	// contributes nothing at all. kept[lane] is set to whether the lane
	// contributed, which is as private as the gradient; lanes from n on are not.
	Accumulate(n int, scale []float64, limitSq uint64, sum []int32, kept []bool) error
}

// A Profiler is a Stream that can time its ops.
type Profiler interface {
	// Profile makes Run add up the time of each op by a clock, from zero.
	Profile(clock func() time.Duration)
	// OpTimes returns what each op of the list has taken, by its position.
	OpTimes() []time.Duration
}

// An Arithmetic is an Executable that says how it computes its ops.
type Arithmetic interface {
	// Algorithm names how the op at a position of the list is computed, and
	// returns the floating-point operations of its products, for one example:
	// for the direct algorithm those of [OpList.OpFLOPs].
	Algorithm(position int) (name string, flops int64)
}

// Direct names the algorithm that is an op's definition.
const Direct = "direct"
