package classifier

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/batch"
	"github.com/dploda/dploda/model/diffusion"
)

// Features maps images to what a CNN trained on public images sees in them: the
// means over the plane of its last convolution's channels.
type Features struct {
	PublicData string // what the CNN was trained on
	Shape      device.Shape
	tensors    []safetensors.Tensor
}

// Dimensions is the number of features of an image.
func (f *Features) Dimensions() int { return widths[len(widths)-1] }

// The keys of a features file's metadata.
const (
	keyFeatures = "dploda.features" // the format
	keyPublic   = "dploda.public_data"
	keyImage    = "dploda.image" // channels, height and width

	featuresFormat = "1"
	imageFormat    = "%d %d %d"
)

// IsFeatures says whether a safetensors file with such metadata is a features file.
func IsFeatures(metadata map[string]string) bool { return metadata[keyFeatures] != "" }

// SaveFeatures writes the convolutions of a CNN that was trained on public images,
// called by name, in half precision. Equal classifiers give equal bytes.
func (c *Classifier) SaveFeatures(path, publicData string) error {
	if c.net.network != CNN {
		return fmt.Errorf("features are those of a %s, not of a %s", CNN, c.net.network)
	}
	var tensors []safetensors.Tensor
	for _, p := range c.net.gradient.Params()[:2*len(widths)] {
		tensors = append(tensors, safetensors.Tensor{Name: p.Name, Dims: p.Dims, Data: c.weights[p.Offset : p.Offset+p.Len()], Half: true})
	}
	s := c.net.shape
	return safetensors.Write(path, tensors, map[string]string{
		keyFeatures: featuresFormat, keyPublic: publicData, keyImage: fmt.Sprintf(imageFormat, s.C, s.H, s.W),
	})
}

// ParseFeatures reads the content of a file that SaveFeatures wrote.
func ParseFeatures(content []byte) (*Features, error) {
	tensors, metadata, err := safetensors.Decode(content)
	if err != nil {
		return nil, err
	}
	switch version := metadata[keyFeatures]; version {
	case featuresFormat:
	case "":
		return nil, errors.New("it is not a file of dploda features: its metadata do not say so")
	default:
		return nil, fmt.Errorf("it has features format %q; this dploda reads %q", version, featuresFormat)
	}
	f := &Features{PublicData: metadata[keyPublic], tensors: tensors}
	s := &f.Shape
	if _, err := fmt.Sscanf(metadata[keyImage], imageFormat, &s.C, &s.H, &s.W); err != nil {
		return nil, fmt.Errorf("its metadata key %s is %s, not three numbers", keyImage, strconv.Quote(metadata[keyImage]))
	}
	if err := Check(CNN, *s, 2); err != nil {
		return nil, err
	}
	list, err := f.list()
	if err != nil {
		return nil, err
	}
	for _, p := range list.Params() {
		if _, err := f.values(p); err != nil {
			return nil, err
		}
	}
	return f, nil
}

const planes = "planes"

// list is the network up to its last convolution.
func (f *Features) list() (*device.OpList, error) {
	b := device.NewBuilder()
	b.Output(planes, convolutions(b, b.Input(imageInput, f.Shape)))
	return b.Forward()
}

// values are a parameter's, by its name.
func (f *Features) values(p device.Param) ([]float32, error) {
	for _, t := range f.tensors {
		if t.Name == p.Name && len(t.Data) == p.Len() {
			return t.Data, nil
		}
	}
	return nil, fmt.Errorf("it has no tensor %q of the dimensions %v", p.Name, p.Dims)
}

// Gaussian is the normal distribution with the mean and covariance of the images'
// features. It needs at least two images.
func (f *Features) Gaussian(ctx context.Context, dev device.Device, threads int, images Images) (*Gaussian, error) {
	if c, h, w := images.Shape(); (device.Shape{C: c, H: h, W: w}) != f.Shape {
		return nil, f.misfit(device.Shape{C: c, H: h, W: w})
	}
	n, d := images.Len(), f.Dimensions()
	if n < 2 {
		return nil, fmt.Errorf("a covariance of features needs at least two images, not %d", n)
	}
	list, err := f.list()
	if err != nil {
		return nil, err
	}
	exe, err := dev.Compile(list)
	if err != nil {
		return nil, err
	}
	flat := make([]float32, list.Trainable())
	for _, p := range list.Params() {
		values, err := f.values(p)
		if err != nil {
			return nil, err
		}
		copy(flat[p.Offset:], values)
	}
	if err := exe.SetTrainable(flat); err != nil {
		return nil, err
	}
	runner, err := batch.New(exe, dev.Lanes(), threads)
	if err != nil {
		return nil, err
	}
	rows, out := mat.NewDense(n, d, nil), list.Shapes[list.Outputs[0].Value]
	load := func(s device.Stream, lane, i int) error {
		values := make([]float32, f.Shape.Len())
		diffusion.Levels(values, images.Image(i))
		return s.SetInput(imageInput, lane, values)
	}
	read := func(s device.Stream, lane, i int) error {
		maps, plane := make([]float32, out.Len()), out.H*out.W
		if err := s.Output(planes, lane, maps); err != nil {
			return err
		}
		for k := range d {
			sum := 0.0
			for _, v := range maps[k*plane : (k+1)*plane] {
				sum += float64(v)
			}
			rows.Set(i, k, sum/float64(plane))
		}
		return nil
	}
	if err := runner.Forward(ctx, n, load, read); err != nil {
		return nil, err
	}
	return newGaussian(rows), nil
}

// Fits says why images of a shape cannot be mapped, if they cannot.
func (f *Features) Fits(s device.Shape) error {
	if s != f.Shape {
		return f.misfit(s)
	}
	return nil
}

func (f *Features) misfit(s device.Shape) error {
	return fmt.Errorf("the features are of images of %dx%dx%d and cannot take %dx%dx%d", f.Shape.C, f.Shape.H, f.Shape.W, s.C, s.H, s.W)
}

// Gaussian is a multivariate normal distribution, fitted to points.
type Gaussian struct {
	mean       []float64
	covariance *mat.SymDense
}

// newGaussian fits a distribution to the rows; the covariance is divided by one
// less than their number.
func newGaussian(rows *mat.Dense) *Gaussian {
	n, d := rows.Dims()
	g := &Gaussian{mean: make([]float64, d), covariance: mat.NewSymDense(d, nil)}
	for k := range d {
		for i := range n {
			g.mean[k] += rows.At(i, k) / float64(n)
		}
	}
	stat.CovarianceMatrix(g.covariance, rows, nil)
	return g
}
