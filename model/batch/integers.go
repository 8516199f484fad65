package batch

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/device"
)

// ErrNotFinite says that a gradient held an infinity or no number.
var ErrNotFinite = errors.New("a gradient is not finite: the training diverged, or its weights are damaged")

// Groups is the number of groups of lanes that n examples make.
func (r *Runner) Groups(n int) int { return r.groups(n) }

// AccumulateIntegers runs some groups of a batch of n examples on a list in mode
// device.Summed and adds the gradient g of each group to sum as integers
//
//	RoundToEven(g_i/unit), within ±limit
//
// where unit is a power of two. Integer sums have no order: it does not matter
// which goroutine, runner or process takes which groups. limit times the number
// of groups of the whole batch must fit an int32. Nothing is added where an
// error is returned.
func (r *Runner) AccumulateIntegers(ctx context.Context, sum []int32, groups []uint32, n int, unit float32, limit int32, load Load, idle Idle) error {
	for _, g := range groups {
		if int64(g) >= int64(r.groups(n)) {
			return fmt.Errorf("group %d of a batch of %d", g, r.groups(n))
		}
	}
	if r.sums == nil {
		r.sums = map[device.Stream]*integers{}
		for _, s := range r.streams {
			r.sums[s] = &integers{}
		}
	}
	for _, own := range r.sums {
		own.reset(len(sum))
	}
	err := r.each(ctx, len(groups), func(s device.Stream, item int) error {
		s.ZeroGradient()
		if err := r.accumulate(ctx, s, int(groups[item]), n, load, idle, nil); err != nil {
			return err
		}
		own := r.sums[s]
		clear(own.gradient)
		if err := s.AddGradient(own.gradient); err != nil {
			return err
		}
		return own.add(unit, limit)
	})
	if err != nil {
		return err
	}
	for _, own := range r.sums {
		for i, v := range own.sum {
			sum[i] += v
		}
	}
	return nil
}

// integers are a stream's share of a sum.
type integers struct {
	gradient []float32
	sum      []int32
}

func (p *integers) reset(dim int) {
	if len(p.sum) != dim {
		p.gradient, p.sum = make([]float32, dim), make([]int32, dim)
	}
	clear(p.sum)
}

func (p *integers) add(unit float32, limit int32) error {
	scale, most := 1/float64(unit), float64(limit)
	for i, g := range p.gradient {
		v := math.RoundToEven(float64(g) * scale)
		if v-v != 0 {
			return ErrNotFinite
		}
		p.sum[i] += int32(min(max(v, -most), most))
	}
	return nil
}
