package cpu

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"testing"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
)

// TestGoldenBits holds every implementation of the kernels, on every machine,
// to the bits of two nets: one with per-example gradients of adapters, one with
// the summed gradient of every weight, both with direct and with Winograd's
// convolutions.
func TestGoldenBits(t *testing.T) {
	before := kernel.Level()
	defer func() {
		if err := kernel.Use(before); err != nil {
			t.Error(err)
		}
	}()
	net := &benchNet{Builder: device.NewBuilder(), width: 8, all: true}
	_, loss := net.build()
	l, err := net.Gradient(loss, device.Summed)
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range kernel.Levels() {
		if err := kernel.Use(level); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name              string
			list              *device.OpList
			gradient, outputs uint64
		}{
			{"per-example", netList(t, device.PerExample), 0xa4ad8ffb77968978, 0xf81fc2977a9e02be},
			{"summed", l, 0x91a28fee60bb1f2b, 0xbc881125b1fc827a},
		} {
			s := readyStream(t, c.list) // packs the weights
			if err := s.Run(); err != nil {
				t.Fatal(err)
			}
			if got := bitsHash(s.gradient); got != c.gradient {
				t.Errorf("%s: the %s gradient has bits %#x, want %#x", level, c.name, got, c.gradient)
			}
			y := make([]float32, lanes*4*14*14)
			for lane := range lanes {
				if err := s.Output("y", lane, y[lane*4*14*14:][:4*14*14]); err != nil {
					t.Fatal(err)
				}
			}
			if got := bitsHash(y); got != c.outputs {
				t.Errorf("%s: the outputs of the %s net have bits %#x, want %#x", level, c.name, got, c.outputs)
			}
		}
	}
}

func bitsHash(values []float32) uint64 {
	h := fnv.New64a()
	for _, v := range values {
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(v))
		h.Write(b[:])
	}
	return h.Sum64()
}
