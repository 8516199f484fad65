// Package task holds what a worker computes for the phases of a run: clipped
// per-example gradients, and contributions to the prototypes' sums. A task
// knows the data, the model and the clipping; it knows neither ε nor noise.
package task

import (
	"encoding/binary"
	"fmt"

	"github.com/dploda/dploda/internal/floatbits"
)

// EncodeParameters is what the fine-tuning phase publishes before each step:
// the prototypes (their own encoding; empty without), then the flat trainable
// vector as little-endian bits.
func EncodeParameters(centers []byte, weights []float32) []byte {
	out := make([]byte, 0, 4+len(centers)+4*len(weights))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(centers)))
	out = append(out, centers...)
	return floatbits.Append(out, weights)
}

// DecodeParameters reads what EncodeParameters wrote, for exactly len(weights)
// weights.
func DecodeParameters(data []byte, weights []float32) (centers []byte, err error) {
	if len(data) < 4 || uint64(len(data)) != 4+uint64(binary.LittleEndian.Uint32(data))+4*uint64(len(weights)) {
		return nil, fmt.Errorf("published parameters of %d bytes do not hold %d weights", len(data), len(weights))
	}
	n := 4 + int(binary.LittleEndian.Uint32(data))
	return data[4:n], floatbits.Read(weights, data[n:])
}
