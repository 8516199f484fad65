package pipeline

import "github.com/dploda/dploda/dp/plan"

// curve is what a person sees of the fine-tuning: values computed from released
// sums alone, their noise included. It is part of the learner's state, so that a
// run that goes on draws the same curve.
type curve struct {
	// updateNorm is the L2 norm of the last released mean gradient.
	updateNorm float64
	// loss and clipped are the released mean loss and share of clipped gradients
	// of the last step, where the mechanism has them. Neither is cut to its range:
	// cutting would bias their means.
	loss, clipped float64
	// lossSum and weight are exponentially weighted sums of the released losses
	// and of ones.
	lossSum, weight float64
}

// curveDecay is the weight of a step in the smoothed loss against the next one.
const curveDecay = 0.9

// add takes in a step's released sum (m.Dim integers) and the norm of its mean
// gradient.
func (c *curve) add(updateNorm float64, noised []int32, m plan.Mechanism) {
	c.updateNorm = updateNorm
	if m.LossDelta > 0 {
		c.loss = float64(noised[m.LossCoordinate()]) * m.LossScale()
		c.lossSum = float64(curveDecay*c.lossSum) + float64((1-curveDecay)*c.loss)
		c.weight = float64(curveDecay*c.weight) + (1 - curveDecay)
	}
	if m.ClipDelta > 0 {
		c.clipped = float64(noised[m.ClipCoordinate()]) * m.ClipShareScale()
	}
}

// smoothed is the exponentially weighted mean of the released losses, or nil
// before the first.
func (c *curve) smoothed() *float64 {
	if c.weight == 0 {
		return nil
	}
	v := c.lossSum / c.weight
	return &v
}

func (c *curve) scalars() []*float64 {
	return []*float64{&c.updateNorm, &c.loss, &c.clipped, &c.lossSum, &c.weight}
}
