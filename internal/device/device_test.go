package device

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// adapted is a frozen convolution beside a trained one.
func adapted(b *Builder, x Value, name string, trainable bool) Value {
	y := b.Conv2D(x, b.Param(name+".frozen", false, 3, 3, 3, 3), NoParam, Pad(1))
	return b.Add(y, b.Conv2D(x, b.Param(name+".adapter", trainable, 3, 3, 1, 1), NoParam, Pad(0)))
}

func squaredError(b *Builder, y Value) Value {
	return b.MSE(y, b.Input("target", b.Shape(y)), b.Input("weight", Shape{1, 1, 1}))
}

func kinds(ops []Op) map[string]int {
	n := map[string]int{}
	for _, op := range ops {
		n[strings.TrimPrefix(fmt.Sprintf("%T", op), "*device.")]++
	}
	return n
}

func gradient(t *testing.T, b *Builder, loss Value, mode GradMode) *OpList {
	t.Helper()
	l, err := b.Gradient(loss, mode)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestReverseListIsPruned: nothing is emitted below the first trained
// parameter, for frozen weights, or for branches that the loss does not see.
func TestReverseListIsPruned(t *testing.T) {
	b := NewBuilder()
	x := b.Input("x", Shape{3, 4, 4})
	h := b.GroupNorm(adapted(b, x, "frozen", false), b.Param("g", false, 3), b.Param("b", false, 3), 1, 1e-5, true)
	h = adapted(b, h, "first", true)
	h = adapted(b, b.SiLU(h), "second", true)
	unseen := adapted(b, b.SiLU(h), "unseen", true)
	adapted(b, unseen, "unused", true)
	b.Output("unseen", unseen)
	l := gradient(t, b, squaredError(b, h), PerExample)

	want := map[string]int{
		"Convolution": 8, "GroupNorm": 1, "SiLU": 2, "SquaredError": 1, // not "unused"
		"Fill": 1, "SquaredErrorBackward": 1,
		"ConvolutionWeights": 2, // the two adapters
		"ConvolutionData":    2, // both convolutions of "second", none of "first"
		"SiLUBackward":       1,
	}
	if diff := cmp.Diff(want, kinds(l.Ops)); diff != "" {
		t.Errorf("ops (-want +got):\n%s", diff)
	}
	for _, op := range l.Ops {
		if w, ok := op.(*ConvolutionWeights); ok && !l.Params()[w.W].Trainable {
			t.Errorf("frozen parameter %q gets a gradient", l.Params()[w.W].Name)
		}
	}
	if l.Trainable() != 4*9 {
		t.Errorf("%d trainable coordinates, want those of four adapters, 36", l.Trainable())
	}
}

// TestGradientsShareBuffers: sums pass their gradient on without a copy, save
// where a consumer adds to it while another still reads it.
func TestGradientsShareBuffers(t *testing.T) {
	b := NewBuilder()
	x := b.Conv2D(b.Input("x", Shape{3, 4, 4}), b.Param("in", true, 3, 3, 1, 1), NoParam, Pad(0))
	y := b.Add(x, b.SiLU(adapted(b, x, "inner", true)))
	l := gradient(t, b, squaredError(b, y), PerExample)
	if n := kinds(l.Ops)["Scale"]; n != 0 {
		t.Errorf("a residual block copies %d gradients", n)
	}

	b = NewBuilder()
	x = b.Conv2D(b.Input("x", Shape{3, 4, 4}), b.Param("in", true, 3, 3, 1, 1), NoParam, Pad(0))
	y = b.Add(x, b.Conv2D(x, b.Param("w", false, 3, 3, 3, 3), NoParam, Pad(1)))
	l = gradient(t, b, squaredError(b, y), PerExample)
	if n := kinds(l.Ops)["Scale"]; n != 1 {
		t.Errorf("a convolution that adds to what it reads needs one copy, not %d", n)
	}
}

func TestListsAreReproducible(t *testing.T) {
	build := func() *Builder {
		b := NewBuilder()
		y := adapted(b, adapted(b, b.Input("x", Shape{3, 5, 5}), "one", true), "two", true)
		squaredError(b, y)
		return b
	}
	b := build()
	loss := Value(len(b.shapes) - 1)
	first, second, other := gradient(t, b, loss, Summed), gradient(t, b, loss, Summed), gradient(t, build(), loss, Summed)
	if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(first, other) {
		t.Error("the same network gave two lists")
	}
}

func TestParamsAndOffsets(t *testing.T) {
	b := NewBuilder()
	b.Param("a", true, 2, 3, 1, 1)
	b.Param("frozen", false, 7)
	b.Param("c", true, 4)
	l, err := b.Forward()
	if err != nil {
		t.Fatal(err)
	}
	want := []Param{{"a", []int{2, 3, 1, 1}, true, 0}, {"frozen", []int{7}, false, -1}, {"c", []int{4}, true, 6}}
	if diff := cmp.Diff(want, l.Params()); diff != "" || l.Trainable() != 10 {
		t.Errorf("%d coordinates, parameters (-want +got):\n%s", l.Trainable(), diff)
	}
}

func TestFLOPs(t *testing.T) {
	b := NewBuilder()
	x := b.Linear(b.Input("x", Shape{2, 4, 6}), b.Param("mix", true, 3, 2), NoParam)
	c := Conv{Stride: 2, Bottom: 1, Right: 1}
	y := b.Conv2D(x, b.Param("w", false, 5, 3, 3, 3), NoParam, c)
	b.Output("y", b.Attention(y, y, y, 5))
	l, err := b.Forward()
	if err != nil {
		t.Fatal(err)
	}
	linear, attention := int64(2*2*3*24), int64(2*5*6*6)
	conv := 2 * 3 * 5 * loopedTaps(Shape{3, 4, 6}, Shape{5, 2, 3}, [2]int{3, 3}, c)
	if want := linear + conv + 2*attention; l.FLOPs() != want {
		t.Errorf("forward %d operations, want %d", l.FLOPs(), want)
	}
	l = gradient(t, b, squaredError(b, y), PerExample)
	// the weights of the linear map, the data of the convolution
	if want := 2*linear + 2*conv + 2*attention; l.FLOPs() != want {
		t.Errorf("gradient %d operations, want %d", l.FLOPs(), want)
	}
}

// loopedTaps counts what a convolution of one channel multiplies, as its
// definition has it.
func loopedTaps(x, y Shape, kernel [2]int, c Conv) (n int64) {
	for r := range y.H {
		for q := range y.W {
			for i := range kernel[0] {
				for j := range kernel[1] {
					row, col := r*c.Stride-c.Top+i, q*c.Stride-c.Left+j
					if row >= 0 && row < x.H && col >= 0 && col < x.W {
						n++
					}
				}
			}
		}
	}
	return n
}

// TestConvolutionFLOPs: taps on padding are no work, for the convolution and
// for its gradients.
func TestConvolutionFLOPs(t *testing.T) {
	for _, c := range []struct {
		h, w   int
		kernel [2]int
		conv   Conv
	}{
		{5, 7, [2]int{3, 3}, Pad(1)},
		{8, 8, [2]int{3, 3}, Conv{Stride: 2, Top: 1, Left: 1, Bottom: 1, Right: 1}},
		{7, 4, [2]int{3, 3}, Conv{Stride: 2, Bottom: 1, Right: 1}},
		{4, 4, [2]int{1, 1}, Pad(0)},
		{5, 4, [2]int{5, 4}, Pad(0)},
		{2, 1, [2]int{3, 3}, Pad(2)},
		{9, 6, [2]int{2, 5}, Conv{Stride: 3, Top: 1, Left: 3, Right: 2}},
	} {
		b := NewBuilder()
		up := b.Linear(b.Input("x", Shape{2, c.h, c.w}), b.Param("up", true, 2, 2), NoParam)
		y := b.Conv2D(up, b.Param("w", true, 3, 2, c.kernel[0], c.kernel[1]), NoParam, c.conv)
		l := gradient(t, b, squaredError(b, y), Summed)
		want := 2 * 2 * 3 * loopedTaps(b.Shape(up), b.Shape(y), c.kernel, c.conv)
		seen := 0
		for _, op := range l.Ops {
			switch o := op.(type) {
			case *Convolution:
				if o.Y != y {
					continue
				}
			case *ConvolutionData:
			case *ConvolutionWeights:
				if o.X != up {
					continue
				}
			default:
				continue
			}
			seen++
			if got := l.OpFLOPs(op); got != want {
				t.Errorf("%+v: %T counts %d operations, want %d", c, op, got, want)
			}
		}
		if seen != 3 {
			t.Errorf("%+v: %d ops of the convolution seen, want 3", c, seen)
		}
	}
}

// TestMistakesAreNamed: the first mistake is what both constructors report.
func TestMistakesAreNamed(t *testing.T) {
	one := Shape{1, 1, 1}
	for want, f := range map[string]func(b *Builder, x Value){
		`convolution "w" has 4 input channels, its input 3`: func(b *Builder, x Value) {
			b.Conv2D(x, b.Param("w", true, 3, 4, 3, 3), NoParam, Pad(1))
		},
		`convolution "w" of size 5x5 is larger than its padded input 4x4`: func(b *Builder, x Value) {
			b.Conv2D(x, b.Param("w", true, 3, 3, 5, 5), NoParam, Pad(0))
		},
		`convolution "w" of size 1x1 cannot have the stride and padding`: func(b *Builder, x Value) {
			b.Conv2D(x, b.Param("w", true, 3, 3, 1, 1), NoParam, Pad(1))
		},
		`bias "b" has 2 elements, not 3`: func(b *Builder, x Value) {
			b.Linear(x, b.Param("w", true, 3, 3), b.Param("b", true, 2))
		},
		`parameter "w" is not a tensor of 4 dimensions`: func(b *Builder, x Value) {
			b.Conv2D(x, b.Param("w", true, 3, 3), NoParam, Pad(0))
		},
		`parameter "w" is declared twice`: func(b *Builder, x Value) {
			b.Param("w", true, 3)
			b.Param("w", true, 3)
		},
		`group norm "g": 2 groups do not divide 3 channels`: func(b *Builder, x Value) {
			b.GroupNorm(x, b.Param("g", true, 3), b.Param("b", true, 3), 2, 1e-5, true)
		},
		`cannot add`:         func(b *Builder, x Value) { b.Add(x, b.Input("y", one)) },
		`cannot concatenate`: func(b *Builder, x Value) { b.Concat(x, b.Input("y", one)) },
		`cannot pool`:        func(b *Builder, x Value) { b.MaxPool2(b.Input("y", one)) },
		`2 heads do not`:     func(b *Builder, x Value) { b.Attention(x, x, x, 2) },
		`embedding "e" has 2 rows`: func(b *Builder, x Value) {
			b.Embedding(b.Param("e", true, 2, 5), b.Index("class", 3))
		},
		`the weight of a loss is one number`: func(b *Builder, x Value) { b.MSE(x, x, x) },
		`a value cannot have the shape`:      func(b *Builder, x Value) { b.Input("y", Shape{1, 0, 1}) },
	} {
		b := NewBuilder()
		f(b, b.Input("x", Shape{3, 4, 4}))
		for range 2 { // later mistakes do not hide the first
			_, err := b.Forward()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Forward says %v, want %q", err, want)
			}
			b.Add(0, 99)
		}
		if _, err := b.Gradient(0, PerExample); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Gradient says %v, want %q", err, want)
		}
	}
}

func TestGradientsThatDoNotExist(t *testing.T) {
	for want, f := range map[string]func(b *Builder, x Value) (Value, GradMode){
		"depends on no trainable parameter": func(b *Builder, x Value) (Value, GradMode) {
			return squaredError(b, adapted(b, x, "frozen", false)), PerExample
		},
		"must not depend on trainable": func(b *Builder, x Value) (Value, GradMode) {
			w := b.Linear(b.Input("one", Shape{1, 1, 1}), b.Param("w", true, 1, 1), NoParam)
			return b.MSE(x, b.Input("t", b.Shape(x)), w), PerExample
		},
		"a loss is one number": func(b *Builder, x Value) (Value, GradMode) { return x, PerExample },
		"is not a mode": func(b *Builder, x Value) (Value, GradMode) {
			return squaredError(b, adapted(b, x, "a", true)), NoGradient
		},
	} {
		b := NewBuilder()
		loss, mode := f(b, b.Input("x", Shape{3, 4, 4}))
		if _, err := b.Gradient(loss, mode); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
