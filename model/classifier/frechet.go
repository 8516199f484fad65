package classifier

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Frechet is the squared Fréchet distance (2-Wasserstein) of two normal
// distributions of one dimension (Dowson, Landau 1982, equation 4),
//
//	|μ₁-μ₂|² + tr(Σ₁ + Σ₂ - 2(Σ₁^½ Σ₂ Σ₁^½)^½),
//
// which FID takes in Inception's features (Heusel et al. 2017, equation 6).
// Fitted to few points it is too large, by about d/n·tr Σ for each side.
func Frechet(a, b *Gaussian) (float64, error) {
	root, err := squareRoot(a.covariance)
	if err != nil {
		return 0, err
	}
	var half, product mat.Dense
	half.Mul(root, b.covariance)
	product.Mul(&half, root)
	n := len(a.mean)
	inner := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			inner.SetSym(i, j, (product.At(i, j)+product.At(j, i))/2)
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(inner, false) {
		return 0, errNoEigenvalues
	}
	distance := mat.Trace(a.covariance) + mat.Trace(b.covariance)
	for _, v := range eigen.Values(nil) {
		distance -= 2 * math.Sqrt(max(v, 0)) // below zero by rounding only
	}
	for i, m := range a.mean {
		d := m - b.mean[i]
		distance += d * d
	}
	if math.IsNaN(distance) || math.IsInf(distance, 0) {
		return 0, errNoEigenvalues
	}
	return max(distance, 0), nil
}

var errNoEigenvalues = errors.New("the eigenvalues of a covariance of features cannot be computed: a feature is no number")

// squareRoot is the symmetric root of a covariance.
func squareRoot(s *mat.SymDense) (*mat.Dense, error) {
	var eigen mat.EigenSym
	if !eigen.Factorize(s, true) {
		return nil, errNoEigenvalues
	}
	var vectors, scaled, root mat.Dense
	eigen.VectorsTo(&vectors)
	values := eigen.Values(nil)
	scaled.Apply(func(_, j int, v float64) float64 { return v * math.Sqrt(max(values[j], 0)) }, &vectors)
	root.Mul(&scaled, vectors.T())
	return &root, nil
}
