package task

import (
	"context"
	"fmt"
	"slices"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/clip"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/model/prototype"
)

// Prototypes adds up what examples (units of protection with all their images)
// contribute to the next round of class and cluster means: the mean of their
// images' parts, clipped.
type Prototypes struct {
	Mechanism plan.Mechanism
	Data      dataset.Dataset
	Units     *dataset.Units // of Data; ids count them
	Centers   *prototype.Centers
}

// SetParameters implements worker.Task.
func (p *Prototypes) SetParameters(state []byte) error { return p.Centers.UnmarshalBinary(state) }

// Accumulate implements worker.Task.
func (p *Prototypes) Accumulate(ctx context.Context, _ uint64, _ [32]byte, ids []uint32, sum []int32) error {
	dim := p.Mechanism.Dim
	if len(sum) != dim+1 || dim != p.Centers.Spec.Dim() {
		return fmt.Errorf("a sum of %d coordinates for prototypes of %d", len(sum), p.Centers.Spec.Dim())
	}
	full := make([]float32, dim)
	var touched []span
	var values []float32
	for i, id := range ids {
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		images, err := imagesOf(p.Units, id)
		if err != nil {
			return err
		}
		touched = p.sum(full, images, touched[:0])
		// Outside the spans the contribution is zero: the norm, the check and the
		// sum need them only.
		values = values[:0]
		for _, s := range touched {
			values = append(values, full[s.from:s.to]...)
		}
		part := p.Mechanism
		part.Dim = len(values)
		v, ok := clip.Contribution(values, len(images), 0, part)
		for _, s := range touched {
			for j := s.from; ok && j < s.to; j++ {
				sum[j] += v[0]
				v = v[1:]
			}
			clear(full[s.from:s.to])
		}
	}
	sum[dim] += int32(len(ids))
	return nil
}

// span is a range [from, to) of coordinates.
type span struct{ from, to int }

// sum adds the parts of a unit's images to dst and returns the spans that they
// touch, in ascending order and each once.
func (p *Prototypes) sum(dst []float32, images []uint32, touched []span) []span {
	c, h, w := p.Data.Shape()
	for _, i := range images {
		pooled := prototype.Pool(p.Data.Image(int(i)), c, h, w, p.Centers.Spec.Side)
		from, to := p.Centers.Contribute(dst, pooled, p.Data.Label(int(i)))
		touched = append(touched, span{from, to})
	}
	slices.SortFunc(touched, func(a, b span) int { return a.from - b.from })
	return slices.Compact(touched)
}
