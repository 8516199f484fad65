package device

import "testing"

// TestConvolutionsAddToTheirSum: with what neighbours a convolution takes over
// the sum that follows it.
func TestConvolutionsAddToTheirSum(t *testing.T) {
	for name, c := range map[string]struct {
		adds  int // that remain
		build func(b *Builder, x Value, conv func(x Value) Value) Value
	}{
		"second operand": {0, func(b *Builder, x Value, conv func(Value) Value) Value { return b.Add(b.SiLU(x), conv(x)) }},
		"first operand":  {0, func(b *Builder, x Value, conv func(Value) Value) Value { return b.Add(conv(x), b.SiLU(x)) }},
		"one of two":     {0, func(b *Builder, x Value, conv func(Value) Value) Value { return b.Add(conv(x), conv(x)) }},
		"a chain": {0, func(b *Builder, x Value, conv func(Value) Value) Value {
			return b.Add(b.Add(b.SiLU(x), conv(x)), conv(x))
		}},
		"to its own input": {1, func(b *Builder, x Value, conv func(Value) Value) Value { h := b.SiLU(x); return b.Add(h, conv(h)) }},
		"to an input":      {1, func(b *Builder, x Value, conv func(Value) Value) Value { return b.Add(x, conv(x)) }},
		"added to itself":  {1, func(b *Builder, x Value, conv func(Value) Value) Value { h := conv(x); return b.Add(h, h) }},
		"no convolution":   {1, func(b *Builder, x Value, conv func(Value) Value) Value { return b.Add(b.SiLU(x), b.ReLU(x)) }},
		"read elsewhere too": {1, func(b *Builder, x Value, conv func(Value) Value) Value {
			h := conv(x)
			return b.Concat(b.Add(b.SiLU(x), h), h)
		}},
		"sum read later": {1, func(b *Builder, x Value, conv func(Value) Value) Value {
			h := b.SiLU(x)
			return b.Concat(b.Add(h, conv(x)), h)
		}},
		"an output": {1, func(b *Builder, x Value, conv func(Value) Value) Value {
			h := b.SiLU(x)
			b.Output("h", h)
			return b.Add(h, conv(x))
		}},
		"its input changes in between": {1, func(b *Builder, x Value, conv func(Value) Value) Value {
			h := b.SiLU(x)
			late := conv(h)              // must read h before
			changed := b.Add(h, conv(x)) // adds to it
			return b.Add(b.ReLU(changed), late)
		}},
	} {
		b := NewBuilder()
		n := 0
		conv := func(x Value) Value {
			n++
			return b.Conv2D(x, b.Param(string(rune('a'+n)), true, 2, 2, 3, 3), NoParam, Pad(1))
		}
		b.Output("y", c.build(b, b.Input("x", Shape{2, 4, 4}), conv))
		l, err := b.Forward()
		if err != nil {
			t.Fatal(err)
		}
		if got := kinds(l.Ops)["Add"]; got != c.adds {
			t.Errorf("%s: %d sums remain, want %d", name, got, c.adds)
		}
		if got := kinds(l.Ops)["Convolution"]; got != n {
			t.Errorf("%s: %d convolutions, want %d", name, got, n)
		}
	}
}
