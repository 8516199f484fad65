// Package drawn makes three data sets by code. Characters and objects are
// public: many classes of random strokes, as the letters of unknown alphabets,
// and of filled silhouettes, as things on a dark ground. Shapes are the demo's
// private set: ten figures that the characters do not contain.
//
// A drawing is a pure function of (seed, class, number): its own pose, stroke
// width, deformation and noise. All arithmetic is in float64 without fused
// multiply-adds and without library transcendentals, so that every machine
// draws the same bytes.
package drawn

import (
	"runtime"
	"sync"

	"github.com/dploda/dploda/dataset"
)

// Side is the height and width of every drawing, in pixels; one grey channel,
// paper 0 and ink up to 255.
const Side = 28

// drawer paints drawing number of a class into dst, Side·Side bytes of paper.
type drawer func(dst []uint8, class, number int)

// draw makes a data set of n drawings: image i is drawing i/len(classes) of
// class i%len(classes), so that classes are of equal size up to one.
func draw(classes []string, n int, paint drawer) *dataset.Memory {
	pixels := make([]uint8, n*Side*Side)
	labels := make([]uint16, n)
	workers := runtime.GOMAXPROCS(0)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := w; i < n; i += workers {
				class := i % len(classes)
				labels[i] = uint16(class)
				paint(pixels[i*Side*Side:(i+1)*Side*Side], class, i/len(classes))
			}
		})
	}
	wait.Wait()
	m, err := dataset.NewMemory(1, Side, Side, classes, pixels, labels)
	if err != nil {
		panic(err) // the counts above fit by construction
	}
	return m
}
