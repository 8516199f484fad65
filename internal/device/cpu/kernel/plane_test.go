package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// operands of one call: dst, x and y have the extents that the case wants; v
// and w are vectors of channels x lanes, read or written.
type operands struct {
	dst, x, y buffer
	v, w      []float32
}

type planeCase struct {
	name             string
	scaleDst, scaleX int // 2: twice the extent
	run              func(e Extent, o operands)
}

func norm(e Extent, silu bool) GroupNorm {
	groups := 1
	if e.C%2 == 0 {
		groups = 2
	}
	return GroupNorm{Extent: e, Groups: groups, Eps: 1e-5, SiLU: silu}
}

func normBackward(silu, accumulate bool) func(Extent, operands) {
	return func(e Extent, o operands) {
		n := norm(e, silu)
		gamma, beta := o.v[:e.C], o.v[Lanes:Lanes+e.C]
		stats := make([]float32, n.StatsLen())
		scratch := newBuffer(e, 0)
		n.Forward(scratch.view(), o.x.view(), gamma, beta, stats)
		n.Backward(o.dst.view(), scratch.view(), o.y.view(), o.x.view(), gamma, beta, stats, o.w, o.v, accumulate)
	}
}

var planeCases = []planeCase{
	{name: "copy", run: func(e Extent, o operands) { Copy(e, o.dst.view(), o.x.view()) }},
	{name: "fill", run: func(e Extent, o operands) { Fill(e, o.dst.view(), -2.5) }},
	{name: "add", run: func(e Extent, o operands) { Add(e, o.dst.view(), o.x.view(), o.y.view()) }},
	{name: "add in place", run: func(e Extent, o operands) { Add(e, o.dst.view(), o.dst.view(), o.y.view()) }},
	{name: "axpy", run: func(e Extent, o operands) { Axpy(e, o.dst.view(), 0.3, o.x.view()) }},
	{name: "scale", run: func(e Extent, o operands) { Scale(e, o.dst.view(), 0.3, o.x.view()) }},
	{name: "add channels", run: func(e Extent, o operands) { AddChannels(e, o.dst.view(), o.x.view(), o.v, Lanes) }},
	{name: "silu", run: func(e Extent, o operands) { SiLU(e, o.dst.view(), o.x.view()) }},
	{name: "silu backward", run: func(e Extent, o operands) { SiLUBackward(e, o.dst.view(), o.y.view(), o.x.view(), false) }},
	{name: "silu backward add", run: func(e Extent, o operands) { SiLUBackward(e, o.dst.view(), o.y.view(), o.x.view(), true) }},
	{name: "relu", run: func(e Extent, o operands) { ReLU(e, o.dst.view(), o.x.view()) }},
	{name: "relu backward", run: func(e Extent, o operands) { ReLUBackward(e, o.dst.view(), o.y.view(), o.x.view(), false) }},
	{name: "relu backward add", run: func(e Extent, o operands) { ReLUBackward(e, o.dst.view(), o.y.view(), o.x.view(), true) }},
	{name: "scaled difference", run: func(e Extent, o operands) {
		ScaledDifference(e, o.dst.view(), o.x.view(), o.y.view(), o.v, false)
	}},
	{name: "scaled difference add", run: func(e Extent, o operands) {
		ScaledDifference(e, o.dst.view(), o.x.view(), o.y.view(), o.v, true)
	}},
	{name: "plane sums", run: func(e Extent, o operands) { PlaneSums(e, o.w, Lanes, o.x.view()) }},
	{name: "squared difference", run: func(e Extent, o operands) { SquaredDifference(e, o.w, o.x.view(), o.y.view()) }},
	{name: "group norm", run: func(e Extent, o operands) {
		norm(e, false).Forward(o.dst.view(), o.x.view(), o.v[:e.C], o.v[Lanes:Lanes+e.C], o.w)
	}},
	{name: "group norm silu", run: func(e Extent, o operands) {
		norm(e, true).Forward(o.dst.view(), o.x.view(), o.v[:e.C], o.v[Lanes:Lanes+e.C], o.w)
	}},
	{name: "group norm backward", run: normBackward(false, false)},
	{name: "group norm backward add", run: normBackward(false, true)},
	{name: "group norm silu backward", run: normBackward(true, false)},
	{name: "group norm silu backward add", run: normBackward(true, true)},
	{name: "upsample", scaleDst: 2, run: func(e Extent, o operands) { Upsample2x(e, o.dst.view(), o.x.view()) }},
	{name: "upsample backward", scaleX: 2, run: func(e Extent, o operands) {
		Upsample2xBackward(e, o.dst.view(), o.x.view(), false)
	}},
	{name: "upsample backward add", scaleX: 2, run: func(e Extent, o operands) {
		Upsample2xBackward(e, o.dst.view(), o.x.view(), true)
	}},
	{name: "max pool", scaleX: 2, run: func(e Extent, o operands) { MaxPool2(e, o.dst.view(), o.x.view()) }},
	{name: "max pool backward", scaleDst: 2, scaleX: 2, run: func(e Extent, o operands) {
		MaxPool2Backward(e, o.dst.view(), o.y.view(), o.x.view())
	}},
}

func (c planeCase) operands(e Extent, seed uint64, value func(*rand.Rand) float32) operands {
	large := func(scale int) Extent {
		if scale == 2 {
			return e.times2()
		}
		return e
	}
	halo := int(seed % 3)
	o := operands{
		dst: newBuffer(large(c.scaleDst), halo).random(seed, value),
		x:   newBuffer(large(c.scaleX), (halo+1)%3).random(seed+1, value),
		y:   newBuffer(e, (halo+seed2(seed))%3).random(seed+2, value),
		v:   make([]float32, (e.C+2)*Lanes), w: make([]float32, (e.C+4)*Lanes),
	}
	r := rand.New(rand.NewPCG(seed, 2))
	for i := range o.v {
		o.v[i] = value(r)
	}
	return o
}

func seed2(seed uint64) int { return int(seed / 3 % 3) }

// eachExtent visits small odd sizes.
func eachExtent(f func(e Extent, seed uint64)) {
	seed := uint64(0)
	for c := 1; c <= 3; c++ {
		for h := 1; h <= 3; h += 2 {
			for w := 1; w <= 9; w++ {
				f(Extent{c, h, w}, seed)
				seed++
			}
		}
	}
}

func TestPlaneLevelsAgree(t *testing.T) {
	levels := fastLevels(t)
	for _, c := range planeCases {
		t.Run(c.name, func(t *testing.T) {
			for kind, value := range map[string]func(*rand.Rand) float32{"normal": normal, "special": special} {
				eachExtent(func(e Extent, seed uint64) {
					use(t, "portable")
					want := c.operands(e, seed, value)
					c.run(e, want)
					for _, level := range levels {
						use(t, level)
						got := c.operands(e, seed, value)
						c.run(e, got)
						what := fmt.Sprintf("%s, %s values, extent %v", level, kind, e)
						sameBits(t, what+", dst", want.dst.data, got.dst.data)
						sameBits(t, what+", v", want.v, got.v)
						sameBits(t, what+", w", want.w, got.w)
						for _, b := range []buffer{got.dst, got.x, got.y} {
							b.check(t)
						}
						if kind == "normal" {
							got.dst.haloIntact(t)
						}
					}
				})
			}
		})
	}
}

// near compares with a float64 reference.
func near(t *testing.T, what string, want float64, got float32, tolerance float64) {
	t.Helper()
	if math.Abs(want-float64(got)) > tolerance*(1+math.Abs(want)) {
		t.Fatalf("%s = %v, want %v", what, got, want)
	}
}

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
func silu64(x float64) float64    { return x * sigmoid64(x) }
func slope64(x float64) float64 {
	s := sigmoid64(x)
	return s * (1 + x*(1-s))
}

// TestElementwise holds the ops of one pixel to their float64 formulas.
func TestElementwise(t *testing.T) {
	formulas := map[string]func(d, x, y, v float64) float64{
		"copy":                  func(d, x, y, v float64) float64 { return x },
		"fill":                  func(d, x, y, v float64) float64 { return -2.5 },
		"add":                   func(d, x, y, v float64) float64 { return x + y },
		"add in place":          func(d, x, y, v float64) float64 { return d + y },
		"axpy":                  func(d, x, y, v float64) float64 { return d + 0.3*x },
		"scale":                 func(d, x, y, v float64) float64 { return 0.3 * x },
		"silu":                  func(d, x, y, v float64) float64 { return silu64(x) },
		"silu backward":         func(d, x, y, v float64) float64 { return y * slope64(x) },
		"silu backward add":     func(d, x, y, v float64) float64 { return d + y*slope64(x) },
		"relu":                  func(d, x, y, v float64) float64 { return max(x, 0) },
		"scaled difference":     func(d, x, y, v float64) float64 { return (x - y) * v },
		"scaled difference add": func(d, x, y, v float64) float64 { return d + (x-y)*v },
		"relu backward": func(d, x, y, v float64) float64 {
			if x > 0 {
				return y
			}
			return 0
		},
		"relu backward add": func(d, x, y, v float64) float64 {
			if x > 0 {
				return d + y
			}
			return d
		},
	}
	e := Extent{3, 4, 5}
	seen := 0
	for _, c := range planeCases {
		formula := formulas[c.name]
		if formula == nil {
			continue
		}
		seen++
		o, before := c.operands(e, 5, normal), c.operands(e, 5, normal)
		c.run(e, o)
		o.dst.each(func(ch, y, x, l int, got *float32) {
			want := formula(float64(*before.dst.at(ch, y, x, l)), float64(*before.x.at(ch, y, x, l)),
				float64(*before.y.at(ch, y, x, l)), float64(before.v[l]))
			near(t, c.name, want, *got, 3e-7)
		})
	}
	if seen != len(formulas) {
		t.Fatalf("%d of %d formulas were tested", seen, len(formulas))
	}
}

func TestAddChannelsAndSums(t *testing.T) {
	e := Extent{3, 5, 6}
	x := newBuffer(e, 1).random(3, normal)
	y := newBuffer(e, 0).random(4, normal)
	v := make([]float32, e.C*Lanes)
	for i := range v {
		v[i] = float32(i)
	}
	dst := newBuffer(e, 2)
	AddChannels(e, dst.view(), x.view(), v, Lanes)
	sums, want := make([]float32, e.C*Lanes), make([]float64, e.C*Lanes)
	squares, wantSquares := make([]float32, Lanes), make([]float64, Lanes)
	PlaneSums(e, sums, Lanes, x.view())
	SquaredDifference(e, squares, x.view(), y.view())
	dst.each(func(c, h, w, l int, got *float32) {
		xv := *x.at(c, h, w, l)
		if *got != xv+v[c*Lanes+l] {
			t.Fatalf("add channels gives %v, want %v", *got, xv+v[c*Lanes+l])
		}
		d := float64(xv) - float64(*y.at(c, h, w, l))
		want[c*Lanes+l] += float64(xv)
		wantSquares[l] += d * d
	})
	for i := range sums {
		near(t, "plane sum", want[i], sums[i], 1e-6)
	}
	for l := range squares {
		near(t, "squared difference", wantSquares[l], squares[l], 1e-6)
	}
}

func TestUpsample(t *testing.T) {
	e := Extent{2, 3, 4}
	x := newBuffer(e, 1).random(1, normal)
	up := newBuffer(e.times2(), 1)
	Upsample2x(e, up.view(), x.view())
	up.each(func(c, h, w, l int, got *float32) {
		if *got != *x.at(c, h/2, w/2, l) {
			t.Fatal("an upsampled pixel is not its source")
		}
	})
	dx := newBuffer(e, 0).random(2, normal)
	before := newBuffer(e, 0).random(2, normal)
	Upsample2xBackward(e, dx.view(), up.view(), true)
	dx.each(func(c, h, w, l int, got *float32) {
		near(t, "gradient", float64(*before.at(c, h, w, l))+4*float64(*x.at(c, h, w, l)), *got, 3e-7)
	})
}

// TestMaxPoolTies gives the gradient to the first of equal maxima.
func TestMaxPoolTies(t *testing.T) {
	e := Extent{1, 1, 1}
	for first, pixels := range [][4]float32{{2, 2, 2, 2}, {1, 3, 3, 0}, {-5, -6, -1, -1}, {0, 1, 2, 3}} {
		x, dx, y, dy := newBuffer(e.times2(), 0), newBuffer(e.times2(), 0), newBuffer(e, 0), newBuffer(e, 0)
		for i, v := range pixels {
			for l := range Lanes {
				*x.at(0, i/2, i%2, l), *dx.at(0, i/2, i%2, l) = v, 10
				*dy.at(0, 0, 0, l) = 1
			}
		}
		MaxPool2(e, y.view(), x.view())
		MaxPool2Backward(e, dx.view(), dy.view(), x.view())
		for l := range Lanes {
			if got := *y.at(0, 0, 0, l); got != max(pixels[0], pixels[1], pixels[2], pixels[3]) {
				t.Fatalf("maximum of %v is %v", pixels, got)
			}
			for i := range pixels {
				want := float32(10)
				if i == first {
					want = 11
				}
				if got := *dx.at(0, i/2, i%2, l); got != want {
					t.Fatalf("%v: gradient %v at pixel %d, want %v", pixels, got, i, want)
				}
			}
		}
	}
}

func TestEmptyExtents(t *testing.T) {
	for _, e := range []Extent{{0, 2, 2}, {2, 0, 2}, {2, 2, 0}} {
		Add(e, View{}, View{}, View{})
		PlaneSums(e, nil, Lanes, View{})
		Upsample2x(e, View{}, View{})
	}
	Softmax(nil, 0, 3, 48, 1)
}

func TestShapeMisusePanics(t *testing.T) {
	e := Extent{2, 3, 4}
	dense := func(n int) View { return View{Data: make([]float32, n), Chan: 3 * 4 * Lanes, Row: 4 * Lanes} }
	good, short := dense(2*3*4*Lanes), dense(2*3*4*Lanes-1)
	for name, f := range map[string]func(){
		"short dst":      func() { Add(e, short, good, good) },
		"short x":        func() { SiLU(e, good, short) },
		"short y":        func() { Add(e, good, good, short) },
		"negative":       func() { Copy(e, good, View{Data: good.Data, Chan: -1, Row: 64}) },
		"short vector":   func() { AddChannels(e, good, good, make([]float32, Lanes), Lanes) },
		"short factors":  func() { ScaledDifference(e, good, good, good, make([]float32, 15), false) },
		"groups":         func() { GroupNorm{Extent: e, Groups: 3}.Forward(good, good, nil, nil, nil) },
		"narrow softmax": func() { Softmax(good.Data, 2, 3, 2*Lanes, 1) },
		"lanes":          func() { SumLanes(make([]float32, 2), make([]float32, 31)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			f()
		})
	}
}

// TestLargeResults: what is written past the caches has the same bits, with
// halos and without, and leaves the halo alone.
func TestLargeResults(t *testing.T) {
	levels := fastLevels(t)
	e := Extent{9, 31, 65} // 1.1 MiB, an odd number of pixels
	for halo := range 2 {
		x, y := newBuffer(e, halo).random(1, special), newBuffer(e, 1).random(2, special)
		run := func(level string, f func(dst View)) buffer {
			use(t, level)
			dst := newBuffer(e, halo)
			if !around(e, dst.view()) {
				t.Fatal("the result is not written past the caches: the test tests nothing")
			}
			f(dst.view())
			dst.check(t)
			return dst
		}
		for name, f := range map[string]func(View){
			"copy": func(dst View) { Copy(e, dst, x.view()) },
			"add":  func(dst View) { Add(e, dst, x.view(), y.view()) },
		} {
			want := run("portable", f)
			for _, level := range levels {
				sameBits(t, level+" "+name, want.data, run(level, f).data)
			}
		}
	}
}
