// Package floatbits stores float32 vectors as their bits, little endian.
package floatbits

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Append appends the bits of values to out.
func Append(out []byte, values []float32) []byte {
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

// Read fills dst from data, which must hold exactly its values.
func Read(dst []float32, data []byte) error {
	if len(data) != 4*len(dst) {
		return fmt.Errorf("%d bytes do not hold %d float32 values", len(data), len(dst))
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return nil
}
