package ledger

import "encoding/hex"

// RunID names one run; it is random and never reused.
type RunID [16]byte

// Nonce makes a Plan's Poisson sample its own; fresh for every Plan.
type Nonce [16]byte

// ChargeID names one Charge; random, so that two processes never mean the same.
type ChargeID [16]byte

// VersionID names one version of a domain's data; it is random and says nothing
// of their content.
type VersionID [16]byte

// Hash is a SHA-256 hash: of an entry, of a learner's state or of a blob.
type Hash [32]byte

// PlanID is the hash of a Plan's entry. It contains the whole chain before it.
type PlanID Hash

func (id RunID) String() string     { return hex.EncodeToString(id[:]) }
func (id VersionID) String() string { return hex.EncodeToString(id[:]) }
func (n Nonce) String() string      { return hex.EncodeToString(n[:]) }
func (id ChargeID) String() string  { return hex.EncodeToString(id[:]) }
func (h Hash) String() string       { return hex.EncodeToString(h[:]) }
func (id PlanID) String() string    { return hex.EncodeToString(id[:]) }
