// Package task holds what a worker computes for the phases of a run: clipped
// per-example gradients, and contributions to the prototypes' sums. A task
// knows the data, the model and the clipping; it knows neither ε nor noise.
package task

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/floatbits"
)

// parametersHeader is the length of the prototypes and the clipping norm.
const parametersHeader = 4 + 8

// EncodeParameters is what the fine-tuning phase publishes before each step:
// the step's clipping norm, the prototypes (their own encoding; empty without)
// and the flat trainable vector as little-endian bits.
func EncodeParameters(clipNorm float64, centers []byte, weights []float32) []byte {
	out := make([]byte, 0, parametersHeader+len(centers)+4*len(weights))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(centers)))
	out = binary.LittleEndian.AppendUint64(out, math.Float64bits(clipNorm))
	out = append(out, centers...)
	return floatbits.Append(out, weights)
}

// DecodeParameters reads what EncodeParameters wrote, for exactly len(weights)
// weights.
func DecodeParameters(data []byte, weights []float32) (clipNorm float64, centers []byte, err error) {
	if len(data) < parametersHeader || uint64(len(data)) != parametersHeader+uint64(binary.LittleEndian.Uint32(data))+4*uint64(len(weights)) {
		return 0, nil, fmt.Errorf("published parameters of %d bytes do not hold %d weights", len(data), len(weights))
	}
	clipNorm = math.Float64frombits(binary.LittleEndian.Uint64(data[4:]))
	n := parametersHeader + int(binary.LittleEndian.Uint32(data))
	return clipNorm, data[parametersHeader:n], floatbits.Read(weights, data[n:])
}
