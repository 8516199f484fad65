package pipeline

import (
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/optim"
	"github.com/dploda/dploda/model/adapter"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/prototype"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/task"
)

// taskFactory makes the tasks of a run's phases.
type taskFactory struct {
	*resolved
	data    dataset.Dataset
	units   *dataset.Units
	dev     device.Device
	threads int
}

// tasks are a worker's, by phase.
func (f *taskFactory) tasks() (map[string]worker.Task, error) {
	tasks := map[string]worker.Task{}
	if f.prototypes != nil {
		tasks[phasePrototypes] = &task.Prototypes{Mechanism: f.mechanisms[0], Data: f.data, Units: f.units, Centers: prototype.New(*f.prototypes)}
	}
	gradient, err := f.gradient()
	tasks[phaseFinetune] = gradient
	return tasks, err
}

// gradient compiles the fine-tuning's task.
func (f *taskFactory) gradient() (*task.Gradient, error) {
	a, err := (&run{resolved: f.resolved}).startAdapter()
	if err != nil {
		return nil, err
	}
	list, err := trainList(f.base.Config, f.adapter, device.PerExample)
	if err != nil {
		return nil, err
	}
	exe, err := f.dev.Compile(list)
	if err != nil {
		return nil, err
	}
	if err := a.SetParams(exe, list, f.base.Base); err != nil {
		return nil, err
	}
	tables, times, err := f.base.Schedule()
	if err != nil {
		return nil, err
	}
	g := &task.Gradient{
		Mechanism: f.finetune(), Executable: exe, Lanes: f.dev.Lanes(), Time: times, Data: f.data, Units: f.units,
		Copies: f.spec.Finetune.Copies, Threads: f.threads, MicroBatch: f.spec.Workers.MicroBatch,
		Preparation: &diffusion.Preparation{
			Tables: tables, Prediction: f.base.Traits.Prediction, Codec: f.base.Codec(), Times: f.times,
			Mix: diffusion.LabelDrop(f.spec.Finetune.LabelDrop), NoLabel: f.classes, PrototypeChannels: f.base.PrototypeChannels(),
		},
	}
	if f.prototypes != nil {
		p := f.spec.Finetune.LabelDrop
		g.Preparation.Mix = diffusion.Mix{None: p, Both: 1 - p}
		g.Centers = prototype.New(*f.prototypes)
	}
	if err := g.Preparation.Validate(); err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // what compiling left, before the streams take their memory
	return g, g.Prepare()
}

// newAdapterLearner is the consumer of the fine-tuning's released sums.
func (r *resolved) newAdapterLearner(a *adapter.Adapter, centers *prototype.Centers) (*adapterLearner, error) {
	f, m := r.spec.Finetune, r.finetune()
	l := &adapterLearner{mechanism: m, weights: a.Flat(), gradient: make([]float32, m.GradientDim()), centers: centers}
	var err error
	l.rates, err = optim.Schedule{Shape: optim.Linear, Peak: f.LearningRate, Final: f.FinalLearningRate, Steps: f.Steps}.Table()
	if err != nil {
		return nil, err
	}
	var corrected *optim.Adam
	if f.Optimizer == "sgd" {
		l.optimizer, err = optim.NewSGD(m.GradientDim(), float32(f.Beta1))
	} else {
		var adam *optim.Adam
		if adam, err = optim.NewAdam(m.GradientDim(), optim.AdamConfig{Beta1: f.Beta1, Beta2: f.Beta2, Eps: 1e-8}); err != nil {
			return nil, err
		}
		l.optimizer = adam
		if f.Optimizer == "dp-adam" {
			corrected, err = adam, setNoise(adam, float64(m.NoiseStd()*m.NoiseStd()))
		}
	}
	if err != nil {
		return nil, err
	}
	if f.AdaptiveClip.Quantile > 0 {
		l.adaptive = newAdaptiveClip(f, corrected)
	}
	l.average, err = optim.NewEMA(l.weights, float32(f.EMA))
	return l, err
}

// job is what a worker needs to know of a run. It travels to worker processes
// over the bus of this machine; the data themselves do not.
type job struct {
	Config      string `json:"config"`             // resolved YAML
	Pretrain    bool   `json:"pretrain,omitempty"` // of a pre-training
	Data        string `json:"data"`               // folder, absolute
	BaseHash    string `json:"base_hash"`
	Threads     int    `json:"threads"`
	DataKey     []byte `json:"data_key"`
	Fingerprint []byte `json:"fingerprint"`
}

// newTasks makes a worker process's tasks from a job, after checking that base
// and images are the coordinator's.
func newTasks(content []byte) (map[string]worker.Task, error) {
	var j job
	if err := json.Unmarshal(content, &j); err != nil {
		return nil, fmt.Errorf("the job is damaged: %w", err)
	}
	if j.Pretrain {
		return newPretrainTasks(j)
	}
	spec, err := config.ParseRun("the job's config", []byte(j.Config), func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, err
	}
	r, err := resolve(spec)
	if err != nil {
		return nil, err
	}
	if r.base.Hash != j.BaseHash {
		return nil, fmt.Errorf("base %s is not the coordinator's: copy the same folder to this machine", spec.Base)
	}
	data, err := openTrain(spec.Data, j.Data)
	if err != nil {
		return nil, err
	}
	units, err := openUnits(spec.Data, j.Data, data)
	if err != nil {
		return nil, err
	}
	if got := dataset.Fingerprint(j.DataKey, data, units); string(got[:]) != string(j.Fingerprint) {
		return nil, fmt.Errorf("this worker's images or their units are not the coordinator's: every worker must read the same data")
	}
	return (&taskFactory{resolved: r, data: data, units: units, dev: NewDevice(), threads: j.Threads}).tasks()
}
