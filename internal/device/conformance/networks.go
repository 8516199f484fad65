package conformance

import (
	"fmt"

	"github.com/dploda/dploda/internal/device"
)

func networks() []Case {
	cases := []Case{
		{"small U-Net", smallUNet},
		{"classifier", classifier},
		{"residual chains", residualChains},
		{"sums of convolutions", sumsOfConvolutions},
	}
	for seed := range 12 {
		cases = append(cases, randomNetwork(fmt.Sprintf("random network %d", seed)))
	}
	return cases
}

// layers names parameters by the order of use.
type layers struct {
	Net
	n int
}

func (l *layers) param(trainable bool, dims ...int) device.ParamID {
	l.n++
	return l.Param(fmt.Sprintf("p%d", l.n), trainable, dims...)
}

func (l *layers) conv(x device.Value, out, k int, trainable bool, c device.Conv) device.Value {
	return l.Conv2D(x, l.param(trainable, out, l.Shape(x).C, k, k), l.param(trainable, out), c)
}

func (l *layers) norm(x device.Value, groups int, silu bool) device.Value {
	c := l.Shape(x).C
	return l.GroupNorm(x, l.param(false, c), l.param(false, c), groups, 1e-5, silu)
}

// adapted is a frozen convolution with a low-dimensional adapter beside it
// (LoDA, arXiv 2406.05257, section 3).
func (l *layers) adapted(x device.Value, out, k, rank int, c device.Conv) device.Value {
	y := l.conv(x, out, k, false, c)
	h := l.Conv2D(x, l.param(true, rank, l.Shape(x).C, k, k), device.NoParam, c)
	h = l.Conv2D(l.SiLU(h), l.param(true, out, rank, 1, 1), device.NoParam, device.Pad(0))
	return l.Add(y, l.Scale(h, 0.5))
}

// smallUNet has every op of a diffusion U-Net: a class and time embedding,
// adapted residual blocks, attention, a level below, a skip connection.
func smallUNet(n Net) device.Value {
	l := &layers{Net: n}
	half := device.Conv{Stride: 2, Bottom: 1, Right: 1}
	emb := l.SiLU(l.Add(l.Embedding(l.param(true, 4, 6), l.Index("class", 4)),
		l.Linear(l.Input("time", device.Shape{C: 3, H: 1, W: 1}), l.param(false, 6, 3), l.param(false, 6))))
	block := func(x device.Value, out int) device.Value {
		h := l.adapted(l.norm(x, 2, true), out, 3, 2, device.Pad(1))
		h = l.AddChannels(h, l.Linear(emb, l.param(false, out, 6), l.param(false, out)))
		h = l.adapted(l.norm(h, 2, true), out, 3, 2, device.Pad(1))
		if l.Shape(x).C != out {
			x = l.conv(x, out, 1, false, device.Pad(0))
		}
		return l.Add(x, h)
	}
	attend := func(x device.Value) device.Value {
		h, c := l.norm(x, 2, false), l.Shape(x).C
		linear := func(v device.Value) device.Value { return l.Linear(v, l.param(false, c, c), l.param(false, c)) }
		return l.Add(x, linear(l.Attention(linear(h), linear(h), linear(h), 2)))
	}
	top := block(l.conv(l.Input("image", device.Shape{C: 1, H: 6, W: 4}), 4, 3, false, device.Pad(1)), 4)
	low := attend(block(l.conv(top, 4, 3, false, half), 8))
	up := l.conv(l.Upsample2x(low), 8, 3, false, device.Pad(1))
	y := l.conv(l.norm(block(l.Concat(up, top), 4), 2, true), 1, 3, false, device.Pad(1))
	return compareWithInput(n, y)
}

func classifier(n Net) device.Value {
	l := &layers{Net: n}
	x := l.ReLU(l.conv(l.Input("image", device.Shape{C: 1, H: 8, W: 9}), 4, 3, true, device.Pad(1)))
	x = l.MaxPool2(l.ReLU(l.conv(x, 5, 3, true, device.Pad(1))))
	x = l.ReLU(l.conv(l.MaxPool2(x), 6, 2, true, device.Pad(0)))
	logits := l.Conv2D(x, l.param(true, 3, 6, 1, 1), l.param(true, 3), device.Pad(0))
	n.Output("logits", logits)
	return l.CrossEntropy(logits, l.Index("label", 3), l.Input("weight", device.Shape{C: 1, H: 1, W: 1}))
}

// residualChains adds values that several ops read and whose gradients share
// buffers.
func residualChains(n Net) device.Value {
	l := &layers{Net: n}
	x := source(n, "x", device.Shape{C: 3, H: 4, W: 3})
	y := l.Add(x, l.conv(x, 3, 3, true, device.Pad(1)))
	z := l.Add(y, l.Add(x, l.SiLU(y)))
	w := l.Add(l.conv(z, 3, 1, false, device.Pad(0)), z)
	n.Output("between", z)
	return compareWithInput(n, l.Add(l.Add(w, w), l.Concat(l.conv(x, 1, 1, true, device.Pad(0)), l.conv(w, 2, 3, false, device.Pad(1)))))
}

// sumsOfConvolutions has sums that a convolution may take over, and one that it
// must not: its input is added to in between.
func sumsOfConvolutions(n Net) device.Value {
	l := &layers{Net: n}
	conv := func(x device.Value) device.Value {
		return l.Conv2D(x, l.param(true, 3, 3, 3, 3), device.NoParam, device.Pad(1))
	}
	x := source(n, "x", device.Shape{C: 3, H: 3, W: 4})
	h := l.SiLU(x)
	late := conv(h)
	y := l.Add(conv(x), h)
	n.Output("sum", l.Add(l.Scale(y, 1), conv(y)))
	return compareWithInput(n, l.Add(l.Scale(l.Add(y, conv(y)), 2), late))
}

// randomNetwork draws ops on values drawn from those made so far, so that the
// fan-outs, dead branches and lifetimes are of every kind.
func randomNetwork(name string) Case {
	return Case{name, func(n Net) device.Value {
		g := newGenerator(name) // the same draws for each Net
		l := &layers{Net: n}
		values := []device.Value{
			source(n, "x", device.Shape{C: 4, H: 4, W: 6}),
			n.Input("frozen", device.Shape{C: 4, H: 4, W: 6}),
			l.conv(n.Input("image", device.Shape{C: 1, H: 4, W: 6}), 4, 3, g.IntN(2) == 0, device.Pad(1)),
		}
		for range 14 {
			x := values[max(0, len(values)-1-g.IntN(4))]
			values = append(values, randomOp(l, g, x, values))
		}
		n.Output("middle", values[8])
		return compareWithInput(n, values[len(values)-1])
	}}
}

// randomOp applies one op to x of 4x4x6, and perhaps to another of values, with
// a result of that shape.
func randomOp(l *layers, g generator, x device.Value, values []device.Value) device.Value {
	other := values[g.IntN(len(values))]
	trainable := g.IntN(3) == 0
	switch g.IntN(11) {
	case 0:
		return l.conv(x, 4, 3, trainable, device.Pad(1))
	case 1:
		return l.Upsample2x(l.conv(x, 4, 3, trainable, device.Conv{Stride: 2, Top: 1, Left: 1, Bottom: 1, Right: 1}))
	case 2:
		return l.GroupNorm(x, l.param(trainable, 4), l.param(trainable, 4), 2, 1e-2, g.IntN(2) == 0)
	case 3:
		return l.SiLU(x)
	case 4:
		return l.Scale(l.Add(x, other), 0.5)
	case 5:
		return l.adapted(x, 4, 3, 2, device.Pad(1))
	case 6:
		return l.conv(l.Concat(x, other), 4, 1, trainable, device.Pad(0))
	case 7:
		return l.Attention(x, other, values[g.IntN(len(values))], 2)
	case 8:
		return l.AddChannels(x, l.Embedding(l.param(trainable, 3, 4), l.Index(fmt.Sprintf("row%d", l.n), 3)))
	case 9:
		return l.Add(x, l.Upsample2x(l.MaxPool2(l.norm(other, 4, true))))
	}
	return l.Add(x, l.conv(l.ReLU(x), 4, 1, trainable, device.Pad(0)))
}
