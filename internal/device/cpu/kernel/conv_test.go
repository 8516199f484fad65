package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// convCase is a convolution on buffers with halos.
type convCase struct {
	cin, cout, kernel, stride, rows, cols int
	bias, accumulate                      bool
}

func (c convCase) String() string {
	return fmt.Sprintf("%d to %d channels, kernel %d, stride %d, %dx%d, bias %v, accumulate %v",
		c.cin, c.cout, c.kernel, c.stride, c.rows, c.cols, c.bias, c.accumulate)
}

// build makes the buffers; the halo of x is zero.
func (c convCase) build(seed uint64, value func(*rand.Rand) float32) (dst, x buffer, w, bias []float32, s *ConvSpec, taps []int32) {
	in := Extent{c.cin, (c.rows-1)*c.stride + 1, (c.cols-1)*c.stride + 1}
	x = newBuffer(in, c.kernel/2).random(seed, value).zeroHalo()
	dst = newBuffer(Extent{c.cout, c.rows, c.cols}, int(seed%2)).random(seed+1, value)
	r := rand.New(rand.NewPCG(seed, 3))
	w = make([]float32, c.cout*c.cin*c.kernel*c.kernel)
	for i := range w {
		w[i] = value(r)
	}
	if c.bias {
		bias = make([]float32, c.cout)
		for i := range bias {
			bias[i] = value(r)
		}
	}
	var offsets []int32
	for ky := range c.kernel {
		for kx := range c.kernel {
			taps = append(taps, int32(len(taps)))
			offsets = append(offsets, int32((ky-c.kernel/2)*x.rowStride()+(kx-c.kernel/2)*Lanes))
		}
	}
	s = NewConvSpec(ConvGeometry{
		Cin: c.cin, Cout: c.cout, Taps: offsets, Rows: c.rows, Cols: c.cols,
		XBase: x.base(), XChan: x.chanStride(), XRow: c.stride * x.rowStride(), XPix: c.stride * Lanes,
		DstBase: dst.base(), DstChan: dst.chanStride(), DstRow: dst.rowStride(), DstPix: Lanes,
	})
	return dst, x, w, bias, s, taps
}

func (c convCase) run(seed uint64, value func(*rand.Rand) float32) (dst buffer) {
	dst, x, w, bias, s, taps := c.build(seed, value)
	packed := make([]float32, PackedLen(c.cout, c.cin, len(taps)))
	PackConv(packed, w, c.cout, c.cin, taps, len(taps), false)
	Conv(dst.data, x.data, packed, bias, s, c.accumulate)
	return dst
}

func convCases() []convCase {
	var cases []convCase
	for cout := 1; cout <= 17; cout++ {
		for _, kernel := range []int{1, 3} {
			n := len(cases)
			c := convCase{cin: 1 + n%4, cout: cout, kernel: kernel, stride: 1 + n/3%2, rows: 1 + n%3, cols: 1 + n*5%11}
			for mode := range 3 {
				c.bias, c.accumulate = mode == 1, mode == 2
				cases = append(cases, c)
				c.cols++
			}
		}
	}
	return append(cases,
		convCase{cin: 9, cout: 8, kernel: 3, stride: 1, rows: 7, cols: 7, bias: true},
		convCase{cin: 2, cout: 3, kernel: 5, stride: 2, rows: 3, cols: 3},
		convCase{cin: 3, cout: 16, kernel: 1, stride: 1, rows: 20, cols: 20},
		// blocks in the first-level cache, with all of k and with parts of it
		convCase{cin: 2, cout: 37, kernel: 3, stride: 1, rows: 3, cols: 14, bias: true},
		convCase{cin: 50, cout: 33, kernel: 3, stride: 1, rows: 2, cols: 5, bias: true},
		convCase{cin: 50, cout: 32, kernel: 3, stride: 2, rows: 1, cols: 4, accumulate: true},
		convCase{cin: 230, cout: 40, kernel: 1, stride: 1, rows: 1, cols: 7})
}

func TestConvLevelsAgree(t *testing.T) {
	levels := fastLevels(t)
	for i, c := range convCases() {
		for kind, value := range map[string]func(*rand.Rand) float32{"normal": normal, "special": special} {
			use(t, "portable")
			want := c.run(uint64(i), value)
			for _, level := range levels {
				use(t, level)
				got := c.run(uint64(i), value)
				sameBits(t, fmt.Sprintf("%s, %s values, %v", level, kind, c), want.data, got.data)
				got.check(t)
				if kind == "normal" {
					got.haloIntact(t)
				}
			}
		}
	}
}

// exact is the convolution in float64 at one place of dst, and the sum of its
// terms' sizes, by which an error is to be judged. before is dst as it was.
func (c convCase) exact(x, dst buffer, before, w, bias []float32, o, y, xx, lane int) (sum, size float64) {
	if bias != nil {
		sum = float64(bias[o])
	}
	if c.accumulate {
		sum = float64(before[dst.base()+o*dst.chanStride()+y*dst.rowStride()+xx*Lanes+lane])
	}
	size = math.Abs(sum)
	taps := c.kernel * c.kernel
	for ic := range c.cin {
		for t := range taps {
			iy, ix := y*c.stride+t/c.kernel-c.kernel/2, xx*c.stride+t%c.kernel-c.kernel/2
			if iy >= 0 && ix >= 0 && iy < x.e.H && ix < x.e.W {
				term := float64(*x.at(ic, iy, ix, lane)) * float64(w[(o*c.cin+ic)*taps+t])
				sum, size = sum+term, size+math.Abs(term)
			}
		}
	}
	return sum, size
}

// TestConvReference holds the convolution to the sum in float64.
func TestConvReference(t *testing.T) {
	for i, c := range convCases() {
		dst, x, w, bias, s, taps := c.build(uint64(i), normal)
		before := append([]float32(nil), dst.data...)
		packed := make([]float32, PackedLen(c.cout, c.cin, len(taps)))
		PackConv(packed, w, c.cout, c.cin, taps, len(taps), false)
		Conv(dst.data, x.data, packed, bias, s, c.accumulate)
		dst.each(func(o, y, xx, l int, got *float32) {
			sum, size := c.exact(x, dst, before, w, bias, o, y, xx, l)
			if diff := math.Abs(float64(*got) - sum); !(diff <= 3e-7*size) {
				t.Fatalf("%v: %v, want %v, of terms of size %v", c, *got, sum, size)
			}
		})
	}
}

// TestPackTransposed packs the backward pass by data: outputs and inputs
// exchanged, taps chosen and ordered.
func TestPackTransposed(t *testing.T) {
	const cin, cout, kernel = 3, 11, 4 // of the operation: cout are the forward inputs
	w := make([]float32, cin*cout*kernel)
	for i := range w {
		w[i] = float32(i)
	}
	taps := []int32{3, 1}
	packed := make([]float32, PackedLen(cout, cin, len(taps)))
	PackConv(packed, w, cout, cin, taps, kernel, true)
	n := 0
	for _, tile := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9}, {10}} {
		for i := range cin {
			for _, tap := range taps {
				for _, o := range tile {
					if want := w[(i*cout+o)*kernel+int(tap)]; packed[n] != want {
						t.Fatalf("element %d is %v, want %v", n, packed[n], want)
					}
					n++
				}
			}
		}
	}
}

func TestConvMisusePanics(t *testing.T) {
	c := convCase{cin: 2, cout: 3, kernel: 3, stride: 1, rows: 4, cols: 4, bias: true}
	dst, x, _, bias, s, taps := c.build(1, normal)
	w := make([]float32, PackedLen(3, 2, len(taps)))
	for name, f := range map[string]func(){
		"short x":     func() { Conv(dst.data, x.data[:s.xLen-1], w, bias, s, false) },
		"short dst":   func() { Conv(dst.data[:s.dstLen-1], x.data, w, bias, s, false) },
		"short w":     func() { Conv(dst.data, x.data, w[1:], bias, s, false) },
		"short bias":  func() { Conv(dst.data, x.data, w, bias[1:], s, false) },
		"both starts": func() { Conv(dst.data, x.data, w, bias, s, true) },
		"before x":    func() { NewConvSpec(ConvGeometry{Cin: 1, Cout: 1, Taps: []int32{-16}, Rows: 1, Cols: 1}) },
		"large offset": func() {
			NewConvSpec(ConvGeometry{Cin: 2, Cout: 1, Taps: []int32{0}, Rows: 1, Cols: 1, XChan: math.MaxInt32 + 1})
		},
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
