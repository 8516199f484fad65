package dataset

import (
	"bytes"
	"math"
	"testing"
)

func greyImage(t *testing.T, h, w int, pixels ...uint8) *Memory {
	t.Helper()
	m, err := NewMemory(1, h, w, ab, pixels, []uint16{1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func transformed(t *testing.T, d Dataset, how Transform) *Memory {
	t.Helper()
	m, err := how.Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPadAndCrop(t *testing.T) {
	d := greyImage(t, 2, 3, 1, 2, 3, 4, 5, 6)
	p := transformed(t, d, Transform{Pad: [2]int{4, 4}})
	if want := []uint8{0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 0, 0, 0, 0}; !bytes.Equal(p.Image(0), want) {
		t.Errorf("padded: %v", p.Image(0))
	}
	if p.Label(0) != 1 {
		t.Error("padding lost the label")
	}
	if c := transformed(t, d, Transform{Crop: [2]int{1, 1}}); !bytes.Equal(c.Image(0), []uint8{2}) {
		t.Errorf("cropped: %v", c.Image(0))
	}
	colour := sample(t, 3, 2, 5, 7)
	padded := transformed(t, colour, Transform{Pad: [2]int{9, 10}})
	if back := transformed(t, padded, Transform{Crop: [2]int{5, 7}}); !bytes.Equal(back.pixels, colour.pixels) {
		t.Error("a crop does not undo a pad")
	}
}

func TestResizeByHand(t *testing.T) {
	for _, c := range []struct {
		name string
		in   *Memory
		h, w int
		want []uint8
	}{
		{"the same", greyImage(t, 2, 2, 9, 8, 7, 6), 2, 2, []uint8{9, 8, 7, 6}},
		{"halves", greyImage(t, 2, 4, 0, 10, 20, 31, 10, 20, 40, 50), 1, 2, []uint8{10, 35}},
		{"3 to 2 by area", greyImage(t, 1, 3, 30, 60, 90), 1, 2, []uint8{40, 80}},
		{"2 to 4 by line", greyImage(t, 1, 2, 0, 100), 1, 4, []uint8{0, 25, 75, 100}},
		{"1 to 3", greyImage(t, 1, 1, 42), 3, 3, bytes.Repeat([]uint8{42}, 9)},
		{"both", greyImage(t, 2, 1, 100, 50), 1, 3, []uint8{75, 75, 75}},
	} {
		if got := transformed(t, c.in, Transform{Resize: [2]int{c.h, c.w}}).Image(0); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestResizeAgainstIntegration shrinks by the definition: the mean of the
// piecewise constant image over each output pixel, summed on a fine grid that
// divides both sizes.
func TestResizeAgainstIntegration(t *testing.T) {
	d := sample(t, 3, 2, 10, 6)
	const h, w = 4, 5
	got := transformed(t, d, Transform{Resize: [2]int{h, w}})
	for i := range d.Len() {
		for ch := range 3 {
			for y := range h {
				for x := range w {
					var sum float64 // 10 fine rows and 6 fine columns a pixel
					for fy := y * 10; fy < (y+1)*10; fy++ {
						for fx := x * 6; fx < (x+1)*6; fx++ {
							sum += float64(d.Image(i)[(ch*10+fy/h)*6+fx/w])
						}
					}
					want := math.Floor(sum/60 + 0.5)
					if g := float64(got.Image(i)[(ch*h+y)*w+x]); g != want {
						t.Fatalf("image %d at %d,%d,%d: %v, want %v", i, ch, y, x, g, want)
					}
				}
			}
		}
	}
}

func TestGreyAndRGB(t *testing.T) {
	m, err := NewMemory(3, 1, 2, ab, []uint8{255, 10, 255, 20, 255, 30}, []uint16{0})
	if err != nil {
		t.Fatal(err)
	}
	if g := transformed(t, m, Transform{Channels: Grey}); !bytes.Equal(g.Image(0), []uint8{255, 18}) { // 0.299·10+0.587·20+0.114·30 = 18.15
		t.Errorf("grey: %v", g.Image(0))
	}
	if c := transformed(t, m, Transform{Channels: RGB}); !bytes.Equal(c.Image(0), m.Image(0)) {
		t.Errorf("RGB of RGB: %v", c.Image(0))
	}
	g := greyImage(t, 1, 2, 3, 200)
	if c := transformed(t, g, Transform{Channels: RGB}); !bytes.Equal(c.Image(0), []uint8{3, 200, 3, 200, 3, 200}) {
		t.Errorf("RGB of grey: %v", c.Image(0))
	}
	if back := transformed(t, transformed(t, g, Transform{Channels: RGB}), Transform{Channels: Grey}); !bytes.Equal(back.Image(0), g.Image(0)) {
		t.Errorf("grey of RGB of grey: %v", back.Image(0))
	}
}
