package classifier

import (
	"fmt"
	"math"
	"strings"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
)

// WRN-16-4 (Zagoruyko, Komodakis 2016, arXiv 1605.07146, table 1): 16
// convolutional layers, width factor 4, blocks that normalise before each
// convolution. Its batch normalisation is replaced by group normalisation (Wu, He
// 2018), as differentially private training has it (De et al. 2022, arXiv
// 2204.13650): no image's output depends on its companions. There is no dropout.
const (
	wrnStem   = 16
	wrnBlocks = 2 // a group: (16-4)/6
	wrnGroups = 16
	wrnEps    = 1e-5
)

// How it is trained: AdamW, the rate rising over the first tenth of the steps and
// falling to zero along a cosine. (The paper's SGD with three drops is made for
// 200 epochs.)
const (
	wrnRate   = 1e-3
	wrnDecay  = 0.01
	wrnWarmUp = 10
)

// wrnWidths are the channels of the three groups; the second and the third
// halve the sides.
var wrnWidths = [3]int{64, 128, 256}

// wideResidual maps an image to logits.
func wideResidual(b *device.Builder, x device.Value, classes int) device.Value {
	conv := func(x device.Value, name string, out, side, stride int) device.Value {
		c := device.Pad(side / 2)
		c.Stride = stride
		return b.Conv2D(x, b.Param(name+".weight", true, out, b.Shape(x).C, side, side), device.NoParam, c)
	}
	activate := func(x device.Value, name string) device.Value {
		n := b.Shape(x).C
		gamma, beta := b.Param(name+".weight", true, n), b.Param(name+".bias", true, n)
		return b.ReLU(b.GroupNorm(x, gamma, beta, min(wrnGroups, n/4), wrnEps, false))
	}
	x = conv(x, "stem", wrnStem, 3, 1)
	for i, width := range wrnWidths {
		for j := range wrnBlocks {
			name, stride := fmt.Sprintf("group%d.block%d.", i+1, j+1), 1
			if i > 0 && j == 0 {
				stride = 2
			}
			a := activate(x, name+"norm1")
			if b.Shape(x).C != width {
				x = conv(a, name+"shortcut", width, 1, stride)
			}
			h := conv(a, name+"conv1", width, 3, stride)
			x = b.Add(x, conv(activate(h, name+"norm2"), name+"conv2", width, 3, 1))
		}
	}
	x = activate(x, "norm")
	s := b.Shape(x)
	x = b.Scale(b.SumPixels(x), 1/float32(s.H*s.W))
	return b.Linear(x, b.Param("linear.weight", true, classes, s.C), b.Param("linear.bias", true, classes))
}

// startResidual is the start of one of its parameters: weights normal with
// variance 2/fan-in (He et al. 2015), scales one, biases zero.
func startResidual(values []float32, p device.Param, fanIn int, s *draws.Stream) {
	switch {
	case len(p.Dims) > 1:
		deviation := math.Sqrt(2 / float64(fanIn))
		for j := range values {
			values[j] = float32(deviation * s.Normal())
		}
	case strings.HasSuffix(p.Name, ".weight"):
		for j := range values {
			values[j] = 1
		}
	}
}
