package augment

import (
	"math"
	"slices"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
)

// character is dark paper with some ink on a few pixels of a corner.
func character(shape device.Shape) []float32 {
	img := slices.Repeat([]float32{-1}, shape.Len())
	for y := 1; y < 5; y++ {
		for x := 2; x < 5; x++ {
			img[y*shape.W+x] = float32((y*3+x)%4)/4 + 0.25
		}
	}
	return img
}

// TestInkGoesToTheMiddle: without any draw the ink's box is centred and has the
// size asked for. (Tried with the box's middle off by one, and with the map
// instead of its inverse.)
func TestInkGoesToTheMiddle(t *testing.T) {
	shape := device.Shape{C: 1, H: 16, W: 16}
	src, dst := character(shape), make([]float32, shape.Len())
	s := draws.New(draws.SeedKey(1, "x")).Stream(0, 0, draws.Augment)
	Handwriting{InkBox: 0.25, Ink: 1}.Apply(dst, src, shape, s)
	// 4 x 3 pixels stay as large; 4 rows lie evenly about the middle, 3 columns half a pixel aside.
	for y := range 4 {
		for x := range 3 {
			left, right := dst[(6+y)*16+6+x], dst[(6+y)*16+7+x]
			want := src[(1+y)*16+2+x]
			if got := left; x == 0 && math.Abs(float64(got-(want-1)/2)) > 1e-6 {
				t.Errorf("row %d, left edge %v, want the mean of paper and %v", y, got, want)
			}
			if x < 2 {
				if next := src[(1+y)*16+3+x]; math.Abs(float64(right-(want+next)/2)) > 1e-6 {
					t.Errorf("row %d, column %d: %v, want the mean of %v and %v", y, x, right, want, next)
				}
			}
		}
	}
	Handwriting{InkBox: 0.75, Ink: 1}.Apply(dst, src, shape, s)
	// Interpolation reaches up to a magnified pixel farther on both sides.
	if _, _, height, width := inkBox(dst, shape); height < 12 || height > 15 || width < 9 || width > 12 {
		t.Errorf("4 x 3 pixels at three times the size measure %d x %d", height, width)
	}
}

// TestThickenByPlainDefinition compares with the definition, pixel by pixel.
func TestThickenByPlainDefinition(t *testing.T) {
	shape := device.Shape{C: 2, H: 9, W: 7}
	for _, radius := range []float64{0, 0.4, 1, 1.7, 3} {
		src := ramp(shape)
		for i := range src {
			src[i] = src[i]/2 - 1
		}
		got := slices.Clone(src)
		thicken(got, shape, radius)
		for c := range 2 {
			for y := range 9 {
				for x := range 7 {
					want := 0.0
					for y2 := range 9 {
						for x2 := range 7 {
							share := min(1, max(0, 1+radius-math.Hypot(float64(y-y2), float64(x-x2))))
							want = max(want, share*float64(src[c*63+y2*7+x2]+1))
						}
					}
					if v := got[c*63+y*7+x]; math.Abs(float64(v)-(want-1)) > 1e-6 {
						t.Fatalf("radius %v: pixel %d,%d,%d is %v, want %v", radius, c, y, x, v, want-1)
					}
				}
			}
		}
	}
}

func TestHandwritingStaysInItsRanges(t *testing.T) {
	shape := device.Shape{C: 1, H: 16, W: 16}
	src, dst := character(shape), make([]float32, shape.Len())
	h := Handwriting{InkBox: 0.6, Degrees: 10, Shear: 0.2, Scale: 0.15, Shift: 0.05, Stroke: 1, Ink: 2}
	d := draws.New(draws.SeedKey(1, "handwriting"))
	var seen [][]float32
	for id := range uint64(50) {
		h.Apply(dst, src, shape, d.Stream(id, 0, draws.Augment))
		if slices.Min(dst) < -1 || slices.Max(dst) > 1 {
			t.Fatal("values left [-1, 1]")
		}
		if slices.ContainsFunc(seen, func(other []float32) bool { return slices.Equal(other, dst) }) {
			t.Fatal("two draws gave the same image")
		}
		seen = append(seen, slices.Clone(dst))
	}
	paper := slices.Repeat([]float32{-1}, shape.Len())
	h.Apply(dst, paper, shape, d.Stream(0, 0, draws.Augment))
	if !slices.Equal(dst, paper) {
		t.Error("empty paper got ink")
	}
}

func TestHandwritingValidate(t *testing.T) {
	good := Handwriting{InkBox: 0.7, Ink: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(h *Handwriting){
		func(h *Handwriting) { h.InkBox = 0 },
		func(h *Handwriting) { h.Degrees = -1 },
		func(h *Handwriting) { h.Shear = math.NaN() },
		func(h *Handwriting) { h.Scale = 1 },
		func(h *Handwriting) { h.Stroke = 4 },
		func(h *Handwriting) { h.Ink = 0.5 },
	} {
		bad := good
		change(&bad)
		if bad.Validate() == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
}
