package config

// nearest is the name that a mistyped key most likely stands for, or "" if
// none is within two edits.
func nearest(key string, names []string) string {
	best, closest := 3, ""
	for _, n := range names {
		if d := edits(key, n); d < best && d < len(n) {
			best, closest = d, n
		}
	}
	return closest
}

// edits is the optimal string alignment distance: insertions, deletions,
// replacements and swaps of neighbours.
func edits(a, b string) int {
	row := func(n int) []int { return make([]int, n) }
	before, last, now := row(len(b)+1), row(len(b)+1), row(len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			now[j] = min(replace, last[j]+1, now[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
