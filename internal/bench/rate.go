package bench

import (
	"context"
	"time"
)

// Rate takes a step again and again for a time, after a first one that touches all
// memory and counts only if it alone took that time. It returns the images a second by the clock on
// the wall, of the median step, and busy, the processor time over the wall time
// of so many threads: well below 1, other programs took part of the processors. It
// is 1 where the system does not tell.
func Rate(ctx context.Context, s *Step, threads int, atLeast time.Duration) (perSecond, busy float64, err error) {
	var steps []time.Duration
	start, cpu := time.Now(), processTime()
	for first := true; len(steps) == 0 || time.Since(start) < atLeast; first = false {
		begin := time.Now()
		if err := s.whole(ctx); err != nil {
			return 0, 0, err
		}
		took := time.Since(begin)
		if first && took < atLeast {
			start, cpu = time.Now(), processTime()
			continue
		}
		steps = append(steps, took)
	}
	if busy = 1; processorTime {
		busy = (processTime() - cpu).Seconds() / (time.Since(start).Seconds() * float64(threads))
	}
	return float64(s.Images) / median(steps).Seconds(), busy, nil
}
