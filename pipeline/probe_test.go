package pipeline

import (
	"context"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/device"
)

// faulty is a device whose executables hear of new trainable parameters in
// their own way.
type faulty struct {
	device.Device
	setTrainable func(exe device.Executable, list *device.OpList, flat []float32) error
}

func (f faulty) Compile(l *device.OpList) (device.Executable, error) {
	exe, err := f.Device.Compile(l)
	return &faultyExecutable{exe, l, f}, err
}

type faultyExecutable struct {
	device.Executable
	list   *device.OpList
	device faulty
}

func (e *faultyExecutable) SetTrainable(flat []float32) error {
	return e.device.setTrainable(e.Executable, e.list, flat)
}

func TestProbe(t *testing.T) {
	drift := float32(0)
	for _, tc := range []struct {
		name, want string
		fault      func(exe device.Executable, list *device.OpList, flat []float32) error
	}{
		{name: "a sound device"},
		{name: "a device that ignores new weights", want: "lora_A.weight gets no gradient", fault: func(device.Executable, *device.OpList, []float32) error {
			return nil // up-projections stay at zero
		}},
		{name: "a device whose frozen weights move", want: "frozen base changes", fault: func(exe device.Executable, list *device.OpList, flat []float32) error {
			for _, p := range list.Params() {
				if p.Name == "conv_out.bias" {
					drift += 0.5
					if err := exe.SetParam(p.Name, []float32{drift}); err != nil {
						return err
					}
				}
			}
			return exe.SetTrainable(flat)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := tinyRun(t)
			if tc.fault != nil {
				r.dev = faulty{r.dev, tc.fault}
			}
			err := r.probe(context.Background())
			if tc.want == "" && err != nil {
				t.Error(err)
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v should say %q", err, tc.want)
			}
		})
	}
}

// Every kind of adapter that a config may choose trains all that it names.
func TestProbePassesEveryAdapter(t *testing.T) {
	for _, kind := range []string{"lora, rank: 2, alpha: 1", "full", "none, targets: []", "loda, rank: 1, alpha: 1, nonlinearity: relu"} {
		r := tinyRun(t, "loda, rank: 2, alpha: 2", kind, "batch: 16", everyone)
		if err := r.probe(context.Background()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestProbeTouchesNoPrivateImage(t *testing.T) {
	r := tinyRun(t)
	r.train, r.test = nil, nil // to touch them is to crash
	if err := r.probe(context.Background()); err != nil {
		t.Error(err)
	}
}
