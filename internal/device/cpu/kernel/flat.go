package kernel

import "fmt"

// Flat vectors have no lanes: parameters, moments, the pixels of one image.

// Combine sets dst[i] = a·x[i] + b·y[i], both products rounded; dst may be x or
// y.
func Combine(dst []float32, a float32, x []float32, b float32, y []float32) {
	(&flat{op: opCombine, dst: dst, x: x, y: y, s: flatScalars{a, b}}).run()
}

// AddScaled adds a·x[i], rounded, to dst[i].
func AddScaled(dst []float32, a float32, x []float32) {
	(&flat{op: opAddScaled, dst: dst, x: x, s: flatScalars{a}}).run()
}

// DivideDifference sets dst[i] = (x[i] - b·y[i])/a, every operation rounded; dst
// may be x or y.
func DivideDifference(dst, x []float32, b float32, y []float32, a float32) {
	(&flat{op: opDivideDifference, dst: dst, x: x, y: y, s: flatScalars{b, a}}).run()
}

// Clamp limits x to [-limit, limit], limit > 0, and reports whether every value
// was a number; NaN stays.
func Clamp(x []float32, limit float32) bool {
	return !(&flat{op: opClamp, dst: x, s: flatScalars{-limit, limit}}).run()
}

// AdamStep holds the constants of one step of Adam.
type AdamStep struct {
	Beta1, Rest1, Beta2, Rest2 float32 // decay of the moments, and 1 - decay
	Rate                       float32 // divided by the first moment's bias correction
	Correction                 float32 // of the second moment
	Keep                       float32 // factor of the parameters: the weight decay
	Eps                        float32
	// With a NoiseVariance the divisor is √max(v/Correction - NoiseVariance,
	// NoiseFloor) and Eps is not used.
	NoiseVariance, NoiseFloor float32
}

// Adam updates the moments m and v by the gradient g and then the parameters:
//
//	m = Beta1·m + Rest1·g,  v = Beta2·v + Rest2·g²
//	p = Keep·p - Rate·m/(√(v/Correction) + Eps)
//
// Every operation is rounded to float32.
func Adam(p, m, v, g []float32, c AdamStep) {
	f := flat{op: opAdam, dst: p, x: m, y: v, z: g, s: flatScalars{
		c.Beta1, c.Rest1, c.Beta2, c.Rest2, c.Rate, c.Correction, c.Keep, c.Eps, c.NoiseVariance, c.NoiseFloor,
	}}
	if c.NoiseVariance > 0 {
		f.op = opAdamNoise
	}
	f.run()
}

// flatOp names a kernel on flat vectors. The comments use d, x, y, z for the
// elements and s0, s1… for the scalars.
type flatOp int

const (
	opCombine          flatOp = iota // d = s0·x + s1·y
	opAddScaled                      // d = d + s0·x
	opDivideDifference               // d = (x - s0·y)/s1
	opClamp                          // d = min(max(d, s0), s1)
	opAdam                           // d, x, y = p, m, v of Adam
	opAdamNoise                      // the same with a noise variance
)

type flatScalars [10]float32

// flat is one call on flat vectors; x, y and z may be nil.
type flat struct {
	op           flatOp
	dst, x, y, z []float32
	s            flatScalars
}

// flatArgs are the arguments of an assembly kernel on n times 16 floats. It
// sets found to whether a NaN was clamped.
type flatArgs struct {
	dst, x, y, z *float32
	n, found     int
	s            flatScalars
}

// maxFlat bounds the floats of one kernel call.
const maxFlat = 1 << 16

// run reports whether a NaN was clamped.
func (f *flat) run() bool {
	for _, v := range [][]float32{f.x, f.y, f.z} {
		if v != nil && len(v) != len(f.dst) {
			panic(fmt.Sprintf("kernel: flat vectors of %d and %d elements", len(f.dst), len(v)))
		}
	}
	if active == portable {
		return f.portable()
	}
	found := false
	whole := len(f.dst) / Lanes * Lanes
	for i := 0; i < whole; i += maxFlat {
		a := flatArgs{dst: &f.dst[i], n: (min(i+maxFlat, whole) - i) / Lanes, s: f.s}
		a.x, a.y, a.z = floatAt(f.x, i), floatAt(f.y, i), floatAt(f.z, i)
		runFlat(f.op, &a)
		found = found || a.found != 0
	}
	return f.tail(whole) || found
}

// tail runs the kernel on copies of the elements from whole on, padded to 16.
func (f *flat) tail(whole int) bool {
	if whole == len(f.dst) {
		return false
	}
	var dst, x, y, z [Lanes]float32
	copy(dst[:], f.dst[whole:])
	a := flatArgs{dst: &dst[0], x: &x[0], y: &y[0], z: &z[0], n: 1, s: f.s}
	if f.x != nil {
		copy(x[:], f.x[whole:])
	}
	if f.y != nil {
		copy(y[:], f.y[whole:])
	}
	if f.z != nil {
		copy(z[:], f.z[whole:])
	}
	runFlat(f.op, &a)
	copy(f.dst[whole:], dst[:])
	if f.op == opAdam || f.op == opAdamNoise {
		copy(f.x[whole:], x[:])
		copy(f.y[whole:], y[:])
	}
	return a.found != 0
}

func floatAt(v []float32, i int) *float32 {
	if v == nil {
		return nil
	}
	return &v[i]
}
