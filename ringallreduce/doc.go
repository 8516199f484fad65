// Package ringallreduce sums vectors over a ring of ranks.
//
// A vector of n numbers is cut into as many segments as there are ranks. In the
// reduce-scatter, segment s starts at rank s and travels round the ring; every
// rank adds its own numbers and passes the partial sum on, so that after N-1
// hops rank (s-1) mod N holds the finished segment. In the all-gather the
// finished segments travel round once more (Patarasuk, Yuan, "Bandwidth optimal
// all-reduce algorithms for clusters of workstations", JPDC 69(2), 2009).
// Segments travel in chunks and a chunk is passed on as soon as it is summed, so
// the numbers in flight towards one rank never exceed its vector: the ring needs
// no further flow control.
//
// Integers wrap, so their sums are the same for any number of ranks and any
// order. Float32 sums are added in the order of the ranks from the segment's
// first on: the same for any timing, not for another number of ranks.
//
// Ring is the pure core: Step(chunk) → effects, without goroutines, clock or
// network. Run is the thin shell that moves its chunks over a Link. A Link is
// the one place where chunks leave a process: NATS is the Link of this package;
// one that seals chunks between machines wraps or replaces it and changes
// nothing else. Nothing here is encrypted, so the traffic must stay on one
// machine.
//
// A rank that dies leaves its neighbours waiting; they never give up on their
// own. Whoever watches the ranks cancels the context of each and starts a new
// generation. Chunks of other generations and attempts, duplicates and garbage
// are ignored.
package ringallreduce
