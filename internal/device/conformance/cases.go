package conformance

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/dploda/dploda/internal/device"
)

// generator makes reproducible test data.
type generator struct{ *rand.Rand }

func newGenerator(name string) generator {
	h := fnv.New64a()
	h.Write([]byte(name))
	return generator{rand.New(rand.NewPCG(h.Sum64(), 1))}
}

func (g generator) normal(n int, scale float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(scale * g.NormFloat64())
	}
	return v
}

// parameter draws values that keep activations near 1.
func (g generator) parameter(p device.Param) []float32 {
	fan := 1
	for _, d := range p.Dims[1:] {
		fan *= d
	}
	v := g.normal(p.Len(), 1/sqrt(fan))
	if len(p.Dims) == 1 {
		for i := range v {
			v[i] = 0.5*v[i] + 1
		}
	}
	return v
}

func sqrt(n int) float64 {
	x := 1.0
	for range 30 {
		x = (x + float64(n)/x) / 2
	}
	return x
}

func (g generator) example(b *device.Builder, l *device.OpList) example {
	e := example{map[string][]float32{}, map[string]int{}}
	for _, in := range l.Inputs {
		e.inputs[in.Name] = g.normal(b.Shape(in.Value).Len(), 1)
	}
	for _, n := range l.Indexes {
		e.rows[n.Name] = g.IntN(n.N)
	}
	return e
}

// Cases returns the networks of the suite: each op at odd shapes, then whole
// networks.
func Cases() []Case {
	var cases []Case
	cases = append(cases, convolutions()...)
	cases = append(cases, elementwise()...)
	cases = append(cases, attentions()...)
	cases = append(cases, losses()...)
	return append(cases, networks()...)
}

// source is a value of shape s whose gradient shows: a trainable mixture of
// the channels of an input.
func source(n Net, name string, s device.Shape) device.Value {
	x := n.Input(name, device.Shape{C: 2, H: s.H, W: s.W})
	return n.Linear(x, n.Param(name+".mix", true, s.C, 2), device.NoParam)
}

// compareWithInput ends a network with a squared error.
func compareWithInput(n Net, y device.Value) device.Value {
	n.Output("y", y)
	return n.MSE(y, n.Input("target", n.Shape(y)), n.Input("weight", device.Shape{C: 1, H: 1, W: 1}))
}

// single is the case of one op on one source.
func single(name string, s device.Shape, f func(n Net, x device.Value) device.Value) Case {
	return Case{fmt.Sprintf("%s %dx%dx%d", name, s.C, s.H, s.W), func(n Net) device.Value {
		return compareWithInput(n, f(n, source(n, "x", s)))
	}}
}

func convolutions() (cases []Case) {
	add := func(in device.Shape, out, kh, kw int, c device.Conv, trainable bool) {
		name := fmt.Sprintf("conv %d %dx%d stride %d pad %d%d%d%d trainable %t", out, kh, kw, c.Stride, c.Top, c.Left, c.Bottom, c.Right, trainable)
		cases = append(cases, single(name, in, func(n Net, x device.Value) device.Value {
			return n.Conv2D(x, n.Param("w", trainable, out, in.C, kh, kw), n.Param("b", trainable, out), c)
		}))
	}
	asymmetric := device.Conv{Stride: 2, Bottom: 1, Right: 1} // diffusers' downsampling
	for _, ch := range []struct{ in, out int }{{1, 1}, {3, 5}, {8, 8}, {5, 17}, {17, 3}} {
		add(device.Shape{C: ch.in, H: 5, W: 4}, ch.out, 3, 3, device.Pad(1), true)
		add(device.Shape{C: ch.in, H: 3, W: 7}, ch.out, 1, 1, device.Pad(0), true)
		add(device.Shape{C: ch.in, H: 6, W: 8}, ch.out, 3, 3, asymmetric, true)
		add(device.Shape{C: ch.in, H: 4, W: 3}, ch.out, 4, 3, device.Pad(0), true) // flatten
	}
	for _, s := range []device.Shape{{C: 3, H: 1, W: 1}, {C: 2, H: 1, W: 9}, {C: 2, H: 9, W: 2}, {C: 1, H: 7, W: 5}} {
		add(s, 4, 3, 3, device.Pad(1), true)
		add(s, 4, 3, 3, device.Conv{Stride: 2, Top: 1, Left: 1, Bottom: 1, Right: 1}, true)
		add(s, 3, 5, 5, device.Pad(2), false)
		add(s, 3, 1, 1, device.Conv{Stride: 2}, true) // some pixels have no tap
	}
	add(device.Shape{C: 3, H: 6, W: 5}, 4, 3, 3, device.Pad(0), true)
	add(device.Shape{C: 3, H: 6, W: 5}, 4, 2, 2, device.Conv{Stride: 2}, true)
	add(device.Shape{C: 3, H: 6, W: 5}, 4, 2, 3, device.Conv{Stride: 1, Top: 1, Left: 2, Bottom: 0, Right: 1}, true)
	add(device.Shape{C: 3, H: 7, W: 6}, 4, 4, 4, device.Conv{Stride: 3, Top: 2, Left: 1, Bottom: 1, Right: 2}, true)
	add(device.Shape{C: 3, H: 6, W: 6}, 4, 5, 5, device.Conv{Stride: 2, Top: 2, Left: 2, Bottom: 2, Right: 2}, false)
	// wide enough for algorithms that transform tiles of several pixels
	add(device.Shape{C: 18, H: 7, W: 6}, 17, 3, 3, device.Pad(1), false)
	add(device.Shape{C: 16, H: 4, W: 5}, 18, 3, 3, device.Pad(1), true)
	add(device.Shape{C: 20, H: 3, W: 3}, 16, 3, 3, device.Pad(0), false) // one pixel is left
	add(device.Shape{C: 20, H: 4, W: 3}, 16, 3, 3, device.Pad(0), false)
	add(device.Shape{C: 16, H: 5, W: 4}, 20, 3, 3, device.Conv{Stride: 1, Left: 2, Bottom: 2, Right: 1}, false)
	wide := device.Shape{C: 16, H: 6, W: 5}
	cases = append(cases, single("adapted conv", wide, func(n Net, x device.Value) device.Value {
		y := n.Conv2D(x, n.Param("w", false, 16, wide.C, 3, 3), n.Param("b", false, 16), device.Pad(1))
		down := n.Conv2D(x, n.Param("down", true, 9, wide.C, 3, 3), device.NoParam, device.Pad(1))
		return n.Add(y, n.Conv2D(n.SiLU(down), n.Param("up", true, 16, 9, 1, 1), device.NoParam, device.Pad(0)))
	}))
	return cases
}

func elementwise() (cases []Case) {
	add := func(name string, s device.Shape, f func(n Net, x device.Value) device.Value) {
		cases = append(cases, single(name, s, f))
	}
	for _, s := range []device.Shape{{C: 1, H: 1, W: 1}, {C: 3, H: 2, W: 5}, {C: 8, H: 3, W: 1}, {C: 17, H: 1, W: 3}, {C: 5, H: 7, W: 7}} {
		add("silu", s, func(n Net, x device.Value) device.Value { return n.SiLU(x) })
		add("relu", s, func(n Net, x device.Value) device.Value { return n.ReLU(x) })
		add("scale", s, func(n Net, x device.Value) device.Value { return n.Scale(x, -0.7) })
		add("upsample", s, func(n Net, x device.Value) device.Value { return n.Upsample2x(x) })
		add("linear", s, func(n Net, x device.Value) device.Value {
			return n.Linear(x, n.Param("w", true, 6, s.C), n.Param("b", true, 6))
		})
		add("add", s, func(n Net, x device.Value) device.Value { return n.Add(x, source(n, "y", s)) })
		add("add to itself", s, func(n Net, x device.Value) device.Value { return n.Add(x, x) })
		add("add channels", s, func(n Net, x device.Value) device.Value {
			return n.AddChannels(x, source(n, "v", device.Shape{C: s.C, H: 1, W: 1}))
		})
		add("sum of pixels", s, func(n Net, x device.Value) device.Value { return n.SumPixels(x) })
		add("sum of pixels beside another use", s, func(n Net, x device.Value) device.Value {
			return n.AddChannels(x, n.Scale(n.SumPixels(x), 0.1))
		})
		add("concat", s, func(n Net, x device.Value) device.Value {
			return n.Concat(source(n, "y", device.Shape{C: 2, H: s.H, W: s.W}), n.Concat(x, x))
		})
		if s.H > 1 && s.W > 1 {
			add("max pool", s, func(n Net, x device.Value) device.Value { return n.MaxPool2(x) })
		}
	}
	for _, gn := range []struct {
		s      device.Shape
		groups int
	}{{device.Shape{C: 1, H: 3, W: 3}, 1}, {device.Shape{C: 6, H: 2, W: 5}, 3}, {device.Shape{C: 8, H: 7, W: 7}, 2}, {device.Shape{C: 17, H: 3, W: 1}, 1}} {
		for _, silu := range []bool{false, true} {
			for _, trainable := range []bool{false, true} {
				add(fmt.Sprintf("group norm %d silu %t trainable %t", gn.groups, silu, trainable), gn.s, func(n Net, x device.Value) device.Value {
					return n.GroupNorm(x, n.Param("gamma", trainable, gn.s.C), n.Param("beta", trainable, gn.s.C), gn.groups, 1e-3, silu)
				})
			}
		}
	}
	return append(cases, Case{"only gamma is trained", func(n Net) device.Value {
		x := n.Input("x", device.Shape{C: 4, H: 3, W: 3})
		return compareWithInput(n, n.GroupNorm(x, n.Param("gamma", true, 4), n.Param("beta", false, 4), 2, 1e-5, true))
	}}, Case{"forward only", func(n Net) device.Value {
		n.Output("y", n.SiLU(n.Input("x", device.Shape{C: 3, H: 4, W: 5})))
		return device.NoValue
	}})
}

func attentions() (cases []Case) {
	for _, a := range []struct {
		s     device.Shape
		heads int
	}{{device.Shape{C: 1, H: 1, W: 1}, 1}, {device.Shape{C: 6, H: 3, W: 2}, 1}, {device.Shape{C: 6, H: 2, W: 3}, 3}, {device.Shape{C: 16, H: 7, W: 7}, 2}} {
		cases = append(cases, single(fmt.Sprintf("attention %d heads", a.heads), a.s, func(n Net, q device.Value) device.Value {
			return n.Attention(q, source(n, "k", a.s), source(n, "v", a.s), a.heads)
		}), single(fmt.Sprintf("attention to itself %d heads", a.heads), a.s, func(n Net, q device.Value) device.Value {
			return n.Attention(q, q, q, a.heads)
		}))
	}
	// 150² probabilities of 4 heads are computed again in the backward pass
	return append(cases, single("attention recomputed", device.Shape{C: 4, H: 15, W: 10}, func(n Net, q device.Value) device.Value {
		return n.Attention(n.GroupNorm(q, n.Param("gamma", false, 4), n.Param("beta", false, 4), 2, 1e-5, false), q, q, 4)
	}))
}

func losses() []Case {
	one := device.Shape{C: 1, H: 1, W: 1}
	return []Case{
		{"cross entropy", func(n Net) device.Value {
			logits := n.Linear(n.Input("x", device.Shape{C: 5, H: 1, W: 1}), n.Param("w", true, 7, 5), n.Param("b", true, 7))
			n.Output("logits", logits)
			return n.CrossEntropy(logits, n.Index("label", 7), n.Input("weight", one))
		}},
		{"weighted sum of losses", func(n Net) device.Value {
			w := n.Input("weight", one)
			logits := n.Linear(n.Input("x", device.Shape{C: 5, H: 1, W: 1}), n.Param("w", true, 3, 5), device.NoParam)
			ce := n.Scale(n.CrossEntropy(logits, n.Index("label", 2), w), 0.3)
			return n.Add(ce, n.MSE(n.Input("t", n.Shape(logits)), logits, w))
		}},
		{"error between trained values", func(n Net) device.Value {
			s := device.Shape{C: 3, H: 2, W: 2}
			return n.MSE(source(n, "x", s), source(n, "y", s), n.Input("weight", one))
		}},
		{"embedding", func(n Net) device.Value {
			row := n.Index("class", 4)
			a := n.Embedding(n.Param("trained", true, 5, 6), row)
			return compareWithInput(n, n.Add(a, n.Embedding(n.Param("frozen", false, 4, 6), row)))
		}},
	}
}
