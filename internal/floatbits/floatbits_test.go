package floatbits

import (
	"math"
	"testing"
)

func TestRoundTripKeepsEveryBit(t *testing.T) {
	values := []float32{0, float32(math.Copysign(0, -1)), 1.5, float32(math.Inf(-1)), math.SmallestNonzeroFloat32, float32(math.NaN())}
	data := Append([]byte{}, values)
	back := make([]float32, len(values))
	if err := Read(back, data); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if math.Float32bits(v) != math.Float32bits(back[i]) {
			t.Errorf("value %d: %x became %x", i, math.Float32bits(v), math.Float32bits(back[i]))
		}
	}
	if Read(back, data[:len(data)-1]) == nil || Read(back[1:], data) == nil {
		t.Error("data of another length were taken")
	}
}
