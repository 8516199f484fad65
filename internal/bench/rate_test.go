package bench

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Rate takes the whole step, its update included, at least once more than the first
// one, and passes errors on. (Tried without the update and without the first step.)
func TestRateTakesWholeSteps(t *testing.T) {
	runs, updates := 0, 0
	s := &Step{Images: 3, Run: func(context.Context) error { runs++; return nil }, Update: func() error { updates++; return nil }}
	perSecond, busy, err := Rate(context.Background(), s, 1, 0)
	if err != nil || runs != 2 || updates != 2 || !(perSecond > 0) || !(busy >= 0) {
		t.Errorf("%d runs, %d updates, %v a second, busy %v, error %v", runs, updates, perSecond, busy, err)
	}
	if _, _, err := Rate(context.Background(), s, 1, time.Millisecond); err != nil || runs < 5 {
		t.Errorf("%d runs in a millisecond, error %v", runs, err)
	}
	broken := errors.New("broken")
	s.Update = func() error { return broken }
	if _, _, err := Rate(context.Background(), s, 1, 0); !errors.Is(err, broken) {
		t.Errorf("a failing update gives %v", err)
	}
}
