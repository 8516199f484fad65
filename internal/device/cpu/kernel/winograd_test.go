package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// winogradCases are 3x3 convolutions whose last tiles have every number of rows
// and columns.
func winogradCases() []convCase {
	var cases []convCase
	for rows := 1; rows <= 5; rows++ {
		for cols := 1; cols <= 5; cols++ {
			n := len(cases)
			c := convCase{cin: 1 + n%9, cout: 1 + n%11, kernel: 3, stride: 1, rows: rows, cols: cols}
			c.bias, c.accumulate = n%3 == 1, n%3 == 2
			cases = append(cases, c)
		}
	}
	return append(cases,
		convCase{cin: 16, cout: 8, kernel: 3, stride: 1, rows: 7, cols: 7, bias: true},
		convCase{cin: 3, cout: 17, kernel: 3, stride: 1, rows: 14, cols: 14},
		convCase{cin: 2, cout: 4, kernel: 3, stride: 1, rows: 9, cols: 28, accumulate: true})
}

// winograd computes a case from buffers made for Conv.
func (c convCase) winograd(t *testing.T, dst, x buffer, w, bias []float32) {
	t.Helper()
	s := NewWinogradSpec(WinogradGeometry{
		Cin: c.cin, Cout: c.cout, Rows: c.rows, Cols: c.cols,
		XChan: x.chanStride(), XRow: x.rowStride(), // the first tap lies in the halo
		DstBase: dst.base(), DstChan: dst.chanStride(), DstRow: dst.rowStride(),
	})
	packed := make([]float32, WinogradPackedLen(c.cout, c.cin))
	PackWinograd(packed, w, c.cout, c.cin, false, false)
	scratch, check := fenced(s.ScratchLen()) // of NaN
	Winograd(dst.data, x.data, packed, bias, scratch, s, c.accumulate)
	check(t)
}

func TestWinogradLevelsAgree(t *testing.T) {
	levels := fastLevels(t)
	for i, c := range winogradCases() {
		for kind, value := range map[string]func(*rand.Rand) float32{"normal": normal, "special": special} {
			run := func(level string) buffer {
				use(t, level)
				dst, x, w, bias, _, _ := c.build(uint64(i), value)
				c.winograd(t, dst, x, w, bias)
				return dst
			}
			want := run("portable")
			for _, level := range levels {
				got := run(level)
				sameBits(t, fmt.Sprintf("%s, %s values, %v", level, kind, c), want.data, got.data)
				got.check(t)
				if kind == "normal" {
					got.haloIntact(t)
				}
			}
		}
	}
}

// TestWinogradReference holds the error against the sum in float64, which is
// larger than that of a direct convolution, to 5e-6 of the root mean square.
// The error grows with the channels' number only as any sum's.
func TestWinogradReference(t *testing.T) {
	cases := append(winogradCases(),
		convCase{cin: 128, cout: 8, kernel: 3, stride: 1, rows: 16, cols: 16, bias: true},
		convCase{cin: 512, cout: 8, kernel: 3, stride: 1, rows: 8, cols: 8})
	for i, c := range cases {
		dst, x, w, bias, _, _ := c.build(uint64(i), normal)
		before := append([]float32(nil), dst.data...)
		c.winograd(t, dst, x, w, bias)
		var noise, signal float64
		dst.each(func(o, y, xx, l int, got *float32) {
			sum, _ := c.exact(x, dst, before, w, bias, o, y, xx, l)
			noise += (float64(*got) - sum) * (float64(*got) - sum)
			signal += sum * sum
		})
		rms := math.Sqrt(noise / signal)
		t.Logf("%v: relative RMS error %.1e", c, rms)
		if !(rms <= 5e-6) {
			t.Errorf("%v: relative RMS error %.1e", c, rms)
		}
	}
}

// TestWinogradPacking compares flipped and transposed weights with the direct
// convolution of the same taps.
func TestWinogradPacking(t *testing.T) {
	c := convCase{cin: 5, cout: 11, kernel: 3, stride: 1, rows: 6, cols: 7}
	for _, transposed := range []bool{false, true} {
		for _, flipped := range []bool{false, true} {
			dst, x, w, _, direct, taps := c.build(1, normal)
			if flipped {
				taps = []int32{8, 7, 6, 5, 4, 3, 2, 1, 0}
			}
			packed := make([]float32, PackedLen(c.cout, c.cin, 9))
			PackConv(packed, w, c.cout, c.cin, taps, 9, transposed)
			Conv(dst.data, x.data, packed, nil, direct, false)

			got := newBuffer(dst.e, dst.halo)
			s := NewWinogradSpec(WinogradGeometry{
				Cin: c.cin, Cout: c.cout, Rows: c.rows, Cols: c.cols, XChan: x.chanStride(), XRow: x.rowStride(),
				DstBase: got.base(), DstChan: got.chanStride(), DstRow: got.rowStride(),
			})
			packed = make([]float32, WinogradPackedLen(c.cout, c.cin))
			PackWinograd(packed, w, c.cout, c.cin, transposed, flipped)
			Winograd(got.data, x.data, packed, nil, make([]float32, s.ScratchLen()), s, false)
			got.each(func(o, y, xx, l int, v *float32) {
				near(t, fmt.Sprintf("transposed %v, flipped %v", transposed, flipped), float64(*dst.at(o, y, xx, l)), *v, 1e-4)
			})
		}
	}
}

func TestWinogradMisusePanics(t *testing.T) {
	c := convCase{cin: 2, cout: 3, kernel: 3, stride: 1, rows: 4, cols: 4, bias: true}
	dst, x, _, bias, _, _ := c.build(1, normal)
	g := WinogradGeometry{
		Cin: 2, Cout: 3, Rows: 4, Cols: 4, XChan: x.chanStride(), XRow: x.rowStride(),
		DstBase: dst.base(), DstChan: dst.chanStride(), DstRow: dst.rowStride(),
	}
	s := NewWinogradSpec(g)
	w, scratch := make([]float32, WinogradPackedLen(3, 2)), make([]float32, s.ScratchLen())
	for name, f := range map[string]func(){
		"short x":       func() { Winograd(dst.data, x.data[:s.xLen-1], w, bias, scratch, s, false) },
		"short dst":     func() { Winograd(dst.data[:s.dstLen-1], x.data, w, bias, scratch, s, false) },
		"short w":       func() { Winograd(dst.data, x.data, w[1:], bias, scratch, s, false) },
		"short bias":    func() { Winograd(dst.data, x.data, w, bias[1:], scratch, s, false) },
		"short scratch": func() { Winograd(dst.data, x.data, w, bias, scratch[1:], s, false) },
		"both starts":   func() { Winograd(dst.data, x.data, w, bias, scratch, s, true) },
		"before x":      func() { g := g; g.XBase = -1; NewWinogradSpec(g) },
		"short packing": func() { PackWinograd(w[1:], make([]float32, 54), 3, 2, false, false) },
		"few weights":   func() { PackWinograd(w, make([]float32, 53), 3, 2, false, false) },
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
