package kernel

// GroupNorm normalises each example over groups of adjacent channels (Wu, He
// 2018, arXiv 1803.08494, section 3.1), optionally followed by SiLU:
//
//	y = gamma[c]·(x - mean)·rstd + beta[c],  rstd = 1/√(variance + Eps)
//
// with the biased variance of two passes over the data.
type GroupNorm struct {
	Extent
	Groups int // divides C
	Eps    float32
	SiLU   bool
}

// StatsLen is the length of the statistics that Forward leaves for Backward:
// mean[16] and rstd[16] of each group.
func (n GroupNorm) StatsLen() int { return n.Groups * 2 * Lanes }

func (n GroupNorm) check(gamma, beta, stats []float32) {
	if n.Groups <= 0 || n.C%n.Groups != 0 {
		panic("kernel: the groups of a group norm do not divide its channels")
	}
	checkLen("gamma", len(gamma), n.C)
	checkLen("beta", len(beta), n.C)
	checkLen("group norm statistics", len(stats), n.StatsLen())
}

// Forward sets dst to the normalised x and fills stats. dst may be x.
func (n GroupNorm) Forward(dst, x View, gamma, beta, stats []float32) {
	n.check(gamma, beta, stats)
	check2(n.Extent, dst, x)
	per := n.C / n.Groups
	for g := range n.Groups {
		mean, rstd := stats[g*2*Lanes:][:Lanes], stats[g*2*Lanes+Lanes:][:Lanes]
		n.statistics(x, g*per, per, mean, rstd)
		var v [3 * Lanes]float32 // mean, gamma·rstd, beta
		copy(v[:], mean)
		for c := g * per; c < (g+1)*per; c++ {
			for l := range Lanes {
				v[Lanes+l] = gamma[c] * rstd[l]
				v[2*Lanes+l] = beta[c]
			}
			walk(choose(n.SiLU, opAffineSiLU, opAffine), Extent{1, n.H, n.W}, dst.from(c), x.from(c), View{}, &v[0])
		}
	}
}

// statistics computes mean and 1/√(variance+Eps) over channels [c, c+per). The
// sums run channel after channel in the order of [PlaneSums].
func (n GroupNorm) statistics(x View, c, per int, mean, rstd []float32) {
	var v [2 * Lanes]float32
	for i := range per {
		reduce(opSum, n.Extent, View{}, x.from(c+i), View{}, &v[0])
	}
	count := float32(per * n.H * n.W)
	for l := range Lanes {
		v[l] /= count
	}
	for i := range per {
		reduce(opSquares, n.Extent, View{}, x.from(c+i), View{}, &v[0])
	}
	for l := range Lanes {
		mean[l] = v[l]
		rstd[l] = 1 / sqrt32(float32(v[Lanes+l]/count)+n.Eps)
	}
}

// Backward computes from dy, the gradient of Forward's result, and the x and
// stats of Forward:
//
//	dx (+)= the gradient of x,
//	dgamma[c*16+lane] += Σ dz·x̂ and dbeta[c*16+lane] += Σ dz, unless nil,
//
// where dz is dy before the SiLU and x̂ the normalised x. With SiLU, dz is a
// buffer of this extent that is overwritten; it may be dy, or dx unless
// accumulating. Without SiLU it is not used. dx may be dz or dy.
func (n GroupNorm) Backward(dx, dz, dy, x View, gamma, beta, stats, dgamma, dbeta []float32, accumulate bool) {
	n.check(gamma, beta, stats)
	check3(n.Extent, dx, x, dy)
	op := opNormSums
	if n.SiLU {
		check1(n.Extent, dz)
		op = opNormSumsSiLU
	} else {
		dz = dy
	}
	per := n.C / n.Groups
	for g := range n.Groups {
		mean, rstd := stats[g*2*Lanes:][:Lanes], stats[g*2*Lanes+Lanes:][:Lanes]
		var m1, m2 [Lanes]float32 // Σ gamma·dz, Σ gamma·dz·x̂
		var v [6 * Lanes]float32
		copy(v[:], mean)
		copy(v[3*Lanes:], rstd)
		for c := g * per; c < (g+1)*per; c++ {
			for l := range Lanes {
				v[Lanes+l] = gamma[c] * rstd[l]
				v[2*Lanes+l] = beta[c]
				v[4*Lanes+l], v[5*Lanes+l] = 0, 0
			}
			reduce(op, n.Extent, dz.from(c), x.from(c), dy.from(c), &v[0])
			for l := range Lanes {
				m1[l] = fma32(gamma[c], v[4*Lanes+l], m1[l])
				m2[l] = fma32(gamma[c], v[5*Lanes+l], m2[l])
			}
			addLanes(dbeta, c, v[4*Lanes:])
			addLanes(dgamma, c, v[5*Lanes:])
		}
		n.inputGradient(dx, dz, x, gamma, mean, rstd, &m1, &m2, g*per, per, accumulate)
	}
}

// inputGradient sets dx (+)= gamma·rstd·dz - rstd·m1/N - (x-mean)·rstd²·m2/N.
func (n GroupNorm) inputGradient(dx, dz, x View, gamma, mean, rstd []float32, m1, m2 *[Lanes]float32, c, per int, accumulate bool) {
	count := float32(per * n.H * n.W)
	var v [4 * Lanes]float32
	copy(v[:], mean)
	for l := range Lanes {
		v[2*Lanes+l] = -float32(float32(rstd[l]*rstd[l]) * float32(m2[l]/count))
		v[3*Lanes+l] = -float32(rstd[l] * float32(m1[l]/count))
	}
	for i := c; i < c+per; i++ {
		for l := range Lanes {
			v[Lanes+l] = gamma[i] * rstd[l]
		}
		walk(choose(accumulate, opNormBackwardAdd, opNormBackward), Extent{1, n.H, n.W}, dx.from(i), x.from(i), dz.from(i), &v[0])
	}
}

// addLanes adds v to the lanes of channel c of sum, unless sum is nil.
func addLanes(sum []float32, c int, v []float32) {
	if sum == nil {
		return
	}
	for l := range Lanes {
		sum[c*Lanes+l] += v[l]
	}
}
