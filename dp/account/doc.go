// Package account turns what a ledger recorded into a privacy guarantee: ε as a
// pure function of the charged events and δ, under add/remove-one adjacency.
//
// It composes the Rényi divergence of the Poisson-subsampled Gaussian mechanism
// (Mironov, Talwar, Zhang 2019, arXiv 1908.10530) over events of any sampling
// rates and noise multipliers, at a fixed set of orders, and converts the best
// of them by Canonne, Kamath, Steinke 2020 (arXiv 2004.00010, Proposition 12).
// Every rounding is covered by a relative inflation of 1e-9: ε is never below
// what the method gives in exact arithmetic.
package account
