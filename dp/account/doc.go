// Package account turns what a ledger recorded into a privacy guarantee: ε as a
// pure function of the charged events and δ, under add/remove-one or replace-one
// adjacency.
//
// Epsilon composes the privacy loss distributions of the Poisson-subsampled
// Gaussian mechanism over events of any sampling rates and noise multipliers. It
// is pessimistic: every approximation and rounding is charged to δ, so that ε is
// never below the truth. pair.go has a step's two distributions, lattice.go
// puts their loss on a lattice, spectrum.go composes lattices and finds ε, meter.go
// chooses the lattice. RDPEpsilon, by Rényi divergences, is independent of all of
// them and stands beside every ε as a cross-check. The proofs are in
// docs/privacy.md, "Accounting".
package account
