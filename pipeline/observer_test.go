package pipeline

import (
	"strings"
	"testing"
	"time"
)

// A rate is told after twenty units and then of twenty units or more: less would
// tell of the size of single batches.
func TestMeterTellsNothingOfSingleSteps(t *testing.T) {
	now := time.Unix(0, 0)
	m := newMeter(func() time.Time { return now }, 7)
	told := map[float64]bool{}
	last, since := 0.0, 0
	for done := 8; done < 207; done++ {
		now = now.Add(time.Duration(1+done%5*done%3) * time.Second) // uneven
		rate := m.advance(done)
		if done < 27 && rate != 0 {
			t.Fatalf("a rate after %d units", done-7)
		}
		since++
		if rate != last {
			if since < smoothing {
				t.Fatalf("a new rate %d units after the one before", since)
			}
			last, since = rate, 0
		}
		told[rate] = true
	}
	if len(told) < 5 {
		t.Errorf("%d rates in 200 units: the test sees nothing", len(told))
	}
}

func TestMeterIsRight(t *testing.T) {
	now := time.Unix(0, 0)
	m := newMeter(func() time.Time { return now }, 0)
	for done := 5; done <= 100; done += 5 {
		now = now.Add(10 * time.Second)
		if rate := m.advance(done); rate != 0 && (rate < 1.999 || rate > 2.001) {
			t.Errorf("%v seconds a unit, want 2", rate)
		}
	}
}

// A worker's crash must not carry values into the log.
func TestLastWordsHoldNoTrace(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"dploda: this worker's images are not the coordinator's\n", "dploda: this worker's images are not the coordinator's"},
		{"a\n\n  b\n", "a; b"},
		{"", ""},
		{"dploda: hello\npanic: runtime error: index out of range [4711] with length 10\n\ngoroutine 1 [running]:\nmain.f(0x4711)\n", "dploda: hello; it crashed"},
		{"fatal error: concurrent map writes\n\ngoroutine 4711 [running]:\n", "it crashed"},
		{"SIGSEGV: segmentation violation\nPC=0x4711\n", "it crashed"},
		{"unexpected fault address 0x4711\nfatal error: fault\n", "it crashed"},
	} {
		if got := lastWords(tc.text); got != tc.want || strings.Contains(got, "4711") {
			t.Errorf("%q becomes %q, want %q", tc.text, got, tc.want)
		}
	}
}
