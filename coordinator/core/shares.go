package core

import (
	"fmt"
	"math"
	"slices"
)

// share splits the sample among workers in proportion to their speeds, in
// consecutive pieces. Who computes an example changes no bit of the sum.
// Every worker has a share, which may be empty.
func share(ids []uint32, speeds map[string]float64) map[string][]uint32 {
	names := make([]string, 0, len(speeds))
	total := 0.0
	for name, s := range speeds {
		names = append(names, name)
		total += usable(s)
	}
	slices.Sort(names)
	shares := make(map[string][]uint32, len(names))
	from, sum := 0, 0.0
	for i, name := range names {
		sum += usable(speeds[name])
		to := int(math.Round(float64(len(ids)) * sum / total))
		if i == len(names)-1 {
			to = len(ids)
		}
		to = min(max(to, from), len(ids))
		shares[name] = ids[from:to:to]
		from = to
	}
	return shares
}

// usable is s within sane bounds, 1 if a worker's speed is not known.
func usable(s float64) float64 {
	if !(s > 0) || math.IsInf(s, 0) {
		return 1
	}
	return min(max(s, 1e-6), 1e9)
}

// checkPartition reports an error unless every id of the sample is in exactly
// one share and the shares hold nothing else. Its errors name no id and no
// number: both are private.
func checkPartition(ids []uint32, shares map[string][]uint32) error {
	left := make(map[uint32]struct{}, len(ids))
	for _, id := range ids {
		left[id] = struct{}{}
	}
	if len(left) != len(ids) {
		return fmt.Errorf("a sample names an example twice")
	}
	for name, part := range shares {
		for _, id := range part {
			if _, ok := left[id]; !ok {
				return fmt.Errorf("the share of worker %s is no part of the sample or overlaps another share", name)
			}
			delete(left, id)
		}
	}
	if len(left) != 0 {
		return fmt.Errorf("the shares do not cover the sample")
	}
	return nil
}
