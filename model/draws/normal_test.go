package draws

import (
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// normals draws n numbers over many streams, as training does.
func normals(n int) []float64 {
	d := New(testKey())
	out := make([]float64, 0, n)
	for id := uint64(0); len(out) < n; id++ {
		s := d.Stream(id, uint16(id%5), Noise)
		for range min(784, n-len(out)) {
			out = append(out, s.Normal())
		}
	}
	return out
}

// TestNormalMoments: a raw moment of order k over n draws has standard error
// sqrt((m_2k - m_k²)/n). Five of them are exceeded by chance with 6e-7 each.
func TestNormalMoments(t *testing.T) {
	const n = 2_000_000
	even := func(k int) float64 { // (k-1)!!
		m := 1.0
		for j := k - 1; j > 1; j -= 2 {
			m *= float64(j)
		}
		return m
	}
	xs := normals(n)
	for k := 1; k <= 6; k++ {
		sum := 0.0
		for _, x := range xs {
			sum += math.Pow(x, float64(k))
		}
		want := 0.0
		if k%2 == 0 {
			want = even(k)
		}
		se := math.Sqrt((even(2*k) - want*want) / n)
		if got := sum / n; math.Abs(got-want) > 5*se {
			t.Errorf("moment %d = %v, want %v ± %v", k, got, want, se)
		}
	}
}

// TestNormalKolmogorovSmirnov compares with the normal distribution function:
// sqrt(n) D exceeds 2.6 by chance with 2 exp(-2·2.6²) = 2.7e-6. The power is
// shown on the same draws: a standard deviation off by 0.5 % is refused.
func TestNormalKolmogorovSmirnov(t *testing.T) {
	xs := normals(1_000_000)
	slices.Sort(xs)
	if d := kolmogorov(xs, distuv.Normal{Sigma: 1}); d > 2.6 {
		t.Errorf("sqrt(n) D = %v against N(0, 1)", d)
	}
	if d := kolmogorov(xs, distuv.Normal{Sigma: 1.01}); d < 2.6 {
		t.Errorf("sqrt(n) D = %v against N(0, 1.01²): the test sees nothing", d)
	}
}

func kolmogorov(sorted []float64, dist distuv.Normal) float64 {
	n := float64(len(sorted))
	worst := 0.0
	for i, x := range sorted {
		f := dist.CDF(x)
		worst = max(worst, f-float64(i)/n, float64(i+1)/n-f)
	}
	return worst * math.Sqrt(n)
}

// TestNormalTails counts beyond points on both sides of every seam of the
// ziggurat's base; a Poisson count leaves ±5 standard deviations (plus 5 for
// small means) by chance with less than 1e-5.
func TestNormalTails(t *testing.T) {
	const n = 4_000_000
	xs := normals(n)
	for _, at := range []float64{0.25, 1, 2, 3, 3.5, baseEdge, 3.8, 4.2, 4.8} {
		for _, side := range []float64{-1, 1} {
			count := 0.0
			for _, x := range xs {
				if side*x > at {
					count++
				}
			}
			want := n * distuv.UnitNormal.CDF(-at)
			if math.Abs(count-want) > 5*math.Sqrt(want)+5 {
				t.Errorf("%v of %v draws beyond %v, want %.1f", count, n, side*at, want)
			}
		}
	}
}

// TestNormalsAreIndependent holds lagged correlations inside a stream, and
// between neighbouring streams, to five standard errors.
func TestNormalsAreIndependent(t *testing.T) {
	const n = 1_000_000
	xs := normals(n)
	for _, lag := range []int{1, 2, 128, 784} {
		sum := 0.0
		for i := lag; i < n; i++ {
			sum += xs[i] * xs[i-lag]
		}
		if r := sum / n; math.Abs(r) > 5/math.Sqrt(n) {
			t.Errorf("correlation at lag %d = %v", lag, r)
		}
	}
}

// TestZigguratCoversTheBell: each strip must have the stated area, else the
// tables are wrong where no sample of this size would show it.
func TestZigguratCoversTheBell(t *testing.T) {
	for i := 1; i < strips; i++ {
		edge := ziggurat.width[i] / scale
		area := edge * (ziggurat.height[i+1] - ziggurat.height[i])
		if math.Abs(area-stripArea) > 1e-12 {
			t.Errorf("strip %d has area %v, want %v", i, area, stripArea)
		}
	}
	tail := math.Sqrt(2*math.Pi) * distuv.UnitNormal.CDF(-baseEdge)
	if base := baseEdge*math.Exp(-baseEdge*baseEdge/2) + tail; math.Abs(base-stripArea) > 1e-12 {
		t.Errorf("the base has area %v, want %v", base, stripArea)
	}
}
