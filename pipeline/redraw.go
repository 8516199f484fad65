package pipeline

import (
	"fmt"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/model/augment"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
)

// redraw returns the images of d, each drawn anew in the given number of
// copies, by draws of the seed.
func redraw(d dataset.Dataset, h *config.Handwriting, seed uint64) (dataset.Dataset, error) {
	by := augment.Handwriting{
		InkBox: h.InkBox, Degrees: h.Degrees, Shear: h.Shear, Scale: h.Scale, Shift: h.Shift, Stroke: h.Stroke, Ink: h.Ink,
	}
	if err := by.Validate(); err != nil {
		return nil, fmt.Errorf("train.handwriting: %w", err)
	}
	c, height, width := d.Shape()
	shape := device.Shape{C: c, H: height, W: width}
	pixels := make([]uint8, d.Len()*h.Copies*shape.Len())
	labels := make([]uint16, d.Len()*h.Copies)
	from, to := make([]float32, shape.Len()), make([]float32, shape.Len())
	source := draws.New(draws.SeedKey(seed, "handwriting"))
	var s draws.Stream
	for i := range labels {
		id, copy := i/h.Copies, uint16(i%h.Copies)
		diffusion.Levels(from, d.Image(id))
		by.Apply(to, from, shape, source.Open(&s, uint64(id), copy, draws.Augment))
		diffusion.Bytes(pixels[i*shape.Len():(i+1)*shape.Len()], to)
		labels[i] = uint16(d.Label(id))
	}
	return dataset.NewMemory(c, height, width, d.Classes(), pixels, labels)
}
