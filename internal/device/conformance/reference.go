package conformance

import (
	"math"

	"github.com/dploda/dploda/internal/device"
)

// Net is what a test network is made of. [device.Builder] records it, reference
// computes it.
type Net interface {
	Param(name string, trainable bool, dims ...int) device.ParamID
	Input(name string, s device.Shape) device.Value
	Index(name string, n int) device.Index
	Conv2D(x device.Value, w, bias device.ParamID, c device.Conv) device.Value
	Linear(x device.Value, w, bias device.ParamID) device.Value
	GroupNorm(x device.Value, gamma, beta device.ParamID, groups int, eps float32, silu bool) device.Value
	SiLU(x device.Value) device.Value
	ReLU(x device.Value) device.Value
	Add(x, y device.Value) device.Value
	Scale(x device.Value, s float32) device.Value
	AddChannels(x, v device.Value) device.Value
	SumPixels(x device.Value) device.Value
	Concat(x, y device.Value) device.Value
	Attention(q, k, v device.Value, heads int) device.Value
	Upsample2x(x device.Value) device.Value
	MaxPool2(x device.Value) device.Value
	Embedding(table device.ParamID, row device.Index) device.Value
	MSE(pred, target, weight device.Value) device.Value
	CrossEntropy(logits device.Value, label device.Index, weight device.Value) device.Value
	Output(name string, v device.Value)
	Shape(v device.Value) device.Shape
}

// reference evaluates a Net for one example in float64, as each call is made,
// by the definitions and in the plainest way.
type reference struct {
	params  map[string][]float64
	inputs  map[string][]float64
	rows    map[string]int
	outputs map[string][]float64

	values  []tensor
	weights []weight
	indexes []int
}

type tensor struct {
	device.Shape
	data []float64
}

type weight struct {
	dims []int
	data []float64
}

func newTensor(c, h, w int) tensor {
	return tensor{device.Shape{C: c, H: h, W: w}, make([]float64, c*h*w)}
}

// at returns an element, zero outside the plane.
func (t tensor) at(c, y, x int) float64 {
	if y < 0 || x < 0 || y >= t.H || x >= t.W {
		return 0
	}
	return t.data[(c*t.H+y)*t.W+x]
}

func (t tensor) set(c, y, x int, v float64) { t.data[(c*t.H+y)*t.W+x] = v }

// fill computes every element.
func (t tensor) fill(f func(c, y, x int) float64) tensor {
	for c := range t.C {
		for y := range t.H {
			for x := range t.W {
				t.set(c, y, x, f(c, y, x))
			}
		}
	}
	return t
}

func (r *reference) push(t tensor) device.Value {
	r.values = append(r.values, t)
	return device.Value(len(r.values) - 1)
}

func (r *reference) Param(name string, _ bool, dims ...int) device.ParamID {
	r.weights = append(r.weights, weight{dims, r.params[name]})
	return device.ParamID(len(r.weights) - 1)
}

func (r *reference) Input(name string, s device.Shape) device.Value {
	return r.push(tensor{s, r.inputs[name]})
}

func (r *reference) Index(name string, _ int) device.Index {
	r.indexes = append(r.indexes, r.rows[name])
	return device.Index(len(r.indexes) - 1)
}

func (r *reference) Output(name string, v device.Value) { r.outputs[name] = r.values[v].data }

func (r *reference) Shape(v device.Value) device.Shape { return r.values[v].Shape }

func (r *reference) Conv2D(xv device.Value, wp, bias device.ParamID, c device.Conv) device.Value {
	x, w := r.values[xv], r.weights[wp]
	out, in, kh, kw := w.dims[0], w.dims[1], w.dims[2], w.dims[3]
	y := newTensor(out, (x.H+c.Top+c.Bottom-kh)/c.Stride+1, (x.W+c.Left+c.Right-kw)/c.Stride+1)
	return r.push(y.fill(func(o, row, col int) float64 {
		sum := r.bias(bias, o)
		for i := range in {
			for a := range kh {
				for b := range kw {
					sum += w.data[((o*in+i)*kh+a)*kw+b] * x.at(i, row*c.Stride+a-c.Top, col*c.Stride+b-c.Left)
				}
			}
		}
		return sum
	}))
}

func (r *reference) bias(p device.ParamID, o int) float64 {
	if p == device.NoParam {
		return 0
	}
	return r.weights[p].data[o]
}

func (r *reference) Linear(xv device.Value, wp, bias device.ParamID) device.Value {
	x, w := r.values[xv], r.weights[wp]
	return r.push(newTensor(w.dims[0], x.H, x.W).fill(func(o, row, col int) float64 {
		sum := r.bias(bias, o)
		for i := range x.C {
			sum += w.data[o*x.C+i] * x.at(i, row, col)
		}
		return sum
	}))
}

func (r *reference) GroupNorm(xv device.Value, gamma, beta device.ParamID, groups int, eps float32, silu bool) device.Value {
	x := r.values[xv]
	per := x.C / groups * x.H * x.W
	return r.push(newTensor(x.C, x.H, x.W).fill(func(c, row, col int) float64 {
		group := x.data[c/(x.C/groups)*per:][:per]
		var mean, variance float64
		for _, v := range group {
			mean += v / float64(per)
		}
		for _, v := range group {
			variance += (v - mean) * (v - mean) / float64(per)
		}
		z := r.weights[gamma].data[c]*(x.at(c, row, col)-mean)/math.Sqrt(variance+float64(eps)) + r.weights[beta].data[c]
		if silu {
			return swish(z)
		}
		return z
	}))
}

func swish(x float64) float64 { return x / (1 + math.Exp(-x)) }

// each applies f to every element.
func (r *reference) each(xv device.Value, f func(float64) float64) device.Value {
	x := r.values[xv]
	y := newTensor(x.C, x.H, x.W)
	for i, v := range x.data {
		y.data[i] = f(v)
	}
	return r.push(y)
}

func (r *reference) SiLU(x device.Value) device.Value { return r.each(x, swish) }

func (r *reference) ReLU(x device.Value) device.Value {
	return r.each(x, func(v float64) float64 { return math.Max(v, 0) })
}

func (r *reference) Scale(x device.Value, s float32) device.Value {
	return r.each(x, func(v float64) float64 { return float64(s) * v })
}

func (r *reference) Add(xv, yv device.Value) device.Value {
	x, y := r.values[xv], r.values[yv]
	return r.push(newTensor(x.C, x.H, x.W).fill(func(c, row, col int) float64 { return x.at(c, row, col) + y.at(c, row, col) }))
}

func (r *reference) SumPixels(xv device.Value) device.Value {
	x := r.values[xv]
	return r.push(newTensor(x.C, 1, 1).fill(func(c, _, _ int) float64 {
		sum := 0.0
		for y := range x.H {
			for col := range x.W {
				sum += x.at(c, y, col)
			}
		}
		return sum
	}))
}

func (r *reference) AddChannels(xv, vv device.Value) device.Value {
	x, v := r.values[xv], r.values[vv]
	return r.push(newTensor(x.C, x.H, x.W).fill(func(c, row, col int) float64 { return x.at(c, row, col) + v.data[c] }))
}

func (r *reference) Concat(xv, yv device.Value) device.Value {
	x, y := r.values[xv], r.values[yv]
	return r.push(newTensor(x.C+y.C, x.H, x.W).fill(func(c, row, col int) float64 {
		if c < x.C {
			return x.at(c, row, col)
		}
		return y.at(c-x.C, row, col)
	}))
}

func (r *reference) Attention(qv, kv, vv device.Value, heads int) device.Value {
	q, k, v := r.values[qv], r.values[kv], r.values[vv]
	d, t := q.C/heads, q.H*q.W
	y := newTensor(q.C, q.H, q.W)
	for h := range heads {
		for i := range t {
			p, total := make([]float64, t), 0.0
			for j := range t {
				for c := h * d; c < (h+1)*d; c++ {
					p[j] += q.data[c*t+i] * k.data[c*t+j]
				}
				p[j] = math.Exp(p[j] / math.Sqrt(float64(d)))
				total += p[j]
			}
			for c := h * d; c < (h+1)*d; c++ {
				for j := range t {
					y.data[c*t+i] += p[j] / total * v.data[c*t+j]
				}
			}
		}
	}
	return r.push(y)
}

func (r *reference) Upsample2x(xv device.Value) device.Value {
	x := r.values[xv]
	return r.push(newTensor(x.C, 2*x.H, 2*x.W).fill(func(c, row, col int) float64 { return x.at(c, row/2, col/2) }))
}

func (r *reference) MaxPool2(xv device.Value) device.Value {
	x := r.values[xv]
	return r.push(newTensor(x.C, x.H/2, x.W/2).fill(func(c, row, col int) float64 {
		return max(x.at(c, 2*row, 2*col), x.at(c, 2*row, 2*col+1), x.at(c, 2*row+1, 2*col), x.at(c, 2*row+1, 2*col+1))
	}))
}

func (r *reference) Embedding(table device.ParamID, row device.Index) device.Value {
	w := r.weights[table]
	d := w.dims[1]
	return r.push(tensor{device.Shape{C: d, H: 1, W: 1}, w.data[r.indexes[row]*d:][:d]})
}

func (r *reference) MSE(pred, target, weight device.Value) device.Value {
	p, t, sum := r.values[pred], r.values[target], 0.0
	for i, v := range p.data {
		sum += (v - t.data[i]) * (v - t.data[i])
	}
	return r.number(r.values[weight].data[0] * sum / float64(len(p.data)))
}

func (r *reference) CrossEntropy(logits device.Value, label device.Index, weight device.Value) device.Value {
	x, sum := r.values[logits].data, 0.0
	for _, v := range x {
		sum += math.Exp(v)
	}
	return r.number(r.values[weight].data[0] * (math.Log(sum) - x[r.indexes[label]]))
}

func (r *reference) number(v float64) device.Value {
	t := newTensor(1, 1, 1)
	t.data[0] = v
	return r.push(t)
}
