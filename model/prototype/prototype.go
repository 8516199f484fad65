// Package prototype computes class-prototype images: for each class a few
// cluster means of pooled images, which condition the diffusion model through
// an extra input channel. The idea is close to DP-FETA's central images; with
// sums released under differential privacy it is k-means by noisy sums and
// counts (Blum, Dwork, McSherry, Nissim, "Practical privacy: the SuLQ
// framework", 2005, section 4.2).
//
// The package knows no privacy: it says what one example contributes to the
// sums, and makes centres of sums, however those were released.
package prototype

import (
	"fmt"
	"math"
)

// Spec is the public shape of a set of prototypes.
type Spec struct {
	Classes  int `json:"classes"`
	Clusters int `json:"clusters"` // centres a class
	Side     int `json:"side"`     // pooled images are Side x Side, grey
	Rounds   int `json:"rounds"`   // releases: one of class means, then Rounds-1 of cluster means
}

// Validate reports the first impossible value.
func (s Spec) Validate() error {
	switch {
	case s.Classes < 1:
		return fmt.Errorf("prototypes need at least one class, not %d", s.Classes)
	case s.Clusters < 1 || s.Clusters > 64:
		return fmt.Errorf("prototypes.clusters must be 1 to 64, not %d", s.Clusters)
	case s.Rounds < 1 || s.Rounds > 32:
		return fmt.Errorf("prototypes.rounds must be 1 to 32, not %d", s.Rounds)
	case s.Side < 2 || s.Side > 64:
		return fmt.Errorf("prototypes are pooled to a side of 2 to 64 pixels, not %d", s.Side)
	}
	return nil
}

// Pixels is the number of coordinates of one prototype.
func (s Spec) Pixels() int { return s.Side * s.Side }

// Dim is the number of coordinates of the vector of sums: for each class and
// cluster the summed pixels and, last, the weighted count.
func (s Spec) Dim() int { return s.Classes * s.Clusters * (s.Pixels() + 1) }

// CountWeight is the value that one example adds to its cluster's count
// coordinate. A larger one buys a better count for noise on the pixels; this
// one is about a third of a drawn image's norm.
func (s Spec) CountWeight() float64 { return 0.1 * float64(s.Side) }

// LeastCount is the number of images above which a cluster's released count, with
// noise of the given standard deviation in the sums' units, stands clear of it: a
// cluster of fewer is begun anew.
func (s Spec) LeastCount(noise float64) float64 { return 4 * noise / s.CountWeight() }

// Norm is the L2 bound that a contribution is clipped to: an image of mean
// square 0.16 (a third of full ink) together with its count.
func (s Spec) Norm() float64 {
	ink := 0.4 * float64(s.Side)
	// Each product is rounded, so that every machine finds the same bound.
	return math.Sqrt(float64(ink*ink) + float64(s.CountWeight()*s.CountWeight()))
}

// Pool averages an image of c channels of h x w bytes (CHW) to side x side
// grey values in [0, 1], by area. Pixels that side does not divide are shared
// in proportion.
func Pool(image []uint8, c, h, w, side int) []float32 {
	out := make([]float32, side*side)
	scale := float32(1) / float32(255*c)
	for oy := range side {
		y0, y1 := float32(oy*h)/float32(side), float32((oy+1)*h)/float32(side)
		for ox := range side {
			x0, x1 := float32(ox*w)/float32(side), float32((ox+1)*w)/float32(side)
			var sum float32
			for y := int(y0); y < h && float32(y) < y1; y++ {
				wy := min(y1, float32(y+1)) - max(y0, float32(y))
				for x := int(x0); x < w && float32(x) < x1; x++ {
					wx := min(x1, float32(x+1)) - max(x0, float32(x))
					var ink int
					for ch := range c {
						ink += int(image[(ch*h+y)*w+x])
					}
					sum += float32(float32(wy*wx) * float32(ink))
				}
			}
			out[oy*side+ox] = float32(sum*scale) / float32((y1-y0)*(x1-x0))
		}
	}
	return out
}

// Channel fills dst with a centre as the network takes it: [0, 1] becomes
// [-1, 1], so that the zeros of an absent prototype lie in the middle.
func Channel(dst, center []float32) {
	for i, p := range center {
		dst[i] = float32(2*p) - 1
	}
}
