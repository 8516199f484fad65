package drawn

import (
	"github.com/dploda/dploda/dataset"
)

// Shapes returns n drawings of the private figures, of classes 0 to 9 in
// turn. Different seeds give independent drawings.
func Shapes(seed uint64, n int) *dataset.Memory {
	return draw(ShapeNames(), n, func(dst []uint8, class, number int) {
		s := newStream(shapeDomain, seed, uint64(class), uint64(number))
		render(dst, figures[class].strokes, s)
	})
}

// ShapeNames are the private classes.
func ShapeNames() []string {
	names := make([]string, len(figures))
	for i, f := range figures {
		names[i] = f.name
	}
	return names
}

const shapeDomain = 0x5348415045 // keeps seeds of the generators apart

// figure is a private class: closed outlines and a spiral, where a character
// has open strokes.
type figure struct {
	name    string
	strokes []line
}

var figures = []figure{
	{"ring", []line{circle(0.95, 0, 1, 32)}},
	{"triangle", []line{closed(point{0, -1}, point{0.95, 0.75}, point{-0.95, 0.75})}},
	{"square", []line{closed(point{-0.8, -0.8}, point{0.8, -0.8}, point{0.8, 0.8}, point{-0.8, 0.8})}},
	{"star", []line{star(5, 1.1, 0.45)}},
	{"heart", []line{heart()}},
	{"crescent", []line{crescent()}},
	{"hourglass", []line{closed(point{-0.75, -0.95}, point{0.75, -0.95}, point{-0.75, 0.95}, point{0.75, 0.95})}},
	{"spiral", []line{spiral(2.1)}},
	{"arrow", []line{closed(
		point{0, -1.05}, point{0.85, -0.1}, point{0.35, -0.1}, point{0.35, 1}, point{-0.35, 1}, point{-0.35, -0.1}, point{-0.85, -0.1},
	)}},
	{"cross", []line{closed(
		point{-0.35, -1}, point{0.35, -1}, point{0.35, -0.35}, point{1, -0.35}, point{1, 0.35}, point{0.35, 0.35},
		point{0.35, 1}, point{-0.35, 1}, point{-0.35, 0.35}, point{-1, 0.35}, point{-1, -0.35}, point{-0.35, -0.35},
	)}},
}

// closed is the outline of a polygon, its edges cut so that they can bend.
func closed(corners ...point) line {
	const parts = 4
	var l line
	for i, a := range corners {
		b := corners[(i+1)%len(corners)]
		for k := range parts {
			l = append(l, a.plus(b.minus(a).times(float64(k)/parts)))
		}
	}
	return append(l, corners[0])
}

// circle is an arc of n chords between two angles in turns.
func circle(r, from, to float64, n int) line {
	l := make(line, n+1)
	for i := range l {
		l[i] = polar(r, from+mul(to-from, float64(i)/float64(n)))
	}
	return l
}

func star(points int, outer, inner float64) line {
	var corners []point
	for i := range 2 * points {
		r := outer
		if i%2 == 1 {
			r = inner
		}
		corners = append(corners, polar(r, float64(i)/float64(2*points)-0.25))
	}
	return closed(corners...)
}

// heart is the classic curve (16 sin³t, 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t).
func heart() line {
	const n = 36
	l := make(line, n+1)
	for i := range l {
		t := float64(i) / n
		sin, c1 := sincos(t)
		_, c2 := sincos(mul(2, t))
		_, c3 := sincos(mul(3, t))
		_, c4 := sincos(mul(4, t))
		y := mul(13, c1) - mul(5, c2) - mul(2, c3) - c4
		l[i] = point{mul(mul(sin, sin), sin), -(y + 2.5) / 15}
	}
	return l
}

// crescent is a moon: three quarters of a circle and, back between the same
// horns, a flatter arc.
func crescent() line {
	const horn, n = 0.16, 16 // in turns
	outer := circle(1, horn, 1-horn, 24)
	inner := circle(1, 1-horn, horn, n)
	tip := outer[0].x
	for i := range inner {
		inner[i].x = tip + mul(0.42, inner[i].x-tip)
	}
	moon := append(outer, inner...)
	for i := range moon {
		moon[i].x += 0.23 // to the middle of the frame
	}
	return moon
}

// spiral winds out from the middle.
func spiral(turns float64) line {
	const n = 48
	l := make(line, n+1)
	for i := range l {
		f := float64(i) / n
		l[i] = polar(0.1+mul(0.92, f), mul(turns, f))
	}
	return l
}
