package optim

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A state is, little-endian: the magic "OPT1", one byte of kind, the number of
// scalars and of vectors (uint32 each), the vectors' common length (uint64),
// the scalars' float64 bits, the vectors' float32 bits.
const magic = "OPT1"

type kind byte

const (
	kindAdam kind = iota + 1
	kindSGD
	kindEMA
)

const headerLen = len(magic) + 1 + 4 + 4 + 8

func appendHeader(b []byte, k kind, scalars, vectors, dim int) []byte {
	b = append(b, magic...)
	b = append(b, byte(k))
	b = binary.LittleEndian.AppendUint32(b, uint32(scalars))
	b = binary.LittleEndian.AppendUint32(b, uint32(vectors))
	return binary.LittleEndian.AppendUint64(b, uint64(dim))
}

func encodeState(k kind, scalars []float64, vectors ...[]float32) []byte {
	dim := len(vectors[0])
	b := make([]byte, 0, headerLen+8*len(scalars)+4*dim*len(vectors))
	b = appendHeader(b, k, len(scalars), len(vectors), dim)
	for _, s := range scalars {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s))
	}
	for _, v := range vectors {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
	}
	return b
}

// decodeState fills scalars and vectors from a state of exactly their number
// and lengths; anything else is an error and changes nothing.
func decodeState(state []byte, k kind, scalars []float64, vectors ...[]float32) error {
	dim := len(vectors[0])
	header := appendHeader(nil, k, len(scalars), len(vectors), dim)
	if want := headerLen + 8*len(scalars) + 4*dim*len(vectors); len(state) != want {
		return fmt.Errorf("the optimizer's state has %d bytes, but %d parameters need %d", len(state), dim, want)
	}
	if string(state[:headerLen]) != string(header) {
		return fmt.Errorf("the optimizer's state is of another kind or size than the optimizer")
	}
	state = state[headerLen:]
	for i := range scalars {
		scalars[i] = math.Float64frombits(binary.LittleEndian.Uint64(state))
		state = state[8:]
	}
	for _, v := range vectors {
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(state))
			state = state[4:]
		}
	}
	return nil
}
