package task

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

func TestParametersRoundTrip(t *testing.T) {
	for _, centers := range [][]byte{nil, []byte("centres")} {
		weights := []float32{0, -1.5, math.MaxFloat32, float32(math.Copysign(0, -1)), float32(math.Inf(1))}
		got := make([]float32, len(weights))
		norm, c, err := DecodeParameters(EncodeParameters(0.25, centers, weights), got)
		if err != nil {
			t.Fatal(err)
		}
		if norm != 0.25 || !bytes.Equal(c, centers) || !slices.EqualFunc(got, weights, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
			t.Errorf("%v and %v came back as %v and %v", centers, weights, c, got)
		}
	}
}

func TestParametersOfAnotherSizeAreRefused(t *testing.T) {
	whole := EncodeParameters(1, []byte("abc"), []float32{1, 2, 3})
	long := slices.Clone(whole)
	binary.LittleEndian.PutUint32(long, math.MaxUint32)
	for name, tc := range map[string]struct {
		data    []byte
		weights int
	}{
		"fewer weights wanted": {whole, 2},
		"more weights wanted":  {whole, 4},
		"cut":                  {whole[:len(whole)-1], 3},
		"one byte more":        {append(slices.Clone(whole), 0), 3},
		"an endless section":   {long, 3},
		"three bytes":          {whole[:3], 0},
		"eleven bytes":         {make([]byte, 11), 0},
		"nothing":              {nil, 0},
	} {
		weights := make([]float32, tc.weights)
		if _, _, err := DecodeParameters(tc.data, weights); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if slices.ContainsFunc(weights, func(w float32) bool { return w != 0 }) {
			t.Errorf("%s: a refusal has changed the weights", name)
		}
	}
}

func FuzzDecodeParameters(f *testing.F) {
	f.Add(EncodeParameters(1, nil, []float32{1}), 1)
	f.Add(EncodeParameters(math.NaN(), []byte("abc"), []float32{1, 2}), 2)
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		weights := make([]float32, min(1000, max(0, n)))
		norm, centers, err := DecodeParameters(data, weights)
		if err == nil && !bytes.Equal(EncodeParameters(norm, centers, weights), data) {
			t.Error("decoding and encoding gives other bytes")
		}
	})
}
