package core

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dploda/dploda/dp/ledger"
)

// Whatever happens in whatever order, crashes and lost answers included: every
// charge is noised at most once, a released state has its commit, each step is
// released with one state, and when the disturbance ends the phase completes.
// (Tried with noise added without the receipt of the Plan's own charge.)
func TestAnythingCanHappen(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const steps = 3
		s := newSim(steps, 100, Config{MinWorkers: rapid.IntRange(1, 2).Draw(rt, "min"), MaxFailures: 1000,
			CheckpointEvery: rapid.IntRange(1, 4).Draw(rt, "every")})
		s.silent = true
		s.feed(Ledger{View: s.view()})
		for range rapid.IntRange(0, 60).Draw(rt, "events") {
			disturb(rt, s)
			invariants(rt, s)
		}
		s.hold = ""
		s.restart()
		s.feed(Joined{"a", 1}, Joined{"b", 2}, Ledger{View: s.view()})
		for i := 0; !s.ended; i++ {
			if i > 10*steps {
				rt.Fatal("the phase does not complete")
			}
			s.feed(SumArrived{s.core.generation, 10})
		}
		if s.err != nil || !s.view().Phases[0].Complete {
			rt.Fatalf("the phase ends with %v", s.err)
		}
		invariants(rt, s)
	})
}

func disturb(t *rapid.T, s *sim) {
	worker := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "worker")
	generation := s.core.generation - uint64(rapid.IntRange(0, 1).Draw(t, "late"))
	switch rapid.IntRange(0, 10).Draw(t, "event") {
	case 0, 1:
		s.feed(Joined{worker, rapid.Float64().Draw(t, "speed")})
	case 2:
		s.feed(Lost{worker, "killed"})
	case 3:
		s.feed(Failed{worker, generation, "no reason"})
	case 4, 5, 6, 7:
		s.feed(SumArrived{generation, int64(10 - rapid.IntRange(0, 8).Draw(t, "count")/8)})
	case 8:
		s.hold = rapid.SampledFrom([]string{"lost ", "kept "}).Draw(t, "answer") +
			rapid.SampledFrom([]string{"plan", "charge", "commit", "complete"}).Draw(t, "proposal")
	case 9:
		s.hold = rapid.SampledFrom([]string{"noise", "crash plan", "crash charge", "crash commit", "crash complete"}).Draw(t, "crash at")
	case 10:
		s.restart()
		s.feed(Joined{"a", 1}, Joined{"b", 1}, Ledger{View: s.view()})
	}
}

func invariants(t *rapid.T, s *sim) {
	charges, commits := map[ledger.ChargeID]bool{}, map[ledger.Hash]bool{}
	for _, raw := range s.machine.Events() {
		switch e, _ := ledger.Decode(raw); e := e.(type) {
		case ledger.Charge:
			charges[e.Charge] = true
		case ledger.Commit:
			commits[e.NewState] = true
		}
	}
	for id, n := range s.noises {
		if n > 1 || !charges[id] {
			t.Fatalf("charge %s was noised %d times, in the ledger: %v", id, n, charges[id])
		}
	}
	for n, states := range s.release {
		for state := range states {
			if len(states) > 1 || n > 0 && !commits[state] {
				t.Fatalf("after %d commits %d states were released, committed: %v", n, len(states), commits[state])
			}
		}
	}
	if p := s.view().Phases[0]; s.mark.Commits >= 0 && s.mark.Commits > p.Commits {
		t.Fatal("a checkpoint is ahead of the ledger")
	}
	if s.ended && s.err != nil {
		t.Fatalf("the core gave up: %v", s.err)
	}
}

// share covers every id once for any speeds, and its twin, checkPartition,
// finds every way in which it could not.
func TestShares(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ids := rapid.SliceOfDistinct(rapid.Uint32(), rapid.ID[uint32]).Draw(rt, "ids")
		speeds := map[string]float64{}
		for i := range rapid.IntRange(1, 7).Draw(rt, "workers") {
			speeds[fmt.Sprint("w", i)] = rapid.Float64().Draw(rt, "speed")
		}
		shares := share(ids, speeds)
		if err := checkPartition(ids, shares); err != nil || len(shares) != len(speeds) {
			rt.Fatalf("%d shares, %v", len(shares), err)
		}
		var whole []uint32
		for i := range len(speeds) {
			whole = append(whole, shares[fmt.Sprint("w", i)]...)
		}
		if !slices.Equal(whole, ids) {
			rt.Fatal("the shares in order are not the sample")
		}
		if len(ids) == 0 {
			return
		}
		i := rapid.IntRange(0, len(ids)-1).Draw(rt, "which")
		for name, part := range map[string][]uint32{"missing": slices.Delete(slices.Clone(ids), i, i+1), "twice": append(slices.Clone(ids), ids[i])} {
			if checkPartition(ids, map[string][]uint32{"a": part}) == nil {
				rt.Fatalf("an id %s goes unnoticed", name)
			}
		}
		if checkPartition(append(slices.Clone(ids), ids[i]), map[string][]uint32{"a": ids}) == nil {
			rt.Fatal("a sample with an id twice goes unnoticed")
		}
	})
}

func TestSharesFollowSpeed(t *testing.T) {
	ids := make([]uint32, 100)
	for i := range ids {
		ids[i] = uint32(i)
	}
	got := share(ids, map[string]float64{"a": 3, "b": 1, "c": 0})
	if len(got["a"]) != 60 || len(got["b"]) != 20 || len(got["c"]) != 20 {
		t.Errorf("shares of %d, %d and %d", len(got["a"]), len(got["b"]), len(got["c"]))
	}
}
