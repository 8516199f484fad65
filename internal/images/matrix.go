package images

import (
	"image"
	"image/color"
	"image/draw"
	"math"
	"strconv"
)

// Matrix is a picture of a confusion matrix. Each row's cells are the darker the
// larger their share of the row.
type Matrix struct {
	Title, Rows, Columns string // what the picture, its rows and its columns are
	Labels               []string
	Counts               [][]int // square, one row and one column for each label
}

// Layout of a matrix: the picture's area for cells, and the sides of a cell.
const (
	matrixSide              = 720
	largestCell, leastCell  = 46, 4
	longestLabel            = 16 // characters
	darkest                 = 0.25
	leastCellOfAllLabels    = lineHeight - 4
	leastPixelsAroundCounts = 4
)

// LargestMatrix is the number of classes up to which cells can be seen.
const LargestMatrix = matrixSide / leastCell

// Write renders the matrix into a PNG file.
func (m Matrix) Write(path string) error { return writePNG(path, m.render()) }

func (m Matrix) render() *image.RGBA {
	n, cell := len(m.Labels), m.cell()
	labels := make([]string, n)
	width := 0
	for i, name := range m.Labels {
		labels[i] = shortLabel(name, i)
		width = max(width, textWidth(labels[i])+glyph)
	}
	left, top := margin+lineHeight+width, margin+2*lineHeight+width
	out := image.NewRGBA(image.Rect(0, 0, max(left+n*cell, margin+textWidth(m.Title), left+textWidth(m.Columns))+margin, max(top+n*cell, top+textWidth(m.Rows))+margin))
	draw.Draw(out, out.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)
	text(out, margin, margin+baseline, m.Title)
	text(out, left, margin+lineHeight+baseline, m.Columns)
	upright(out, margin, top+textWidth(m.Rows), m.Rows)
	every := (leastCellOfAllLabels + cell - 1) / cell // with smaller cells some labels are left out
	for i, label := range labels {
		if i%every == 0 {
			text(out, left-glyph/2-textWidth(label), top+i*cell+cell/2+baseline/2-1, label)
			upright(out, left+i*cell+cell/2-baseline/2, top-glyph/2, label)
		}
	}
	for i, row := range m.Counts {
		sum := 0
		for _, v := range row {
			sum += v
		}
		for j, v := range row {
			m.paint(out, image.Rect(left+j*cell, top+i*cell, left+(j+1)*cell, top+(i+1)*cell), v, sum)
		}
	}
	return out
}

// cell is the side of a cell.
func (m Matrix) cell() int {
	return max(leastCell, min(largestCell, matrixSide/max(1, len(m.Labels))))
}

// paint draws one cell: its colour by the share of its row and, where it fits, its
// count.
func (m Matrix) paint(out *image.RGBA, area image.Rectangle, count, row int) {
	share := float64(count) / float64(max(1, row))
	fill := area
	if area.Dx() > 2*leastCell {
		draw.Draw(out, area, image.NewUniform(frame), image.Point{}, draw.Src)
		fill = area.Inset(1)
	}
	draw.Draw(out, fill, image.NewUniform(shade(share)), image.Point{}, draw.Src)
	label := strconv.Itoa(count)
	if count == 0 || textWidth(label)+leastPixelsAroundCounts > area.Dx() || lineHeight > area.Dy() {
		return
	}
	colour := ink
	if share > darkest {
		colour = paper
	}
	coloured(out, area.Min.X+(area.Dx()-textWidth(label))/2, area.Min.Y+area.Dy()/2+baseline/2-1, label, colour)
}

// shade goes from white to a dark blue, by the root of the share: a few errors
// are seen beside many hits.
func shade(share float64) color.RGBA {
	s := math.Sqrt(share)
	mix := func(light, dark float64) uint8 { return uint8(math.Round(light + s*(dark-light))) }
	return color.RGBA{mix(255, 8), mix(255, 48), mix(255, 107), 255}
}

// shortLabel is a class's name if the picture's font has it, else its number.
func shortLabel(name string, i int) string {
	runes := []rune(name)
	for _, r := range runes {
		if r < ' ' || r > '~' {
			return "#" + strconv.Itoa(i)
		}
	}
	if len(runes) > longestLabel {
		return string(runes[:longestLabel-2]) + ".."
	}
	return name
}

// upright writes s from (x, y) upwards.
func upright(out *image.RGBA, x, y int, s string) {
	line := image.NewRGBA(image.Rect(0, 0, textWidth(s), lineHeight))
	text(line, 0, baseline-2, s)
	for i := range line.Bounds().Dx() {
		for j := range line.Bounds().Dy() {
			if c := line.RGBAAt(i, j); c.A > 0 {
				out.SetRGBA(x+j, y-i, c)
			}
		}
	}
}
