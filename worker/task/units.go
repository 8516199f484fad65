package task

import (
	"fmt"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/model/draws"
)

// imagesOf are the images of the example with an id.
func imagesOf(units *dataset.Units, id uint32) ([]uint32, error) {
	if int64(id) >= int64(units.Len()) {
		return nil, fmt.Errorf("the plan names an example that this worker's data folder does not have: every worker must read the same data")
	}
	return units.Images(int(id)), nil
}

// turn says which of a unit's m images copy k of its gradient uses: entry
// k mod m of a uniform random order that every Plan draws anew for every unit.
// The images' numbers of copies differ by one at most, and as each image is
// equally likely in each place, the mean gradient over the copies is an unbiased
// estimate of the mean over the images, at a cost that does not grow with m.
//
// The order is Fisher and Yates's: step i exchanges entries i and r_i, for r_i
// uniform in [i, m). Entry j is traced back through the exchanges before it,
// so that only the first entries of the order are ever drawn.
func turn(d *draws.Draws, id uint32, k, m int) int {
	if m == 1 {
		return 0
	}
	j := k % m
	s, r := d.Stream(uint64(id), 0, draws.Unit), make([]int, j+1)
	for i := range r {
		r[i] = i + s.Intn(m-i)
	}
	at := r[j]
	for i := j - 1; i >= 0; i-- {
		if at == r[i] {
			at = i
		}
	}
	return at
}
