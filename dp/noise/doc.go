// Package noise holds the only door through which private sums leave: AddNoise
// takes an ExactSum, the receipt of its accepted Charge and a Source, and
// returns the NoisedSum.
//
// The noise is round(N(0, σ²)) for an integer σ in grid units, sampled exactly
// by rejection with lazily refined comparisons in integer arithmetic: the
// released value is the Gaussian mechanism's, rounded, which is post-processing.
// Random bits come from AES-256 in counter mode under a key that serves one
// Plan and is wiped. docs/privacy.md states the algorithm and proves it.
//
// Everything is modulo 2³². Noise beyond the word, or a sum beyond it, wraps;
// that too is post-processing and costs utility, never privacy.
package noise
