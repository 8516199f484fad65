package prototype

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/floatbits"
)

// Centers are the prototypes after some rounds. The zero round (no sums seen)
// has one empty centre a class.
type Centers struct {
	Spec    Spec
	Round   int       // releases taken in
	Pixels  []float32 // [class][cluster][side*side], in [0, 1]
	Weights []float32 // [class][cluster], each class sums to 1
}

// New returns the centres before any release: they hold nothing of the data.
func New(s Spec) *Centers {
	c := &Centers{Spec: s,
		Pixels:  make([]float32, s.Classes*s.Clusters*s.Pixels()),
		Weights: make([]float32, s.Classes*s.Clusters)}
	for i := range c.Weights {
		c.Weights[i] = 1 / float32(s.Clusters)
	}
	return c
}

// Center is the pixels of one prototype; it may be read only.
func (c *Centers) Center(class, cluster int) []float32 {
	n := c.Spec.Pixels()
	at := (class*c.Spec.Clusters + cluster) * n
	return c.Pixels[at : at+n]
}

// Nearest is the cluster of the class whose centre is closest to the pooled
// image; in round 0, when there are none, cluster 0.
func (c *Centers) Nearest(pooled []float32, class int) int {
	best, bestDistance := 0, float32(math.MaxFloat32)
	if c.Round == 0 {
		return 0
	}
	for k := range c.Spec.Clusters {
		var distance float32
		for i, p := range c.Center(class, k) {
			d := p - pooled[i]
			distance += float32(d * d)
		}
		if distance < bestDistance {
			best, bestDistance = k, distance
		}
	}
	return best
}

// Contribute adds one image's part in the sums to dst, of Spec.Dim()
// coordinates: its pixels and its count, at its class and nearest cluster. It
// returns the range that it changed.
func (c *Centers) Contribute(dst, pooled []float32, class int) (from, to int) {
	n := c.Spec.Pixels() + 1
	from = (class*c.Spec.Clusters + c.Nearest(pooled, class)) * n
	for i, p := range pooled {
		dst[from+i] += p
	}
	dst[from+n-1] += float32(c.Spec.CountWeight())
	return from, from + n
}

// Update makes the next round's centres of released sums. noise is the
// standard deviation of one released coordinate, in the sums' units: a cluster
// whose count does not stand clear of it is begun anew beside its class's
// largest one.
func (c *Centers) Update(sums []float64, noise float64) error {
	if len(sums) != c.Spec.Dim() {
		return fmt.Errorf("prototypes take %d sums, not %d", c.Spec.Dim(), len(sums))
	}
	clusters := c.Spec.Clusters
	for class := range c.Spec.Classes {
		if c.Round == 0 {
			c.mean(sums, class, 0)
			for k := 1; k < clusters; k++ {
				copy(c.Center(class, k), c.Center(class, 0))
			}
			for k := 0; clusters > 1 && k < clusters; k++ {
				c.perturb(class, k)
			}
			continue
		}
		largest, total := 0, 0.0
		counts := make([]float64, clusters)
		for k := range clusters {
			counts[k] = c.count(sums, class, k)
			if counts[k] > counts[largest] {
				largest = k
			}
		}
		floor := c.Spec.LeastCount(noise)
		for k := range clusters {
			if counts[k] > floor {
				c.mean(sums, class, k)
			}
		}
		for k := range clusters {
			if counts[k] <= floor {
				counts[k] = 0
				copy(c.Center(class, k), c.Center(class, largest))
				c.perturb(class, k)
			}
			total += counts[k]
		}
		for k := range clusters {
			w := 1 / float64(clusters)
			if total > 0 {
				w = counts[k] / total
			}
			c.Weights[class*clusters+k] = float32(w)
		}
	}
	c.Round++
	return nil
}

func (c *Centers) count(sums []float64, class, k int) float64 {
	n := c.Spec.Pixels() + 1
	return sums[(class*c.Spec.Clusters+k)*n+n-1] / c.Spec.CountWeight()
}

// mean sets a centre to its sum over its count, within [0, 1].
func (c *Centers) mean(sums []float64, class, k int) {
	n := c.Spec.Pixels() + 1
	at := (class*c.Spec.Clusters + k) * n
	count := max(1, c.count(sums, class, k))
	for i := range c.Center(class, k) {
		c.Center(class, k)[i] = float32(min(1, max(0, sums[at+i]/count)))
	}
}

// directions are where perturb lets the clusters of a class drift apart.
var directions = [8][2]int{{1, 0}, {0, 1}, {-1, 0}, {0, -1}, {1, 1}, {-1, 1}, {-1, -1}, {1, -1}}

// perturb adds a faint public ramp, rising in the cluster's own direction, so
// that clusters that begin at the same mean part. It needs no randomness; a
// second lap of the directions is fainter.
func (c *Centers) perturb(class, k int) {
	side := c.Spec.Side
	d := directions[k%len(directions)]
	height := float32(0.12) / float32(1+k/len(directions))
	for y := range side {
		for x := range side {
			slope := float32(d[0]*(2*x+1-side)+d[1]*(2*y+1-side)) / float32(side)
			p := &c.Center(class, k)[y*side+x]
			*p = min(1, max(0, *p+float32(height*slope)))
		}
	}
}

// MarshalBinary encodes the centres exactly (little endian).
func (c *Centers) MarshalBinary() ([]byte, error) {
	out := make([]byte, 0, 20+4*(len(c.Pixels)+len(c.Weights)))
	for _, v := range []int{c.Spec.Classes, c.Spec.Clusters, c.Spec.Side, c.Spec.Rounds, c.Round} {
		out = binary.LittleEndian.AppendUint32(out, uint32(v))
	}
	return floatbits.Append(floatbits.Append(out, c.Pixels), c.Weights), nil
}

// UnmarshalBinary reads what MarshalBinary wrote; the Spec in it must be ours.
func (c *Centers) UnmarshalBinary(data []byte) error {
	want := 20 + 4*(len(c.Pixels)+len(c.Weights))
	if len(data) != want {
		return fmt.Errorf("prototypes of %d bytes, want %d", len(data), want)
	}
	word := func(i int) int { return int(binary.LittleEndian.Uint32(data[4*i:])) }
	if got := (Spec{word(0), word(1), word(2), word(3)}); got != c.Spec {
		return fmt.Errorf("prototypes of shape %+v, want %+v", got, c.Spec)
	}
	c.Round = word(4)
	at := 20 + 4*len(c.Pixels)
	if err := floatbits.Read(c.Pixels, data[20:at]); err != nil {
		return err
	}
	return floatbits.Read(c.Weights, data[at:])
}
