package images

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"strings"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
	"golang.org/x/text/unicode/norm"
)

// Grid is a picture of many images: labelled rows, and panels side by side
// that share them.
type Grid struct {
	Title     string
	RowLabels []string
	Panels    []Panel
	Scale     int // each pixel becomes Scale x Scale
}

// Panel is one block of columns, with an entry in Rows for each row label.
// Rows may have different lengths.
type Panel struct {
	Title string
	Rows  [][]Image
}

// Layout, in pixels of the picture.
const (
	margin     = 10
	gap        = 2 // between images
	panelGap   = 18
	lineHeight = 18
	baseline   = 13
	glyph      = 7 // width of a character
)

var (
	paper = color.RGBA{255, 255, 255, 255}
	ink   = color.RGBA{32, 32, 32, 255}
	frame = color.RGBA{224, 224, 224, 255}
)

// Write renders the grid into a PNG file.
func (g Grid) Write(path string) error { return writePNG(path, g.render()) }

func (g Grid) render() *image.RGBA {
	h, w := g.cell()
	labels, rows := 0, legible(g.RowLabels)
	for _, l := range rows {
		labels = max(labels, textWidth(l)+glyph)
	}
	top := margin + 2*lineHeight // title and panel titles
	left := margin + labels
	x := left
	var starts []int
	for _, p := range g.Panels {
		starts = append(starts, x)
		x += max(p.columns()*(w+gap)-gap, textWidth(p.Title)) + panelGap
	}
	width := max(x-panelGap, margin+textWidth(g.Title)) + margin
	height := top + len(g.RowLabels)*(h+gap) - gap + margin

	out := image.NewRGBA(image.Rect(0, 0, width, max(height, top+margin)))
	draw.Draw(out, out.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)
	text(out, margin, margin+baseline, g.Title)
	for i, label := range rows {
		text(out, margin, top+i*(h+gap)+h/2+baseline/2-1, label)
	}
	for i, p := range g.Panels {
		text(out, starts[i], margin+lineHeight+baseline, p.Title)
		for r, row := range p.Rows {
			for c, m := range row {
				g.paste(out, starts[i]+c*(w+gap), top+r*(h+gap), m)
			}
		}
	}
	return out
}

func (p Panel) columns() (n int) {
	for _, row := range p.Rows {
		n = max(n, len(row))
	}
	return n
}

// cell is the height and width that the largest image needs.
func (g Grid) cell() (h, w int) {
	for _, p := range g.Panels {
		for _, row := range p.Rows {
			for _, m := range row {
				h, w = max(h, m.H*g.Scale), max(w, m.W*g.Scale)
			}
		}
	}
	return h, w
}

// paste enlarges m by repeating pixels, with a frame where the gap is.
func (g Grid) paste(out *image.RGBA, x0, y0 int, m Image) {
	m.check()
	area := image.Rect(x0, y0, x0+m.W*g.Scale, y0+m.H*g.Scale)
	draw.Draw(out, area.Inset(-1), image.NewUniform(frame), image.Point{}, draw.Src)
	for y := range m.H * g.Scale {
		for x := range m.W * g.Scale {
			out.SetRGBA(x0+x, y0+y, m.at(x/g.Scale, y/g.Scale))
		}
	}
}

// legible are labels in the letters that the pictures' font has, which are
// ASCII's: without accents and, where that is not enough, by their number.
func legible(labels []string) []string {
	out := make([]string, len(labels))
	for i, label := range labels {
		out[i] = strings.Map(func(r rune) rune {
			if unicode.Is(unicode.Mn, r) {
				return -1
			}
			return r
		}, norm.NFD.String(label))
		if strings.ContainsFunc(out[i], func(r rune) bool { return r < ' ' || r > '~' }) {
			out[i] = fmt.Sprintf("class %d", i)
		}
	}
	return out
}

func textWidth(s string) int { return glyph * len([]rune(s)) }

func text(out draw.Image, x, y int, s string) { coloured(out, x, y, s, ink) }

func coloured(out draw.Image, x, y int, s string, c color.RGBA) {
	d := font.Drawer{Dst: out, Src: image.NewUniform(c), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(s)
}
