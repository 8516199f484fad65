package device

import "fmt"

// reverse derives the reverse list. The rules in rules.go see only its methods.
//
// The gradient of a forward value is one buffer, to which the consumers of the
// value contribute in reverse order of the list: the first writes, the others
// add. Where a contribution is another value's gradient unchanged, the two
// share a buffer; owners counts the forward values that still need it, and a
// shared buffer is copied before something is added to it.
type reverse struct {
	shapes []Shape
	params []Param
	wanted []bool  // by forward value
	grad   []Value // by forward value
	owners map[Value]int
	ops    []Op
	err    error
}

// differentiate appends the reverse list of loss to forward, whose values have
// the given shapes. It returns the ops and the shapes of all values.
func differentiate(forward []forwardOp, shapes []Shape, params []Param, loss Value) ([]Op, []Shape, error) {
	r := &reverse{shapes: shapes, params: params, owners: map[Value]int{}, grad: make([]Value, len(shapes))}
	for i := range r.grad {
		r.grad[i] = NoValue
	}
	r.wanted = wanted(forward, len(shapes), params, loss)
	if !r.wanted[loss] {
		return nil, nil, fmt.Errorf("device: the loss depends on no trainable parameter")
	}
	seed, _ := r.contribute(loss)
	r.emit(&Fill{Y: seed, S: 1})
	for i := len(forward) - 1; i >= 0; i-- {
		op := forward[i]
		if g := r.grad[op.result()]; g != NoValue {
			op.backward(r)
			r.owners[g]--
		}
	}
	return r.ops, r.shapes, r.err
}

// wanted marks the values whose gradients matter: those that the loss depends
// on and that depend on a trainable parameter.
func wanted(forward []forwardOp, n int, params []Param, loss Value) []bool {
	trained, used := make([]bool, n), make([]bool, n)
	for _, op := range forward {
		for _, p := range op.params() {
			trained[op.result()] = trained[op.result()] || p != NoParam && params[p].Trainable
		}
		for _, v := range op.Reads() {
			trained[op.result()] = trained[op.result()] || trained[v]
		}
	}
	used[loss] = true
	for i := len(forward) - 1; i >= 0; i-- {
		if used[forward[i].result()] {
			for _, v := range forward[i].Reads() {
				used[v] = true
			}
		}
	}
	for v := range trained {
		trained[v] = trained[v] && used[v]
	}
	return trained
}

func (r *reverse) emit(op Op)          { r.ops = append(r.ops, op) }
func (r *reverse) shape(v Value) Shape { return r.shapes[v] }

// scratch makes a value for the use of one op.
func (r *reverse) scratch(s Shape) Value {
	r.shapes = append(r.shapes, s)
	return Value(len(r.shapes) - 1)
}

// trained returns p if it is trainable, else NoParam.
func (r *reverse) trained(p ParamID) ParamID {
	if p == NoParam || !r.params[p].Trainable {
		return NoParam
	}
	return p
}

// gradient returns the complete gradient of an op's result. It must not be
// written.
func (r *reverse) gradient(v Value) Value { return r.grad[v] }

// contribute returns the buffer to which the gradient of v is to be written
// or, if add is set, added; NoValue if nobody wants it. The caller emits the op
// that does so next.
func (r *reverse) contribute(v Value) (dv Value, add bool) {
	if !r.wanted[v] {
		return NoValue, false
	}
	g := r.grad[v]
	if g != NoValue && r.owners[g] == 1 {
		return g, true
	}
	r.grad[v] = r.scratch(r.shapes[v])
	r.owners[r.grad[v]] = 1
	if g == NoValue {
		return r.grad[v], false
	}
	r.owners[g]--
	r.emit(&Scale{Y: r.grad[v], X: g, S: 1})
	return r.grad[v], true
}

// pass contributes dy unchanged to the gradient of v.
func (r *reverse) pass(v, dy Value) {
	if !r.wanted[v] {
		return
	}
	if r.grad[v] == NoValue {
		r.grad[v] = dy
		r.owners[dy]++
		return
	}
	dv, _ := r.contribute(v)
	r.emit(&Scale{Y: dv, X: dy, S: 1, Accumulate: true})
}

// refuse reports a gradient that no rule computes.
func (r *reverse) refuse(weight Value) {
	if r.wanted[weight] && r.err == nil {
		r.err = fmt.Errorf("device: the weight of a loss must not depend on trainable parameters")
	}
}
