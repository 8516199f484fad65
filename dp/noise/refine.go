package noise

import "math/big"

// wordBits is how many bits a refinement step reads at a time.
const wordBits = 64

// bitSource deals independent fair bits: n of them, 1 ≤ n ≤ 64, as an integer.
type bitSource interface{ bits(n uint) uint64 }

// deviate is a uniform deviate in [0, 1) known to its first n bits: it lies in
// [digits, digits+1)·2^-n.
type deviate struct {
	digits big.Int
	n      uint
}

func (d *deviate) set(digits uint64, n uint) {
	d.digits.SetUint64(digits)
	d.n = n
}

func (d *deviate) extend(s bitSource, n uint) {
	d.digits.Lsh(&d.digits, n)
	d.digits.Or(&d.digits, new(big.Int).SetUint64(s.bits(n)))
	d.n += n
}

// candidate is a proposed |y| = (base + x)/2^shift, to be accepted if and only
// if u < num·exp(-y²/2)/den.
type candidate struct {
	base, shift uint
	num, den    *big.Int
	u, x        deviate
}

func (g gaussian) bodyCandidate(i int) *candidate {
	return &candidate{
		base: uint(i), shift: bodyShift,
		num: big.NewInt(envelope), den: new(big.Int).SetUint64(g.cells.weight[i]),
	}
}

// tailCandidate picks the tail's block j with probability 2^-(j+1).
func tailCandidate(s bitSource) *candidate {
	j := uint(0)
	for s.bits(1) == 0 {
		j++
	}
	num := big.NewInt(envelope)
	return &candidate{
		base: tailBase + j, shift: tailShift,
		num: num.Lsh(num, j+3), den: big.NewInt(tailWeight),
	}
}

// refine decides c exactly: it returns the integer nearest to σ·|y| and true,
// or false if the candidate is rejected. It reads further bits of u and x, digit
// at a time, until what is known of them decides both questions, and no more
// precision than that needs.
func (g gaussian) refine(c *candidate, s bitSource, digit uint) (int64, bool) {
	for {
		switch c.judge() {
		case reject:
			return 0, false
		case accept:
			for {
				if v, ok := c.round(g.sigma); ok {
					return v, true
				}
				c.x.extend(s, digit)
			}
		}
		c.u.extend(s, digit)
		c.x.extend(s, digit)
	}
}

// judge compares all possible u with the acceptance probability of all possible
// y: it is smallest at the upper end of x's interval.
func (c *candidate) judge() verdict {
	prec := max(c.u.n, c.x.n) + uint(c.num.BitLen()) + 16
	start := new(big.Int).Lsh(big.NewInt(int64(c.base)), c.x.n)
	start.Add(start, &c.x.digits)
	end := new(big.Int).Add(start, big.NewInt(1))
	squareBits := 2*(c.x.n+c.shift) + 1 // y²/2 = start²·2^-squareBits
	least, _ := expNeg(end.Mul(end, end), squareBits, prec)
	_, most := expNeg(start.Mul(start, start), squareBits, prec)

	// u < p ⇔ u·den < num·exp(-y²/2); everything in units of 2^-(prec+u.n).
	least.Mul(least, c.num).Lsh(least, c.u.n)
	most.Mul(most, c.num).Lsh(most, c.u.n)
	low := new(big.Int).Mul(&c.u.digits, c.den)
	high := new(big.Int).Add(low, c.den)
	low.Lsh(low, prec)
	high.Lsh(high, prec)
	switch {
	case high.Cmp(least) <= 0:
		return accept
	case low.Cmp(most) >= 0:
		return reject
	}
	return unsure
}

// round returns the integer nearest to σ·y for all possible y, or false if they
// do not agree. σ·y·2^(n+shift) lies in [σ·start, σ·start + σ).
func (c *candidate) round(sigma uint64) (int64, bool) {
	n := c.x.n + c.shift
	first := new(big.Int).Lsh(big.NewInt(int64(c.base)), c.x.n)
	first.Add(first, &c.x.digits)
	first.Mul(first, new(big.Int).SetUint64(sigma))
	first.Add(first, new(big.Int).Lsh(big.NewInt(1), n-1))
	last := new(big.Int).Add(first, new(big.Int).SetUint64(sigma-1))
	first.Rsh(first, n)
	last.Rsh(last, n)
	return first.Int64(), first.Cmp(last) == 0
}

// expNeg returns lo ≤ 2^prec·exp(-z·2^-zbits) ≤ hi for z ≥ 0.
//
// With r = z·2^-(zbits+m) < 1, the alternating series of exp(-r) is summed in
// units of 2^-work and the result squared m times. Rounding r down lowers
// exp(-r)'s argument by less than a unit; each term is rounded down and off by
// at most two units (δ_n ≤ δ_(n-1)/n + 1), and so is the first one left out,
// which bounds the rest.
func expNeg(z *big.Int, zbits, prec uint) (lo, hi *big.Int) {
	m := uint(max(0, z.BitLen()-int(zbits)))
	work := prec + m + 32
	r := new(big.Int).Lsh(z, work)
	r.Rsh(r, zbits+m)

	term := new(big.Int).Lsh(big.NewInt(1), work)
	sum := new(big.Int).Set(term)
	n := int64(1)
	for ; ; n++ {
		term.Mul(term, r).Rsh(term, work)
		term.Quo(term, big.NewInt(n))
		if term.Sign() == 0 {
			break
		}
		if n%2 == 1 {
			sum.Sub(sum, term)
		} else {
			sum.Add(sum, term)
		}
	}
	err := big.NewInt(2*n + 3)
	lo = new(big.Int).Sub(sum, err)
	hi = sum.Add(sum, err)
	if lo.Sign() < 0 {
		lo.SetInt64(0)
	}
	for range m {
		lo.Mul(lo, lo).Rsh(lo, work)
		hi.Mul(hi, hi).Rsh(hi, work)
		hi.Add(hi, big.NewInt(1))
	}
	lo.Rsh(lo, work-prec)
	hi.Rsh(hi, work-prec)
	return lo, hi.Add(hi, big.NewInt(1))
}
