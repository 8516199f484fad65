// Package classifier is the downstream classifier that synthetic images are
// judged by: the small convolutional network of DPDM's protocol (Dockhorn et
// al. 2023, appendix), trained on synthetic images alone and scored on real
// ones; and the baselines beside it.
package classifier

import (
	"fmt"
	"math"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/draws"
)

// The sides of images that the network takes: three halvings must leave a
// pixel, and its last layer spans what is left.
const (
	minSide = 8
	maxSide = 64
)

// widths are the channels of the three convolutions.
var widths = [3]int{32, 64, 128}

const (
	imageInput  = "image"
	labelIndex  = "label"
	weightInput = "weight"
	logits      = "logits"
)

// net is the network's op lists and parameters: three times convolution 3x3,
// ReLU and 2x2 maximum, then one linear layer over all that is left. For
// 28x28 grey images and 10 classes it has 104,202 parameters and 6 million
// multiply-adds.
type net struct {
	shape    device.Shape
	classes  int
	forward  *device.OpList
	gradient *device.OpList
}

func newNet(shape device.Shape, classes int) (*net, error) {
	if shape.H < minSide || shape.W < minSide || shape.H > maxSide || shape.W > maxSide || shape.C < 1 {
		return nil, fmt.Errorf("the classifier takes images with sides of %d to %d pixels, not %dx%d of %d channels", minSide, maxSide, shape.H, shape.W, shape.C)
	}
	if classes < 2 {
		return nil, fmt.Errorf("a classifier needs at least two classes, not %d", classes)
	}
	n := &net{shape: shape, classes: classes}
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
	x, in := b.Input(imageInput, n.shape), n.shape.C
	for i, out := range widths {
		name := fmt.Sprintf("conv%d", i+1)
		w, bias := b.Param(name+".weight", true, out, in, 3, 3), b.Param(name+".bias", true, out)
		x = b.MaxPool2(b.ReLU(b.Conv2D(x, w, bias, device.Pad(1))))
		in = out
	}
	s := b.Shape(x)
	w, bias := b.Param("linear.weight", true, n.classes, s.C, s.H, s.W), b.Param("linear.bias", true, n.classes)
	return b.Conv2D(x, w, bias, device.Conv{Stride: 1})
}

// initial returns PyTorch's default initialisation: weights and biases uniform
// within 1/sqrt(fan-in).
func (n *net) initial(d *draws.Draws) []float32 {
	flat := make([]float32, n.gradient.Trainable())
	fanIn := 1
	for i, p := range n.gradient.Params() {
		if len(p.Dims) > 1 { // a weight; its bias follows it and has the same fan-in
			fanIn = p.Len() / p.Dims[0]
		}
		bound := 1 / math.Sqrt(float64(fanIn))
		s := d.Stream(uint64(i), 0, draws.Init)
		for j := range p.Len() {
			flat[p.Offset+j] = float32(s.Uniform(-bound, bound))
		}
	}
	return flat
}
