package pipeline

import (
	"fmt"
	"runtime"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/internal/device/cpu/kernel"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/unet"
	"github.com/dploda/dploda/worker/task"
)

// NewDevice is the device that this process computes on.
func NewDevice() device.Device { return cpu.New() }

// DeviceDescription says what this process computes on.
func DeviceDescription() string {
	return fmt.Sprintf("device %s (%s), %d cores", NewDevice().Kind(), kernel.Level(), runtime.NumCPU())
}

// denoiseList is the forward list of a network with what spec attaches.
func denoiseList(base unet.Config, spec adapter.Spec) (*device.OpList, error) {
	b := device.NewBuilder()
	net, err := adapter.Build(b, base, spec)
	if err != nil {
		return nil, err
	}
	b.Output(diffusion.OutputName, net.Prediction)
	return b.Forward()
}

// trainList is the gradient list of the denoising loss (Ho, Jain, Abbeel 2020,
// equation 14) of a network with what spec attaches. Its output is each
// example's loss.
func trainList(base unet.Config, spec adapter.Spec, mode device.GradMode) (*device.OpList, error) {
	b := device.NewBuilder()
	net, err := adapter.Build(b, base, spec)
	if err != nil {
		return nil, err
	}
	target := b.Input(task.TargetInput, b.Shape(net.Prediction))
	weight := b.Input(task.WeightInput, device.Shape{C: 1, H: 1, W: 1})
	loss := b.MSE(net.Prediction, target, weight)
	b.Output(task.LossOutput, loss)
	return b.Gradient(loss, mode)
}

// pretrainList is the summed gradient list of the whole network.
func pretrainList(c unet.Config) (*device.OpList, error) {
	b := device.NewBuilder()
	net, err := unet.Build(b, c, unet.Options{Trainable: func(unet.Module) bool { return true }})
	if err != nil {
		return nil, err
	}
	target := b.Input(task.TargetInput, b.Shape(net.Prediction))
	weight := b.Input(task.WeightInput, device.Shape{C: 1, H: 1, W: 1})
	return b.Gradient(b.MSE(net.Prediction, target, weight), device.Summed)
}
