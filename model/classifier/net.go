// Package classifier is the downstream classifier that synthetic images are
// judged by: the small convolutional network of DPDM's protocol (Dockhorn et
// al. 2023, appendix) or a wide residual network, trained on synthetic images
// alone and scored on real ones; and the baselines beside it.
package classifier

import (
	"fmt"
	"math"
	"strings"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
)

// Network names an architecture.
type Network string

// The networks.
const (
	// CNN is three times convolution 3x3, ReLU and 2x2 maximum, then one linear
	// layer over all that is left. For 28x28 grey images and 10 classes it has
	// 104,202 parameters and 6 million multiply-adds.
	CNN Network = "cnn"
	// WRN is WRN-16-4 with group normalisation: see wrn.go.
	WRN Network = "wrn-16-4"
)

// Networks are those that there are.
var Networks = []Network{CNN, WRN}

// Describe is the network in words.
func (n Network) Describe() string {
	if n == WRN {
		return "WRN-16-4 with group normalisation"
	}
	return "CNN (32-64-128)"
}

// The sides of images that the networks take: three halvings must leave a
// pixel, and the CNN's last layer spans what is left.
const (
	minSide = 8
	maxSide = 64
)

// widths are the channels of the CNN's three convolutions.
var widths = [3]int{32, 64, 128}

const (
	imageInput  = "image"
	labelIndex  = "label"
	weightInput = "weight"
	logits      = "logits"
)

// net is a network's op lists and parameters.
type net struct {
	network  Network
	shape    device.Shape
	classes  int
	forward  *device.OpList
	gradient *device.OpList
}

// Check says why a network cannot tell so many classes of images of a shape
// apart, if it cannot.
func Check(network Network, shape device.Shape, classes int) error {
	switch {
	case network != CNN && network != WRN:
		return fmt.Errorf("there is no classifier %q; known are %s", network, list(Networks))
	case shape.H < minSide || shape.W < minSide || shape.H > maxSide || shape.W > maxSide || shape.C < 1:
		return fmt.Errorf("the classifier takes images with sides of %d to %d pixels, not %dx%d of %d channels", minSide, maxSide, shape.H, shape.W, shape.C)
	case classes < 2:
		return fmt.Errorf("a classifier needs at least two classes, not %d", classes)
	}
	return nil
}

func list(networks []Network) string {
	names := make([]string, len(networks))
	for i, n := range networks {
		names[i] = string(n)
	}
	return strings.Join(names, " and ")
}

func newNet(network Network, shape device.Shape, classes int) (*net, error) {
	if err := Check(network, shape, classes); err != nil {
		return nil, err
	}
	n := &net{network: network, shape: shape, classes: classes}
	var err error
	b := device.NewBuilder()
	b.Output(logits, n.layers(b))
	if n.forward, err = b.Forward(); err != nil {
		return nil, err
	}
	b = device.NewBuilder()
	y := n.layers(b)
	loss := b.CrossEntropy(y, b.Index(labelIndex, classes), b.Input(weightInput, device.Shape{C: 1, H: 1, W: 1}))
	n.gradient, err = b.Gradient(loss, device.Summed)
	return n, err
}

func (n *net) layers(b *device.Builder) device.Value {
	x := b.Input(imageInput, n.shape)
	if n.network == WRN {
		return wideResidual(b, x, n.classes)
	}
	x = convolutions(b, x)
	s := b.Shape(x)
	w, bias := b.Param("linear.weight", true, n.classes, s.C, s.H, s.W), b.Param("linear.bias", true, n.classes)
	return b.Conv2D(x, w, bias, device.Conv{Stride: 1})
}

// convolutions are the CNN's layers before the last.
func convolutions(b *device.Builder, x device.Value) device.Value {
	in := b.Shape(x).C
	for i, out := range widths {
		name := fmt.Sprintf("conv%d", i+1)
		w, bias := b.Param(name+".weight", true, out, in, 3, 3), b.Param(name+".bias", true, out)
		x = b.MaxPool2(b.ReLU(b.Conv2D(x, w, bias, device.Pad(1))))
		in = out
	}
	return x
}

// initial returns the parameters before the first step.
func (n *net) initial(d *draws.Draws) []float32 {
	flat := make([]float32, n.gradient.Trainable())
	fanIn := 1
	for i, p := range n.gradient.Params() {
		values := flat[p.Offset : p.Offset+p.Len()]
		if len(p.Dims) > 1 { // a weight; its bias follows it and has the same fan-in
			fanIn = p.Len() / p.Dims[0]
		}
		s := d.Stream(uint64(i), 0, draws.Init)
		if n.network == WRN {
			startResidual(values, p, fanIn, s)
			continue
		}
		bound := 1 / math.Sqrt(float64(fanIn)) // PyTorch's default
		for j := range values {
			values[j] = float32(s.Uniform(-bound, bound))
		}
	}
	return flat
}
