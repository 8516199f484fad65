package pipeline

import (
	"fmt"

	"github.com/dploda/dploda/dataset"
)

// broadened is a data set whose labels are the groups of another's classes.
type broadened struct {
	dataset.Dataset
	names  []string
	groups []int // by the class of the data
}

func (b *broadened) Classes() []string { return b.names }

func (b *broadened) Label(i int) int { return b.groups[b.Dataset.Label(i)] }

// broaden puts each class of d into the group that lists its name. A group is
// called by its first class.
func broaden(d dataset.Dataset, groups [][]string) (dataset.Dataset, error) {
	b := &broadened{Dataset: d, groups: make([]int, len(d.Classes()))}
	number := map[string]int{}
	for i, name := range d.Classes() {
		number[name] = i
		b.groups[i] = -1
	}
	for g, names := range groups {
		if len(names) == 0 {
			return nil, fmt.Errorf("broad_classes: list %d is empty", g+1)
		}
		for _, name := range names {
			i, ok := number[name]
			switch {
			case !ok:
				return nil, fmt.Errorf("broad_classes names %q, which is no class of the data", name)
			case b.groups[i] >= 0:
				return nil, fmt.Errorf("broad_classes names %q twice", name)
			}
			b.groups[i] = g
		}
		b.names = append(b.names, names[0])
	}
	for i, g := range b.groups {
		if g < 0 {
			return nil, fmt.Errorf("broad_classes leaves out the class %q of the data; every class must be in one list", d.Classes()[i])
		}
	}
	return b, nil
}
