package classifier

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"gonum.org/v1/gonum/mat"
)

func dense(rows [][]float64) *mat.Dense {
	m := mat.NewDense(len(rows), len(rows[0]), nil)
	for i, r := range rows {
		m.SetRow(i, r)
	}
	return m
}

func frechet(t *testing.T, a, b *Gaussian) float64 {
	t.Helper()
	d, err := Frechet(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFrechetOfCommutingCovariances has a closed form: with common eigenvectors it is
// |μ₁-μ₂|² + Σ(√λ₁-√λ₂)². A rotation makes the matrices full; one variance is zero.
//
// Tried: without the factor 2, and with the root of one covariance alone.
func TestFrechetOfCommutingCovariances(t *testing.T) {
	first, second := []float64{4, 1, 0, 0.25}, []float64{1, 9, 2, 0.25}
	mean := []float64{0.5, -1, 0, 2}
	rotation := mat.NewDense(4, 4, nil)
	for i := range 4 { // by Householder: I - 2vvᵀ with |v| = 1
		for j := range 4 {
			v := []float64{0.5, 0.5, -0.5, 0.5}
			rotation.Set(i, j, -2*v[i]*v[j])
			if i == j {
				rotation.Set(i, j, 1-2*v[i]*v[j])
			}
		}
	}
	make := func(variances, mean []float64) *Gaussian {
		var half, full mat.Dense
		half.Mul(rotation, mat.NewDiagDense(4, variances))
		full.Mul(&half, rotation.T())
		g := &Gaussian{mean: mean, covariance: mat.NewSymDense(4, nil)}
		for i := range 4 {
			for j := i; j < 4; j++ {
				g.covariance.SetSym(i, j, full.At(i, j))
			}
		}
		return g
	}
	want := 0.0
	for i, m := range mean {
		d := math.Sqrt(first[i]) - math.Sqrt(second[i])
		want += m*m + d*d
	}
	a, b := make(first, []float64{0, 0, 0, 0}), make(second, mean)
	for _, got := range []float64{frechet(t, a, b), frechet(t, b, a)} {
		if math.Abs(got-want) > 1e-7 { // a root of a rounded zero
			t.Errorf("distance %v, want %v", got, want)
		}
	}
	if got := frechet(t, a, a); got > 1e-7 {
		t.Errorf("a distribution is at %v from itself", got)
	}
}

// TestFrechetIsScipys compares with the distances that tools/golden_frechet.py
// computed of the same points, by another formula.
//
// Tried: a covariance divided by the number of points.
func TestFrechetIsScipys(t *testing.T) {
	content, err := os.ReadFile("testdata/frechet.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		A, B     [][]float64
		Distance float64
	}
	if err := json.Unmarshal(content, &cases); err != nil || len(cases) < 3 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, c := range cases {
		got := frechet(t, newGaussian(dense(c.A)), newGaussian(dense(c.B)))
		if math.Abs(got-c.Distance) > 1e-9*c.Distance {
			t.Errorf("distance %v, scipy's is %v", got, c.Distance)
		}
	}
}

func TestFrechetRefusesWhatIsNoNumber(t *testing.T) {
	bad := newGaussian(dense([][]float64{{1, 2}, {math.NaN(), 3}, {2, 2}}))
	good := newGaussian(dense([][]float64{{1, 2}, {0, 3}, {2, 2}}))
	for _, pair := range [][2]*Gaussian{{bad, good}, {good, bad}} {
		if d, err := Frechet(pair[0], pair[1]); err == nil {
			t.Errorf("distance %v", d)
		}
	}
}
