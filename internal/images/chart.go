package images

import (
	"image"
	"image/color"
	"image/draw"
	"math"
	"strconv"
)

// Chart is a picture of curves over one horizontal axis that starts at zero, as
// the vertical one does.
type Chart struct {
	Title, X, Y string // what the picture and its axes show
	Curves      []Curve
}

// Curve is a line through points of rising X. The first curve of a chart is blue,
// the second orange, the third green.
type Curve struct {
	Name string
	X, Y []float64 // of one length; a Y that is no finite number is left out
}

// Layout of a chart, in pixels.
const (
	plotWidth, plotHeight = 640, 400
	tick                  = 5
)

var curveColours = []color.RGBA{{31, 119, 180, 255}, {255, 127, 14, 255}, {44, 160, 44, 255}}

// Write renders the chart into a PNG file.
func (c Chart) Write(path string) error { return writePNG(path, c.render()) }

func (c Chart) render() *image.RGBA {
	maxX, maxY := 0.0, 0.0
	for _, curve := range c.Curves {
		for i, y := range curve.Y {
			if finite(y) {
				maxX, maxY = math.Max(maxX, curve.X[i]), math.Max(maxY, y)
			}
		}
	}
	stepX, stepY := tickStep(maxX), tickStep(maxY)
	rangeX, rangeY := stepX*math.Ceil(maxX/stepX), stepY*math.Ceil(maxY/stepY)
	left, top := margin+8*glyph, margin+lineHeight*(3+len(c.Curves))
	out := image.NewRGBA(image.Rect(0, 0, left+plotWidth+margin+4*glyph, top+plotHeight+2*lineHeight+margin))
	draw.Draw(out, out.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)
	text(out, margin, margin+baseline, c.Title)
	place := func(x, y float64) (float64, float64) {
		return float64(left) + x/rangeX*plotWidth, float64(top+plotHeight) - y/rangeY*plotHeight
	}
	for x := 0.0; x <= rangeX*(1+1e-9); x += stepX {
		px, py := place(x, 0)
		line(out, px, py+tick, px, float64(top), frame)
		label := strconv.FormatFloat(x, 'g', 6, 64)
		text(out, int(px)-textWidth(label)/2, int(py)+lineHeight, label)
	}
	for y := 0.0; y <= rangeY*(1+1e-9); y += stepY {
		px, py := place(0, y)
		line(out, px-tick, py, float64(left+plotWidth), py, frame)
		label := strconv.FormatFloat(y, 'g', 4, 64)
		text(out, left-tick-2-textWidth(label), int(py)+baseline/2, label)
	}
	text(out, left+plotWidth-textWidth(c.X), top+plotHeight+2*lineHeight, c.X)
	text(out, margin, top-lineHeight/2-gap, c.Y)
	for i, curve := range c.Curves {
		colour := curveColours[i%len(curveColours)]
		at := margin + lineHeight*(i+1) + baseline
		line(out, float64(left), float64(at-4), float64(left+30), float64(at-4), colour)
		text(out, left+36, at, curve.Name)
		for j := 1; j < len(curve.X); j++ {
			if finite(curve.Y[j-1]) && finite(curve.Y[j]) {
				x0, y0 := place(curve.X[j-1], curve.Y[j-1])
				x1, y1 := place(curve.X[j], curve.Y[j])
				line(out, x0, y0, x1, y1, colour)
			}
		}
	}
	return out
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// tickStep returns 1, 2 or 5 times a power of ten, at most ten of which span to.
func tickStep(to float64) float64 {
	if to <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(to/10)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= to/10 {
			return f * power
		}
	}
	return 10 * power
}

// line draws a line two pixels wide.
func line(out *image.RGBA, x0, y0, x1, y1 float64, c color.RGBA) {
	n := math.Ceil(math.Max(math.Abs(x1-x0), math.Abs(y1-y0))) + 1
	for i := 0.0; i <= n; i++ {
		x, y := int(math.Round(x0+(x1-x0)*i/n)), int(math.Round(y0+(y1-y0)*i/n))
		out.SetRGBA(x, y, c)
		if c != frame {
			out.SetRGBA(x, y+1, c)
		}
	}
}
