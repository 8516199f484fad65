// Package safetensors reads and writes the safetensors format, in which
// diffusers and PEFT keep weights: a little-endian header length, a JSON
// header that gives each tensor's type, shape and byte range, and the bytes.
// See https://github.com/huggingface/safetensors#format.
//
// Values are float32 in memory. Files of F32, F16 and BF16 tensors are read;
// F32 and F16 are written, with the same bytes for the same tensors on every machine.
package safetensors

import (
	"fmt"
	"math/bits"
)

// Tensor is a named array of float32 in row-major order.
type Tensor struct {
	Name string
	Dims []int // no dimension: a scalar, one value
	Data []float32
	// Half stores the values in half precision, rounded to the nearest.
	Half bool
}

// maxHeader is the longest header that a file may have, in bytes; the
// reference implementation has the same limit.
const maxHeader = 100_000_000

// metadataKey is the header's one key that is not a tensor's name.
const metadataKey = "__metadata__"

// elements is the product of dims.
func elements(dims []int) (uint64, error) {
	n := uint64(1)
	for _, d := range dims {
		if d < 0 {
			return 0, fmt.Errorf("the negative dimension %d", d)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > 1<<48 {
			return 0, fmt.Errorf("more elements than a file can hold in dimensions %v", dims)
		}
		n = lo
	}
	return n, nil
}
