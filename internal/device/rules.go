package device

// The rules of differentiation: one for each op that a Builder records.

func (o *Convolution) result() Value     { return o.Y }
func (o *Convolution) params() []ParamID { return []ParamID{o.W, o.Bias} }

func (o *Convolution) backward(r *reverse) {
	dy := r.gradient(o.Y)
	if w, bias := r.trained(o.W), r.trained(o.Bias); w != NoParam || bias != NoParam {
		r.emit(&ConvolutionWeights{X: o.X, DY: dy, W: w, Bias: bias, Conv: o.Conv, Kernel: o.Kernel})
	}
	if dx, add := r.contribute(o.X); dx != NoValue {
		r.emit(&ConvolutionData{DX: dx, DY: dy, W: o.W, Conv: o.Conv, Kernel: o.Kernel, Accumulate: add})
	}
}

func (o *GroupNorm) result() Value     { return o.Y }
func (o *GroupNorm) params() []ParamID { return []ParamID{o.Gamma, o.Beta} }

func (o *GroupNorm) backward(r *reverse) {
	dx, add := r.contribute(o.X)
	if dx == NoValue { // only gamma and beta are trained
		dx = r.scratch(r.shape(o.X))
	}
	dz := dx
	if add && o.SiLU {
		dz = r.scratch(r.shape(o.X))
	}
	r.emit(&GroupNormBackward{DX: dx, DZ: dz, DY: r.gradient(o.Y), X: o.X, Stats: o.Stats, Gamma: o.Gamma,
		Beta: o.Beta, Groups: o.Groups, Eps: o.Eps, SiLU: o.SiLU, Accumulate: add})
}

func (o *SiLU) result() Value     { return o.Y }
func (o *SiLU) params() []ParamID { return nil }

func (o *SiLU) backward(r *reverse) {
	if dx, add := r.contribute(o.X); dx != NoValue {
		r.emit(&SiLUBackward{DX: dx, DY: r.gradient(o.Y), X: o.X, Accumulate: add})
	}
}

func (o *ReLU) result() Value     { return o.Y }
func (o *ReLU) params() []ParamID { return nil }

func (o *ReLU) backward(r *reverse) {
	if dx, add := r.contribute(o.X); dx != NoValue {
		r.emit(&ReLUBackward{DX: dx, DY: r.gradient(o.Y), Y: o.Y, Accumulate: add})
	}
}

func (o *Add) result() Value     { return o.Z }
func (o *Add) params() []ParamID { return nil }

func (o *Add) backward(r *reverse) {
	r.pass(o.X, r.gradient(o.Z))
	r.pass(o.Y, r.gradient(o.Z))
}

func (o *Scale) result() Value     { return o.Y }
func (o *Scale) params() []ParamID { return nil }

func (o *Scale) backward(r *reverse) {
	if dx, add := r.contribute(o.X); dx != NoValue {
		r.emit(&Scale{Y: dx, X: r.gradient(o.Y), S: o.S, Accumulate: add})
	}
}

func (o *AddChannels) result() Value     { return o.Y }
func (o *AddChannels) params() []ParamID { return nil }

func (o *AddChannels) backward(r *reverse) {
	dy := r.gradient(o.Y)
	if dv, add := r.contribute(o.V); dv != NoValue {
		r.emit(&SumPixels{V: dv, X: dy, Accumulate: add})
	}
	r.pass(o.X, dy)
}

func (o *SumPixels) result() Value     { return o.V }
func (o *SumPixels) params() []ParamID { return nil }

func (o *SumPixels) backward(r *reverse) {
	dx, add := r.contribute(o.X)
	if dx == NoValue {
		return
	}
	if !add {
		r.emit(&Fill{Y: dx, S: 0})
	}
	r.emit(&AddChannels{Y: dx, X: dx, V: r.gradient(o.V)})
}

func (o *Concat) result() Value     { return o.Z }
func (o *Concat) params() []ParamID { return nil }

func (o *Concat) backward(r *reverse) {
	dz := r.gradient(o.Z)
	if dx, add := r.contribute(o.X); dx != NoValue {
		r.emit(&SliceChannels{X: dx, Y: dz, From: 0, Accumulate: add})
	}
	if dy, add := r.contribute(o.Y); dy != NoValue {
		r.emit(&SliceChannels{X: dy, Y: dz, From: r.shape(o.X).C, Accumulate: add})
	}
}

func (o *Attention) result() Value     { return o.Y }
func (o *Attention) params() []ParamID { return nil }

func (o *Attention) backward(r *reverse) {
	s := r.shape(o.P)
	s.C = 1
	b := &AttentionBackward{DY: r.gradient(o.Y), P: o.P, DP: r.scratch(s), Q: o.Q, K: o.K, V: o.V, Heads: o.Heads, Keep: o.Keep}
	if !o.Keep {
		b.P = r.scratch(s)
	}
	b.DQ, b.AddQ = r.contribute(o.Q)
	b.DK, b.AddK = r.contribute(o.K)
	b.DV, b.AddV = r.contribute(o.V)
	r.emit(b)
}

func (o *Upsample) result() Value     { return o.Y }
func (o *Upsample) params() []ParamID { return nil }

func (o *Upsample) backward(r *reverse) {
	if dx, add := r.contribute(o.X); dx != NoValue {
		r.emit(&UpsampleBackward{DX: dx, DY: r.gradient(o.Y), Accumulate: add})
	}
}

func (o *MaxPool) result() Value     { return o.Y }
func (o *MaxPool) params() []ParamID { return nil }

func (o *MaxPool) backward(r *reverse) {
	dx, add := r.contribute(o.X)
	if dx == NoValue {
		return
	}
	if !add {
		r.emit(&Fill{Y: dx, S: 0})
	}
	r.emit(&MaxPoolBackward{DX: dx, DY: r.gradient(o.Y), X: o.X})
}

func (o *Embedding) result() Value     { return o.Y }
func (o *Embedding) params() []ParamID { return []ParamID{o.Table} }

func (o *Embedding) backward(r *reverse) {
	r.emit(&EmbeddingBackward{DY: r.gradient(o.Y), Table: o.Table, Row: o.Row})
}

func (o *SquaredError) result() Value     { return o.Loss }
func (o *SquaredError) params() []ParamID { return nil }

func (o *SquaredError) backward(r *reverse) {
	r.refuse(o.Weight)
	for _, side := range [][2]Value{{o.Pred, o.Target}, {o.Target, o.Pred}} {
		if dx, add := r.contribute(side[0]); dx != NoValue {
			r.emit(&SquaredErrorBackward{DX: dx, DLoss: r.gradient(o.Loss), X: side[0], Y: side[1], Weight: o.Weight, Accumulate: add})
		}
	}
}

func (o *CrossEntropy) result() Value     { return o.Loss }
func (o *CrossEntropy) params() []ParamID { return nil }

func (o *CrossEntropy) backward(r *reverse) {
	r.refuse(o.Weight)
	if dx, add := r.contribute(o.Logits); dx != NoValue {
		r.emit(&CrossEntropyBackward{DLogits: dx, DLoss: r.gradient(o.Loss), P: o.P, Weight: o.Weight, Label: o.Label, Accumulate: add})
	}
}
