"""Writes model/classifier/testdata/frechet.json: Fréchet distances by scipy.

    python tools/golden_frechet.py > model/classifier/testdata/frechet.json

For each case the points of two samples and the squared distance of the normal
distributions fitted to them, by the matrix square root as FID's reference
implementations take it.
"""

import json

import numpy as np
from scipy import linalg


def distance(a, b):
    """Squared Fréchet distance of normal distributions fitted to the rows."""
    mean = a.mean(axis=0) - b.mean(axis=0)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(covariance_a @ covariance_b)
    return float(mean @ mean + np.trace(covariance_a + covariance_b - 2 * root.real))


def main():
    rng = np.random.default_rng(1)
    cases = []
    for n, m, d in [(9, 12, 2), (12, 30, 5), (40, 25, 8)]:
        mix = rng.normal(size=(d, d))
        a = np.round(rng.normal(size=(n, d)), 3)
        b = np.round(rng.normal(size=(m, d)) @ mix + 0.5, 3)
        cases.append({"a": a.tolist(), "b": b.tolist(), "distance": distance(a, b)})
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
