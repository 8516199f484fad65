package images

import (
	"image"
	"strings"
	"testing"
)

// TestMatrixShowsEveryCell finds each count's shade where its row and column are,
// and the labels beside them.
//
// Tried: rows and columns exchanged in render, and the label of a class left out.
func TestMatrixShowsEveryCell(t *testing.T) {
	m := Matrix{
		Title: "confusion", Rows: "true", Columns: "predicted",
		Labels: []string{"ring", "a star with a long name", "étoile"},
		Counts: [][]int{{9, 1, 0}, {0, 0, 4}, {0, 0, 0}},
	}
	out := m.render()
	cell := m.cell()
	left := margin + lineHeight + textWidth("a star with a ..") + glyph
	top := left + lineHeight
	for i, row := range [][]float64{{0.9, 0.1, 0}, {0, 0, 1}, {0, 0, 0}} {
		for j, share := range row {
			if got := out.RGBAAt(left+j*cell+2, top+i*cell+2); got != shade(share) {
				t.Errorf("cell %d, %d is %v, want %v", i, j, got, shade(share))
			}
		}
	}
	dark := func(area image.Rectangle) (n int) {
		for y := area.Min.Y; y < area.Max.Y; y++ {
			for x := area.Min.X; x < area.Max.X; x++ {
				if out.RGBAAt(x, y) == ink {
					n++
				}
			}
		}
		return n
	}
	for i := range m.Labels {
		if n := dark(image.Rect(margin+lineHeight, top+i*cell, left, top+(i+1)*cell)); n < 10 {
			t.Errorf("row %d has no label: %d dark pixels", i, n)
		}
		if n := dark(image.Rect(left+i*cell, margin+2*lineHeight, left+(i+1)*cell, top)); n < 10 {
			t.Errorf("column %d has no label: %d dark pixels", i, n)
		}
	}
	if n := dark(image.Rect(left+cell, top, left+2*cell, top+cell)); n < 3 {
		t.Errorf("the count 1 is not written: %d dark pixels", n)
	}
}

// TestMatricesOfAllSizes: many classes make small cells, and none a picture.
func TestMatricesOfAllSizes(t *testing.T) {
	for _, n := range []int{0, 1, 2, 40, LargestMatrix} {
		m := Matrix{Title: "t", Rows: "r", Columns: "c", Labels: make([]string, n)}
		for i := range n {
			m.Labels[i] = strings.Repeat("x", i%20)
			m.Counts = append(m.Counts, make([]int, n))
			m.Counts[i][i] = 1000
		}
		if b := m.render().Bounds(); b.Dx() > 2*matrixSide || b.Empty() {
			t.Errorf("%d classes: %v", n, b)
		}
	}
}
