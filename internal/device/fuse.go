package device

import (
	"reflect"
	"slices"
)

// fuse makes a convolution that is only added to another value add to it
// itself, which saves a buffer and a pass over memory: the up-projection of
// every adapter is one. It takes the place of the Add, whose result is then the
// other value's buffer.
func (l *OpList) fuse() {
	uses := l.uses()
	for i := range l.Ops {
		add, ok := l.Ops[i].(*Add)
		if !ok {
			continue
		}
		for _, side := range [][2]Value{{add.X, add.Y}, {add.Y, add.X}} {
			kept, sum := side[0], side[1]
			j, conv := l.fusible(uses, i, kept, sum)
			if conv == nil {
				continue
			}
			fused := *conv
			fused.Y, fused.Accumulate = kept, true
			l.Ops[i], l.Ops[j] = &fused, nil
			for k := i + 1; k < len(l.Ops); k++ {
				l.Ops[k] = rename(l.Ops[k], add.Z, kept)
			}
			for k := range l.Outputs {
				if l.Outputs[k].Value == add.Z {
					l.Outputs[k].Value = kept
				}
			}
			uses = l.uses()
			break
		}
	}
	l.Ops = slices.DeleteFunc(l.Ops, func(op Op) bool { return op == nil })
}

// fusible returns the convolution that makes sum, and its position, if nothing
// but the Add at i reads sum or, later, kept; and if the convolution may run at
// i as well.
func (l *OpList) fusible(uses [][]int, i int, kept, sum Value) (int, *Convolution) {
	if kept == sum || len(uses[sum]) != 2 || l.named(sum) || l.named(kept) || uses[kept][len(uses[kept])-1] != i {
		return 0, nil
	}
	j := uses[sum][0]
	conv, ok := l.Ops[j].(*Convolution)
	if !ok || conv.Bias != NoParam || conv.Accumulate || conv.X == kept {
		return 0, nil
	}
	for _, op := range l.Ops[j:i] {
		if op != nil && slices.Contains(op.Writes(), conv.X) {
			return 0, nil
		}
	}
	return j, conv
}

// uses lists the positions of the ops that read or write each value.
func (l *OpList) uses() [][]int {
	uses := make([][]int, len(l.Shapes))
	for i, op := range l.Ops {
		if op == nil {
			continue
		}
		for _, v := range append(op.Reads(), op.Writes()...) {
			if v != NoValue && (len(uses[v]) == 0 || uses[v][len(uses[v])-1] != i) {
				uses[v] = append(uses[v], i)
			}
		}
	}
	return uses
}

// named reports whether v is an input or an output.
func (l *OpList) named(v Value) bool {
	is := func(n NamedValue) bool { return n.Value == v }
	return slices.ContainsFunc(l.Inputs, is) || slices.ContainsFunc(l.Outputs, is)
}

// rename returns a copy of op in which the value from is called to.
func rename(op Op, from, to Value) Op {
	if op == nil {
		return nil
	}
	c := reflect.New(reflect.TypeOf(op).Elem())
	c.Elem().Set(reflect.ValueOf(op).Elem())
	for i := range c.Elem().NumField() {
		if f := c.Elem().Field(i); f.Type() == reflect.TypeFor[Value]() && Value(f.Int()) == from {
			f.SetInt(int64(to))
		}
	}
	return c.Interface().(Op)
}
