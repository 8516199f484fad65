package task

import (
	"context"
	"fmt"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/clip"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/model/prototype"
)

// Prototypes adds up what examples contribute to the next round of class and
// cluster means.
type Prototypes struct {
	Mechanism plan.Mechanism
	Data      dataset.Dataset
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
	c, h, w := p.Data.Shape()
	full := make([]float32, dim)
	for i, id := range ids {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if int64(id) >= int64(p.Data.Len()) {
			return fmt.Errorf("the plan names an example that this worker's data folder does not have: every worker must read the same data")
		}
		pooled := prototype.Pool(p.Data.Image(int(id)), c, h, w, p.Centers.Spec.Side)
		from, to := p.Centers.Contribute(full, pooled, p.Data.Label(int(id)))
		// Outside [from, to) the contribution is zero: the norm, the check and
		// the sum need that block only.
		block := p.Mechanism
		block.Dim = to - from
		v, ok := clip.Contribution(full[from:to], 1, 0, block)
		if ok {
			for j, x := range v {
				sum[from+j] += x
			}
		}
		clear(full[from:to])
	}
	sum[dim] += int32(len(ids))
	return nil
}
