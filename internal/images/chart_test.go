package images

import (
	"image/color"
	"math"
	"testing"
)

// A chart's curves are where their points are: the colour of each is found at the
// place of its last point, and nothing is drawn for what is not finite.
func TestChartDrawsCurves(t *testing.T) {
	c := Chart{Title: "cost", X: "steps", Y: "epsilon", Curves: []Curve{
		{"low", []float64{0, 50, 100}, []float64{0, 1, 2}},
		{"high", []float64{0, 50, 100}, []float64{0, 4, 10}},
		{"nothing", []float64{0, 100}, []float64{math.Inf(1), math.NaN()}},
	}}
	out := c.render()
	left, top := margin+8*glyph, margin+lineHeight*6
	at := func(x, y float64) color.RGBA {
		return out.RGBAAt(left+int(x/100*plotWidth), top+plotHeight-int(y/10*plotHeight))
	}
	if got := at(100, 2); got != curveColours[0] {
		t.Errorf("the low curve's end is %v", got)
	}
	if got := at(100, 10); got != curveColours[1] {
		t.Errorf("the high curve's end is %v", got)
	}
	inPlot := map[color.RGBA]int{}
	for y := top; y < top+plotHeight; y++ {
		for x := left; x < left+plotWidth; x++ {
			inPlot[out.RGBAAt(x, y)]++
		}
	}
	if inPlot[curveColours[0]] < plotWidth/2 || inPlot[curveColours[2]] != 0 {
		t.Errorf("colours in the plot: %v", inPlot)
	}
}

func TestTickStep(t *testing.T) {
	for to, want := range map[float64]float64{0: 1, 10: 1, 11: 2, 88: 10, 0.3: 0.05, 14062: 2000} {
		if got := tickStep(to); math.Abs(got-want) > 1e-9*want {
			t.Errorf("up to %v: a tick every %v, want %v", to, got, want)
		}
	}
}
