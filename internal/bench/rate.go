package bench

import (
	"context"
	"time"
)

// Rate takes a step again and again, after a first one that touches all memory,
// for a time and at least once. It returns the images a second by the clock on
// the wall, of the median step, and busy, the processor time over the wall time
// of so many threads: well below 1, other programs took part of the processors. It
// is 1 where the system does not tell.
func Rate(ctx context.Context, s *Step, threads int, atLeast time.Duration) (perSecond, busy float64, err error) {
	if err := s.whole(ctx); err != nil {
		return 0, 0, err
	}
	var steps []time.Duration
	start, cpu := time.Now(), processTime()
	for len(steps) == 0 || time.Since(start) < atLeast {
		begin := time.Now()
		if err := s.whole(ctx); err != nil {
			return 0, 0, err
		}
		steps = append(steps, time.Since(begin))
	}
	if busy = 1; processorTime {
		busy = (processTime() - cpu).Seconds() / (time.Since(start).Seconds() * float64(threads))
	}
	return float64(s.Images) / median(steps).Seconds(), busy, nil
}
