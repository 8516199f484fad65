package unet

import (
	"math"

	"github.com/dploda/dploda/model/fmath"
)

// maxTimesteps bounds T so that the sines' arguments stay in fmath's range.
const maxTimesteps = 100_000

// TimeTable returns the sinusoidal embeddings of the timesteps 0 to T-1, the
// values of the input "time": block_out_channels[0] numbers each (Vaswani et
// al. 2017, section 3.5, in the layout that the config gives). Every
// intermediate is rounded to float32 as diffusers does, since checkpoints were
// trained with those angles; the functions themselves are evaluated in float64,
// with the same bits on every machine. T is at most 100,000.
func TimeTable(c Config, timesteps int) [][]float32 {
	dim := c.BlockOutChannels[0]
	freqs := frequencies(dim/2, c.FreqShift)
	table := make([][]float32, timesteps)
	for t := range table {
		table[t] = embedTime(t, dim, freqs, c.FlipSinToCos)
	}
	return table
}

// frequencies are exp(-ln(10000) i / (half - shift)), i < half.
func frequencies(half, shift int) []float32 {
	logPeriod := float32(-9.210340371976184) // -ln 10000
	freqs := make([]float32, half)
	for i := range freqs {
		exponent := float32(logPeriod*float32(i)) / float32(half-shift)
		freqs[i] = float32(fmath.Exp(float64(exponent)))
	}
	return freqs
}

// embedTime is one row: sines then cosines (or flipped), and a zero where dim
// is odd.
func embedTime(t, dim int, freqs []float32, flip bool) []float32 {
	row := make([]float32, dim)
	sines, cosines := row[:len(freqs)], row[len(freqs):]
	if flip {
		sines, cosines = cosines, sines
	}
	for i, f := range freqs {
		sin, cos := fmath.SinCos(float64(float32(t) * f))
		if math.IsNaN(sin) {
			panic("unet: TimeTable takes at most 100,000 timesteps")
		}
		sines[i], cosines[i] = float32(sin), float32(cos)
	}
	return row
}
