package coordinator

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/dploda/dploda/worker/fleet"
)

// timeless logs everything but the time, in whose digits any number may occur.
func timeless(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// What leaves the coordinator does not depend on the samples: two runs that
// differ in every coin, sum and batch size log and report the same words.
func TestLogsAndProgressDoNotDependOnTheSample(t *testing.T) {
	var outward [2]string
	var sizes [2][]int
	for i := range outward {
		var log bytes.Buffer
		x := newTrial(t, seed(uint64(i)), 6, 3)
		x.change = func(o *Options) {
			o.Logger = timeless(&log)
		}
		x.fleet.disturb = func(f *fakeFleet, n int, gen uint64, shares map[string][]uint32) bool {
			if n != 3 {
				return false
			}
			f.events <- fleet.Failed{Worker: "a", Generation: gen, Reason: "out of memory"}
			return true
		}
		x.mustRun()
		outward[i] = log.String() + fmt.Sprintf("%+v", x.observed)
		for _, s := range x.fleet.seen {
			sizes[i] = append(sizes[i], len(s.ids))
		}
	}
	if fmt.Sprint(sizes[0]) == fmt.Sprint(sizes[1]) {
		t.Fatal("both runs drew batches of the same sizes: the test sees nothing")
	}
	if outward[0] != outward[1] {
		t.Errorf("two runs with different samples can be told apart:\n%s\n%s", outward[0], outward[1])
	}
}

// A sum that is given up does not stay in memory: neither one that was held and
// found miscounted, nor one that nobody awaits.
func TestSumsThatAreNotUsedAreWiped(t *testing.T) {
	x := newTrial(t, nil, 1, 3)
	var given [][]int32
	x.fleet.disturb = func(f *fakeFleet, _ int, gen uint64, _ map[string][]uint32) bool {
		for _, generation := range []uint64{gen - 1, gen} {
			values := []int32{7, 7, 7, 7, 7, 9999}
			given = append(given, values)
			f.events <- fleet.Sum{Generation: generation, Values: values}
		}
		return true
	}
	if err := x.process(t.Context()); err == nil {
		t.Fatal("miscounted sums are accepted")
	}
	for i, values := range given {
		for _, v := range values {
			if v != 0 {
				t.Errorf("sum %d of %d still holds %v", i+1, len(given), values)
				break
			}
		}
	}
}
