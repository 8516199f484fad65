package bench

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Rate takes the whole step, its update included, and passes errors on: once if it
// alone takes the time, else more than once. (Tried without the update and with the
// first step counted alone.)
func TestRateTakesWholeSteps(t *testing.T) {
	runs, updates := 0, 0
	s := &Step{Images: 3, Run: func(context.Context) error { runs++; return nil }, Update: func() error { updates++; return nil }}
	perSecond, busy, err := Rate(context.Background(), s, 1, 0)
	if err != nil || runs != 1 || updates != 1 || !(perSecond > 0) || !(busy >= 0) {
		t.Errorf("%d runs, %d updates, %v a second, busy %v, error %v", runs, updates, perSecond, busy, err)
	}
	if _, _, err := Rate(context.Background(), s, 1, time.Millisecond); err != nil || runs < 3 {
		t.Errorf("%d runs, error %v: the first of short steps was counted alone", runs, err)
	}
	broken := errors.New("broken")
	s.Update = func() error { return broken }
	if _, _, err := Rate(context.Background(), s, 1, 0); !errors.Is(err, broken) {
		t.Errorf("a failing update gives %v", err)
	}
}
