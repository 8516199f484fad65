package augment

import (
	"math"
	"slices"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
)

func ramp(shape device.Shape) []float32 {
	src := make([]float32, shape.Len())
	for i := range src {
		src[i] = float32(i*i%17) / 8
	}
	return src
}

func TestWarpByKnownMaps(t *testing.T) {
	shape := device.Shape{C: 2, H: 5, W: 5}
	src, dst := ramp(shape), make([]float32, shape.Len())
	at := func(img []float32, c, y, x int) float32 {
		y, x = min(max(y, 0), 4), min(max(x, 0), 4)
		return img[c*25+y*5+x]
	}
	for name, c := range map[string]struct {
		angle, scale, dx, dy float64
		from                 func(y, x int) (int, int)
	}{
		"nothing":        {0, 1, 0, 0, func(y, x int) (int, int) { return y, x }},
		"right and down": {0, 1, 1, 2, func(y, x int) (int, int) { return y - 2, x - 1 }},
		"quarter turn":   {math.Pi / 2, 1, 0, 0, func(y, x int) (int, int) { return 4 - x, y }},
		"half turn":      {math.Pi, 1, 0, 0, func(y, x int) (int, int) { return 4 - y, 4 - x }},
		"half size":      {0, 0.5, 0, 0, func(y, x int) (int, int) { return 2 + 2*(y-2), 2 + 2*(x-2) }},
	} {
		warp(dst, src, shape, c.angle, c.scale, c.dx, c.dy)
		for ch := range 2 {
			for y := range 5 {
				for x := range 5 {
					fy, fx := c.from(y, x)
					if got, want := at(dst, ch, y, x), at(src, ch, fy, fx); math.Abs(float64(got-want)) > 1e-5 {
						t.Errorf("%s: pixel %d,%d,%d is %v, want %v", name, ch, y, x, got, want)
					}
				}
			}
		}
	}
	warp(dst, src, shape, 0, 1, 0.25, 0)
	if got, want := dst[2], src[2]*0.75+src[1]*0.25; math.Abs(float64(got-want)) > 1e-6 {
		t.Errorf("a quarter pixel's shift gives %v, want %v", got, want)
	}
}

func TestApplyStaysInItsRanges(t *testing.T) {
	shape := device.Shape{C: 1, H: 9, W: 9}
	src, dst := ramp(shape), make([]float32, shape.Len())
	d := draws.New(draws.SeedKey(1, "augment"))
	var seen [][]float32
	for id := range uint64(50) {
		Digits().Apply(dst, src, shape, d.Stream(id, 0, draws.Augment))
		if lo, hi := slices.Min(dst), slices.Max(dst); lo < slices.Min(src)-1e-6 || hi > slices.Max(src)+1e-6 {
			t.Fatalf("values in [%v, %v]: interpolation went beyond the source's", lo, hi)
		}
		for _, other := range seen {
			if slices.Equal(other, dst) {
				t.Fatal("two draws gave the same image")
			}
		}
		seen = append(seen, slices.Clone(dst))
	}
	Affine{}.Apply(dst, src, shape, d.Stream(0, 0, draws.Augment))
	if !slices.Equal(dst, src) {
		t.Error("no augmentation changed the image")
	}
}

func TestValidate(t *testing.T) {
	if err := Digits().Validate(); err != nil {
		t.Error(err)
	}
	for _, a := range []Affine{{Degrees: -1}, {Scale: 1}, {Shift: math.NaN()}} {
		if a.Validate() == nil {
			t.Errorf("accepted %+v", a)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	shape := device.Shape{C: 1, H: 28, W: 28}
	src, dst := ramp(shape), make([]float32, shape.Len())
	d := draws.New(draws.SeedKey(1, "augment"))
	for i := range b.N {
		Digits().Apply(dst, src, shape, d.Stream(uint64(i), 0, draws.Augment))
	}
}
