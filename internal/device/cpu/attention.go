package cpu

import (
	"math"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// The matrices of one attention head are the scores S[T][T][16], of T query
// pixels and T key pixels, and values of d channels at T pixels. Each function
// below describes one kind of product of them.

// scores is S[i][j] = Σ_d a[d][i]·b[d][j].
func scores(s, a, b *layout, d int) *kernel.ProductSpec {
	t := a.H * a.W
	return &kernel.ProductSpec{
		A: a.pixels(), DstO: strided(t, s.row), B: b.pixels(), DstT: strided(t, lanes),
		Rows: d, Cols: 1, ARow: a.plane, BRow: b.plane,
	}
}

// rowsTimes is dst[d][i] = Σ_j S[i][j]·v[d][j].
func rowsTimes(s, v, dst *layout, d int) *kernel.ProductSpec {
	t := v.H * v.W
	return &kernel.ProductSpec{
		A: strided(t, s.row), DstO: dst.pixels(), B: v.channels(d), DstT: dst.channels(d),
		Rows: v.H, Cols: v.W, ARow: v.W * lanes, APix: lanes, BRow: v.row, BPix: lanes,
	}
}

// columnsTimes is dst[d][j] = Σ_i S[i][j]·v[d][i].
func columnsTimes(s, v, dst *layout, d int) *kernel.ProductSpec {
	t := v.H * v.W
	return &kernel.ProductSpec{
		A: strided(t, lanes), DstO: dst.pixels(), B: v.channels(d), DstT: dst.channels(d),
		Rows: v.H, Cols: v.W, ARow: v.W * s.row, APix: s.row, BRow: v.row, BPix: lanes,
	}
}

// scoresHalo makes the number of pixels of a row of scores odd, or those of a
// column would share few sets of the caches.
func scoresHalo(s device.Shape) halo { return halo{right: 1 - s.W%2} }

func strided(n, stride int) []int32 {
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(i * stride)
	}
	return p
}

// head returns the part of a value that belongs to one head of d channels.
func (l *layout) head(s *stream, head, d int) []float32 { return l.interior(s)[head*d*l.plane:] }

// probabilities computes P = softmax(qᵀk/√d) of one head.
type probabilities struct {
	q, k, p *layout
	spec    *kernel.ProductSpec
	d, t    int
	keep    bool
	scale   float32
}

func (c *compiler) probabilities(q, k, p device.Value, heads int, keep bool) *probabilities {
	r := &probabilities{q: c.layout(q), k: c.layout(k), p: c.layout(p), keep: keep}
	r.d, r.t = r.q.C/heads, r.q.H*r.q.W
	r.scale = float32(1 / math.Sqrt(float64(r.d)))
	r.spec = scores(r.p, r.q, r.k, r.d)
	return r
}

// of returns the place of one head's probabilities.
func (r *probabilities) of(s *stream, head int) []float32 {
	if !r.keep {
		head = 0
	}
	return r.p.buffer(s)[head*r.p.plane:][:r.t*r.p.row]
}

func (r *probabilities) compute(s *stream, head int) []float32 {
	p := r.of(s, head)
	kernel.LaneProduct(p, r.q.head(s, head, r.d), r.k.head(s, head, r.d), r.spec, false)
	kernel.Softmax(p, r.t, r.t, r.p.row, r.scale)
	return p
}

func (c *compiler) attention(o *device.Attention) step {
	p := c.probabilities(o.Q, o.K, o.P, o.Heads, o.Keep)
	y, v := c.layout(o.Y), c.layout(o.V)
	mix := rowsTimes(p.p, v, y, p.d)
	return func(s *stream) {
		for h := range o.Heads {
			kernel.LaneProduct(y.head(s, h, p.d), p.compute(s, h), v.head(s, h, p.d), mix, false)
		}
	}
}

func (c *compiler) attentionBackward(o *device.AttentionBackward) step {
	p := c.probabilities(o.Q, o.K, o.P, o.Heads, o.Keep)
	dy, v, dp := c.layout(o.DY), c.layout(o.V), c.layout(o.DP)
	toScores := scores(dp, dy, v, p.d)
	var dq, dk, dv *gradientProduct
	if o.DQ != device.NoValue {
		dq = &gradientProduct{rowsTimes(dp, p.k, c.layout(o.DQ), p.d), p.k, c.layout(o.DQ), o.AddQ}
	}
	if o.DK != device.NoValue {
		dk = &gradientProduct{columnsTimes(dp, p.q, c.layout(o.DK), p.d), p.q, c.layout(o.DK), o.AddK}
	}
	if o.DV != device.NoValue {
		dv = &gradientProduct{columnsTimes(p.p, dy, c.layout(o.DV), p.d), dy, c.layout(o.DV), o.AddV}
	}
	return func(s *stream) {
		for h := range o.Heads {
			probs := p.of(s, h)
			if !o.Keep {
				p.compute(s, h)
			}
			ds := dp.buffer(s)
			kernel.LaneProduct(ds, dy.head(s, h, p.d), v.head(s, h, p.d), toScores, false)
			kernel.SoftmaxBackward(ds, probs, p.t, p.t, p.p.row, p.scale)
			// in this order: a shared gradient is first written, then added to
			dq.run(s, ds, h, p.d)
			dk.run(s, ds, h, p.d)
			dv.run(s, probs, h, p.d)
		}
	}
}

// gradientProduct is a product of scores with from, written or added to dst.
type gradientProduct struct {
	spec      *kernel.ProductSpec
	from, dst *layout
	add       bool
}

// run computes one head; a nil product is not wanted.
func (g *gradientProduct) run(s *stream, scores []float32, head, d int) {
	if g != nil {
		kernel.LaneProduct(g.dst.head(s, head, d), scores, g.from.head(s, head, d), g.spec, g.add)
	}
}
