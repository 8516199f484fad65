package device

// An Op is one step of an op list. A device runs each of the types in this
// file. Where an op has Accumulate, it adds to what its result holds instead of
// overwriting it.
type Op interface {
	// Reads and Writes list the values that the op reads and writes; a value
	// it adds to is in Writes. Absent values may be listed as [NoValue].
	Reads() []Value
	Writes() []Value
}

// forwardOp is an op that a Builder records.
type forwardOp interface {
	Op
	result() Value
	params() []ParamID
	// backward emits the ops that take the gradient of the result to those
	// of the inputs and parameters.
	backward(r *reverse)
}

// Convolution is Y (+)= X * W + Bias. Accumulate excludes a bias.
type Convolution struct {
	Y, X       Value
	W, Bias    ParamID
	Conv       Conv
	Kernel     [2]int // rows, columns
	Accumulate bool
}

// ConvolutionData is the gradient DX of a convolution's input from DY, that of
// its result.
type ConvolutionData struct {
	DX, DY     Value
	W          ParamID
	Conv       Conv
	Kernel     [2]int
	Accumulate bool
}

// ConvolutionWeights adds to the gradients of W and Bias, either of which may
// be [NoParam].
type ConvolutionWeights struct {
	X, DY   Value
	W, Bias ParamID
	Conv    Conv
	Kernel  [2]int
}

// GroupNorm sets Y, and Stats (2·Groups numbers) for its backward op.
type GroupNorm struct {
	Y, Stats, X Value
	Gamma, Beta ParamID
	Groups      int
	Eps         float32
	SiLU        bool
}

// GroupNormBackward sets DX and adds to the gradients of Gamma and Beta where
// these are trainable. DZ is scratch of the same shape, DX itself unless
// accumulating.
type GroupNormBackward struct {
	DX, DZ, DY, X, Stats Value
	Gamma, Beta          ParamID
	Groups               int
	Eps                  float32
	SiLU, Accumulate     bool
}

// SiLU is Y = X·sigmoid(X).
type SiLU struct{ Y, X Value }

// SiLUBackward is DX (+)= DY·silu'(X).
type SiLUBackward struct {
	DX, DY, X  Value
	Accumulate bool
}

// ReLU is Y = max(X, 0).
type ReLU struct{ Y, X Value }

// ReLUBackward is DX (+)= DY where Y > 0.
type ReLUBackward struct {
	DX, DY, Y  Value
	Accumulate bool
}

// Add is Z = X + Y.
type Add struct{ Z, X, Y Value }

// Scale is Y (+)= S·X.
type Scale struct {
	Y, X       Value
	S          float32
	Accumulate bool
}

// Fill sets every element of Y to S.
type Fill struct {
	Y Value
	S float32
}

// AddChannels is Y = X + V at every pixel.
type AddChannels struct{ Y, X, V Value }

// SumPixels is V (+)= the sum of X over its pixels.
type SumPixels struct {
	V, X       Value
	Accumulate bool
}

// Concat is Z = X, Y along the channels.
type Concat struct{ Z, X, Y Value }

// SliceChannels is X (+)= the channels of Y from From on.
type SliceChannels struct {
	X, Y       Value
	From       int
	Accumulate bool
}

// Attention sets Y from the probabilities P of query pixel, key pixel. P holds
// those of all heads if Keep is set, else it is scratch for one head.
type Attention struct {
	Y, P, Q, K, V Value
	Heads         int
	Keep          bool
}

// AttentionBackward sets DQ, DK and DV, any of which may be [NoValue]. Unless
// Keep, it computes the probabilities of each head again, in P. DP is scratch
// for the gradient of one head's probabilities.
type AttentionBackward struct {
	DQ, DK, DV, DP, DY, P, Q, K, V Value
	Heads                          int
	Keep                           bool
	AddQ, AddK, AddV               bool // accumulate
}

// Upsample repeats every pixel of X twice in both directions.
type Upsample struct{ Y, X Value }

// UpsampleBackward is DX (+)= the sum of the four pixels of DY.
type UpsampleBackward struct {
	DX, DY     Value
	Accumulate bool
}

// MaxPool is the maximum of each 2x2 pixels of X.
type MaxPool struct{ Y, X Value }

// MaxPoolBackward adds DY to DX at the first pixel that holds the maximum.
type MaxPoolBackward struct{ DX, DY, X Value }

// Embedding is a row of Table.
type Embedding struct {
	Y     Value
	Table ParamID
	Row   Index
}

// EmbeddingBackward adds DY to the gradient of a row of Table.
type EmbeddingBackward struct {
	DY    Value
	Table ParamID
	Row   Index
}

// SquaredError is Loss = Weight·mean((Pred-Target)²).
type SquaredError struct{ Loss, Pred, Target, Weight Value }

// SquaredErrorBackward is DX (+)= 2·DLoss·Weight·(X-Y)/n.
type SquaredErrorBackward struct {
	DX, DLoss, X, Y, Weight Value
	Accumulate              bool
}

// CrossEntropy is Loss = -Weight·log P[Label] with P = softmax(Logits).
type CrossEntropy struct {
	Loss, P, Logits, Weight Value
	Label                   Index
}

// CrossEntropyBackward is DLogits (+)= DLoss·Weight·(P - onehot(Label)).
type CrossEntropyBackward struct {
	DLogits, DLoss, P, Weight Value
	Label                     Index
	Accumulate                bool
}

func (o *Convolution) Reads() []Value           { return []Value{o.X} }
func (o *Convolution) Writes() []Value          { return []Value{o.Y} }
func (o *ConvolutionData) Reads() []Value       { return []Value{o.DY} }
func (o *ConvolutionData) Writes() []Value      { return []Value{o.DX} }
func (o *ConvolutionWeights) Reads() []Value    { return []Value{o.X, o.DY} }
func (o *ConvolutionWeights) Writes() []Value   { return nil }
func (o *GroupNorm) Reads() []Value             { return []Value{o.X} }
func (o *GroupNorm) Writes() []Value            { return []Value{o.Y, o.Stats} }
func (o *GroupNormBackward) Reads() []Value     { return []Value{o.DY, o.X, o.Stats} }
func (o *GroupNormBackward) Writes() []Value    { return []Value{o.DX, o.DZ} }
func (o *SiLU) Reads() []Value                  { return []Value{o.X} }
func (o *SiLU) Writes() []Value                 { return []Value{o.Y} }
func (o *SiLUBackward) Reads() []Value          { return []Value{o.DY, o.X} }
func (o *SiLUBackward) Writes() []Value         { return []Value{o.DX} }
func (o *ReLU) Reads() []Value                  { return []Value{o.X} }
func (o *ReLU) Writes() []Value                 { return []Value{o.Y} }
func (o *ReLUBackward) Reads() []Value          { return []Value{o.DY, o.Y} }
func (o *ReLUBackward) Writes() []Value         { return []Value{o.DX} }
func (o *Add) Reads() []Value                   { return []Value{o.X, o.Y} }
func (o *Add) Writes() []Value                  { return []Value{o.Z} }
func (o *Scale) Reads() []Value                 { return []Value{o.X} }
func (o *Scale) Writes() []Value                { return []Value{o.Y} }
func (o *Fill) Reads() []Value                  { return nil }
func (o *Fill) Writes() []Value                 { return []Value{o.Y} }
func (o *AddChannels) Reads() []Value           { return []Value{o.X, o.V} }
func (o *AddChannels) Writes() []Value          { return []Value{o.Y} }
func (o *SumPixels) Reads() []Value             { return []Value{o.X} }
func (o *SumPixels) Writes() []Value            { return []Value{o.V} }
func (o *Concat) Reads() []Value                { return []Value{o.X, o.Y} }
func (o *Concat) Writes() []Value               { return []Value{o.Z} }
func (o *SliceChannels) Reads() []Value         { return []Value{o.Y} }
func (o *SliceChannels) Writes() []Value        { return []Value{o.X} }
func (o *Attention) Reads() []Value             { return []Value{o.Q, o.K, o.V} }
func (o *Attention) Writes() []Value            { return []Value{o.Y, o.P} }
func (o *AttentionBackward) Writes() []Value    { return o.writes() }
func (o *AttentionBackward) Reads() []Value     { return o.reads() }
func (o *Upsample) Reads() []Value              { return []Value{o.X} }
func (o *Upsample) Writes() []Value             { return []Value{o.Y} }
func (o *UpsampleBackward) Reads() []Value      { return []Value{o.DY} }
func (o *UpsampleBackward) Writes() []Value     { return []Value{o.DX} }
func (o *MaxPool) Reads() []Value               { return []Value{o.X} }
func (o *MaxPool) Writes() []Value              { return []Value{o.Y} }
func (o *MaxPoolBackward) Reads() []Value       { return []Value{o.DY, o.X} }
func (o *MaxPoolBackward) Writes() []Value      { return []Value{o.DX} }
func (o *Embedding) Reads() []Value             { return nil }
func (o *Embedding) Writes() []Value            { return []Value{o.Y} }
func (o *EmbeddingBackward) Reads() []Value     { return []Value{o.DY} }
func (o *EmbeddingBackward) Writes() []Value    { return nil }
func (o *SquaredError) Reads() []Value          { return []Value{o.Pred, o.Target, o.Weight} }
func (o *SquaredError) Writes() []Value         { return []Value{o.Loss} }
func (o *SquaredErrorBackward) Reads() []Value  { return []Value{o.DLoss, o.X, o.Y, o.Weight} }
func (o *SquaredErrorBackward) Writes() []Value { return []Value{o.DX} }
func (o *CrossEntropy) Reads() []Value          { return []Value{o.Logits, o.Weight} }
func (o *CrossEntropy) Writes() []Value         { return []Value{o.Loss, o.P} }
func (o *CrossEntropyBackward) Reads() []Value  { return []Value{o.DLoss, o.P, o.Weight} }
func (o *CrossEntropyBackward) Writes() []Value { return []Value{o.DLogits} }

func (o *AttentionBackward) reads() []Value {
	r := []Value{o.DY, o.Q, o.K, o.V}
	if o.Keep {
		r = append(r, o.P)
	}
	return r
}

func (o *AttentionBackward) writes() []Value {
	w := []Value{o.DQ, o.DK, o.DV, o.DP}
	if !o.Keep {
		w = append(w, o.P)
	}
	return w
}
