package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// weightGradient is the per-example gradient of a 3x3 convolution: o output
// channels of a, the input's channels and taps of b.
func weightGradient(o, channels, rows, cols, stride int, seed uint64, value func(*rand.Rand) float32) (dst []float32, check func(*testing.T), a, b buffer, s *ProductSpec) {
	a = newBuffer(Extent{o, rows, cols}, int(seed%2)).random(seed, value)
	b = newBuffer(Extent{channels, (rows-1)*stride + 1, (cols-1)*stride + 1}, 1).random(seed+1, value).zeroHalo()
	s = &ProductSpec{
		Rows: rows, Cols: cols, ARow: a.rowStride(), APix: Lanes,
		BRow: stride * b.rowStride(), BPix: stride * Lanes,
	}
	for i := range o {
		s.A = append(s.A, int32(a.base()+i*a.chanStride()))
		s.DstO = append(s.DstO, int32(i*channels*9*Lanes))
	}
	for c := range channels {
		for tap := range 9 {
			s.B = append(s.B, int32(c*b.chanStride()+tap/3*b.rowStride()+tap%3*Lanes))
			s.DstT = append(s.DstT, int32((c*9+tap)*Lanes))
		}
	}
	dst, check = fenced(o * channels * 9 * Lanes)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range dst {
		dst[i] = value(r)
	}
	return dst, check, a, b, s
}

func TestLaneProductLevelsAgree(t *testing.T) {
	levels := fastLevels(t)
	for seed := range uint64(40) {
		o, channels := 1+int(seed%9), 1+int(seed%3)
		rows, cols, stride := 1+int(seed%4), 1+int(seed*3%7), 1+int(seed%2)
		for kind, value := range map[string]func(*rand.Rand) float32{"normal": normal, "special": special} {
			for _, accumulate := range []bool{false, true} {
				use(t, "portable")
				want, _, a, b, s := weightGradient(o, channels, rows, cols, stride, seed, value)
				LaneProduct(want, a.data, b.data, s, accumulate)
				for _, level := range levels {
					use(t, level)
					got, check, a, b, s := weightGradient(o, channels, rows, cols, stride, seed, value)
					LaneProduct(got, a.data, b.data, s, accumulate)
					sameBits(t, fmt.Sprintf("%s, %s values, seed %d, accumulate %v", level, kind, seed, accumulate), want, got)
					check(t)
				}
			}
		}
	}
}

// TestLaneProductTiles covers every tile of rows and columns.
func TestLaneProductTiles(t *testing.T) {
	levels := fastLevels(t)
	for o := 1; o <= 9; o++ {
		for n := 1; n <= 13; n++ {
			make1 := func() ([]float32, []float32, []float32, *ProductSpec) {
				r := rand.New(rand.NewPCG(uint64(o), uint64(n)))
				dst, a, b := aligned(o*n*Lanes), aligned(o*5*Lanes), aligned(n*5*Lanes)
				for _, v := range [][]float32{dst, a, b} {
					for i := range v {
						v[i] = normal(r)
					}
				}
				s := &ProductSpec{Rows: 1, Cols: 5, APix: Lanes, BPix: Lanes}
				for i := range o {
					s.A, s.DstO = append(s.A, int32(i*5*Lanes)), append(s.DstO, int32(i*n*Lanes))
				}
				for i := range n {
					s.B, s.DstT = append(s.B, int32(i*5*Lanes)), append(s.DstT, int32((n-1-i)*Lanes))
				}
				return dst, a, b, s
			}
			for _, accumulate := range []bool{false, true} {
				use(t, "portable")
				want, a, b, s := make1()
				LaneProduct(want, a, b, s, accumulate)
				for _, level := range levels {
					use(t, level)
					got, a, b, s := make1()
					LaneProduct(got, a, b, s, accumulate)
					sameBits(t, fmt.Sprintf("%s, %dx%d", level, o, n), want, got)
				}
			}
		}
	}
}

// TestLaneProductLargePlanes covers planes of more than one block, in rows and
// in one row.
func TestLaneProductLargePlanes(t *testing.T) {
	levels := fastLevels(t)
	for i, c := range []struct{ o, rows, cols int }{{3, 15, 9}, {4, 5, 33}, {2, 1, 331}, {1, 700, 1}, {5, 2, 110}} {
		for _, accumulate := range []bool{false, true} {
			use(t, "portable")
			want, _, a, b, s := weightGradient(c.o, 1, c.rows, c.cols, 1+i%2, uint64(i), normal)
			LaneProduct(want, a.data, b.data, s, accumulate)
			for _, level := range levels {
				use(t, level)
				got, check, a, b, s := weightGradient(c.o, 1, c.rows, c.cols, 1+i%2, uint64(i), normal)
				LaneProduct(got, a.data, b.data, s, accumulate)
				sameBits(t, fmt.Sprintf("%s, %+v, accumulate %v", level, c, accumulate), want, got)
				check(t)
			}
		}
	}
}

func TestLaneProductReference(t *testing.T) {
	const o, channels, rows, cols, stride = 3, 2, 4, 5, 2
	dst, _, a, b, s := weightGradient(o, channels, rows, cols, stride, 3, normal)
	before := append([]float32(nil), dst...)
	LaneProduct(dst, a.data, b.data, s, true)
	for i := range o {
		for c := range channels {
			for tap := range 9 {
				for l := range Lanes {
					n := ((i*channels+c)*9+tap)*Lanes + l
					want := float64(before[n])
					for y := range rows {
						for x := range cols {
							iy, ix := y*stride+tap/3-1, x*stride+tap%3-1
							if iy >= 0 && ix >= 0 && iy < b.e.H && ix < b.e.W {
								want += float64(*a.at(i, y, x, l)) * float64(*b.at(c, iy, ix, l))
							}
						}
					}
					near(t, "gradient", want, dst[n], 2e-6)
				}
			}
		}
	}
}

// TestLaneProductEmptyPlane gives zero, or leaves dst.
func TestLaneProductEmptyPlane(t *testing.T) {
	s := &ProductSpec{A: []int32{0}, B: []int32{0}, DstO: []int32{0}, DstT: []int32{0}}
	dst := make([]float32, Lanes)
	dst[3] = 1
	LaneProduct(dst, nil, nil, s, true)
	if dst[3] != 1 {
		t.Error("accumulating nothing changed dst")
	}
	LaneProduct(dst, nil, nil, s, false)
	if dst[3] != 0 {
		t.Error("a sum over nothing is not zero")
	}
}

func TestLaneProductMisusePanics(t *testing.T) {
	for name, change := range map[string]func(s *ProductSpec){
		"a beyond":      func(s *ProductSpec) { s.A[0] += Lanes },
		"b beyond":      func(s *ProductSpec) { s.Cols = 6 },
		"before":        func(s *ProductSpec) { s.B[0] = -1 },
		"dst":           func(s *ProductSpec) { s.DstT[0] += 1 },
		"tables":        func(s *ProductSpec) { s.DstO = nil },
		"negative step": func(s *ProductSpec) { s.APix = -Lanes },
	} {
		t.Run(name, func(t *testing.T) {
			s := &ProductSpec{A: []int32{0}, B: []int32{0}, DstO: []int32{0}, DstT: []int32{0},
				Rows: 1, Cols: 5, APix: Lanes, BPix: Lanes}
			change(s)
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			LaneProduct(make([]float32, Lanes), make([]float32, 5*Lanes), make([]float32, 5*Lanes), s, false)
		})
	}
}
