package kernel

// portable is the plain Go of every flat kernel: the definition that the
// assembly is held to, bit for bit.
func (f *flat) portable() bool {
	dst, x, y, s := f.dst, f.x, f.y, &f.s
	found := false
	switch f.op {
	case opCombine:
		for i := range dst {
			dst[i] = float32(s[0]*x[i]) + float32(s[1]*y[i])
		}
	case opAddScaled:
		for i := range dst {
			dst[i] += float32(s[0] * x[i])
		}
	case opDivideDifference:
		for i := range dst {
			dst[i] = (x[i] - float32(s[0]*y[i])) / s[1]
		}
	case opClamp:
		for i, v := range dst {
			found = found || v != v
			dst[i] = min(max(v, s[0]), s[1])
		}
	case opAdam:
		f.adam(func(v float32) float32 { return sqrt32(v) + s[7] })
	case opAdamNoise:
		f.adam(func(v float32) float32 { return sqrt32(max(v-s[8], s[9])) })
	}
	return found
}

func (f *flat) adam(denominator func(v float32) float32) {
	s := &f.s
	for i, g := range f.z {
		m := float32(s[0]*f.x[i]) + float32(s[1]*g)
		v := float32(s[2]*f.y[i]) + float32(s[3]*float32(g*g))
		f.x[i], f.y[i] = m, v
		step := float32(s[4]*m) / denominator(v/s[5])
		f.dst[i] = float32(f.dst[i]*s[6]) - step
	}
}
