package ringallreduce

import (
	"encoding/binary"
	"math"

	"github.com/dploda/dploda/internal/wire"
)

// Number is what a ring can sum.
type Number interface{ int32 | int64 | float32 }

func typeOf[T Number]() wire.Type {
	switch any(*new(T)).(type) {
	case int32:
		return wire.Int32
	case int64:
		return wire.Int64
	default:
		return wire.Float32
	}
}

// add computes dst[i] = partial[i] + dst[i]; integers wrap.
func add[T Number](dst []T, partial []byte) {
	switch d := any(dst).(type) {
	case []int32:
		for i := range d {
			d[i] += int32(binary.LittleEndian.Uint32(partial[4*i:]))
		}
	case []int64:
		for i := range d {
			d[i] += int64(binary.LittleEndian.Uint64(partial[8*i:]))
		}
	case []float32:
		for i := range d {
			d[i] = math.Float32frombits(binary.LittleEndian.Uint32(partial[4*i:])) + d[i]
		}
	}
}

// decode copies a payload into dst.
func decode[T Number](dst []T, payload []byte) {
	switch d := any(dst).(type) {
	case []int32:
		for i := range d {
			d[i] = int32(binary.LittleEndian.Uint32(payload[4*i:]))
		}
	case []int64:
		for i := range d {
			d[i] = int64(binary.LittleEndian.Uint64(payload[8*i:]))
		}
	case []float32:
		for i := range d {
			d[i] = math.Float32frombits(binary.LittleEndian.Uint32(payload[4*i:]))
		}
	}
}

// encode writes src into payload.
func encode[T Number](payload []byte, src []T) {
	switch s := any(src).(type) {
	case []int32:
		for i, v := range s {
			binary.LittleEndian.PutUint32(payload[4*i:], uint32(v))
		}
	case []int64:
		for i, v := range s {
			binary.LittleEndian.PutUint64(payload[8*i:], uint64(v))
		}
	case []float32:
		for i, v := range s {
			binary.LittleEndian.PutUint32(payload[4*i:], math.Float32bits(v))
		}
	}
}
