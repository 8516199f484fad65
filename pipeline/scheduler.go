package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/unet"
)

// What a diffusers pipeline's folder holds beside the network's.
const (
	pipelineIndex   = "model_index.json"
	pipelineNetwork = "unet"
	schedulerFile   = "scheduler_config.json"
)

// maxSchedulerBytes bounds scheduler_config.json; real ones have less than 1 kB.
const maxSchedulerBytes = 1 << 20

// betaSchedulers are the schedulers of diffusers whose noise is given by β as
// DDPM's is, with the same defaults; they differ in how they sample, which a
// dploda config chooses itself.
var betaSchedulers = []string{
	"DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "PNDMScheduler",
	"DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler",
	"EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler",
}

// scheduler is what scheduler_config.json says of the noise that the network
// was trained on; keys of how to sample have no effect here. A key that is
// missing or null has diffusers' default.
type scheduler struct {
	Class      string                `json:"_class_name"`
	Prediction *diffusion.Prediction `json:"prediction_type"`
	Schedule   *diffusion.Schedule   `json:"beta_schedule"`
	Timesteps  *int                  `json:"num_train_timesteps"`
	Start      *float64              `json:"beta_start"`
	End        *float64              `json:"beta_end"`
	Trained    json.RawMessage       `json:"trained_betas"`
	Rescaled   bool                  `json:"rescale_betas_zero_snr"`
	Flow       bool                  `json:"use_flow_sigmas"`
}

// parseScheduler sets in t what a scheduler_config.json says. Its errors name
// the key.
func parseScheduler(content []byte, t *Traits) error {
	var s scheduler
	if err := json.Unmarshal(content, &s); err != nil {
		var mistyped *json.UnmarshalTypeError
		if errors.As(err, &mistyped) && mistyped.Field != "" {
			return fmt.Errorf("%s must not be a %s", mistyped.Field, mistyped.Value)
		}
		return errors.New("it is not a JSON object")
	}
	if s.Class != "" && !slices.Contains(betaSchedulers, s.Class) {
		return fmt.Errorf("_class_name is %q, whose noise dploda does not know; it takes networks that were trained with %s or one like it", s.Class, betaSchedulers[0])
	}
	if len(s.Trained) > 0 && string(s.Trained) != "null" {
		return errors.New("trained_betas holds a schedule of its own; dploda takes beta_schedule linear, scaled_linear and squaredcos_cap_v2")
	}
	if s.Rescaled {
		return errors.New("rescale_betas_zero_snr is true; dploda takes schedules as they are, without the rescaling to zero signal")
	}
	if s.Flow {
		return errors.New("use_flow_sigmas is true; dploda takes denoising networks, not flows")
	}
	for key, beta := range map[string]*float64{"beta_start": s.Start, "beta_end": s.End} {
		if beta != nil && !(*beta > 0 && *beta < 1) {
			return fmt.Errorf("%s is %v; it must lie between 0 and 1", key, *beta)
		}
	}
	fill(&t.Prediction, s.Prediction)
	fill(&t.Schedule, s.Schedule)
	fill(&t.Timesteps, s.Timesteps)
	fill(&t.BetaStart, s.Start)
	fill(&t.BetaEnd, s.End)
	if err := t.Prediction.Validate(); err != nil {
		return fmt.Errorf("prediction_type is %q; dploda takes networks that predict %s or %s", t.Prediction, diffusion.Epsilon, diffusion.Velocity)
	}
	_, err := t.tables()
	return err
}

func fill[T any](dst, given *T) {
	if given != nil {
		*dst = *given
	}
}

// location is where a base that is no shipped one has its files.
type location struct {
	network   string // the folder of config.json
	scheduler string // scheduler_config.json, or ""
}

// locate finds the network and the scheduler of a UNet2DModel folder, of one
// inside a diffusers pipeline, or of the pipeline's folder.
func locate(source string) (location, error) {
	if exists(filepath.Join(source, unet.ConfigFile)) {
		l := location{network: source}
		folders := []string{source} // the first pipelines kept all in one folder
		if above := filepath.Join(source, ".."); exists(filepath.Join(above, pipelineIndex)) {
			folders = append(folders, filepath.Join(above, "scheduler"))
		}
		l.scheduler = firstScheduler(folders)
		return l, nil
	}
	if network := filepath.Join(source, pipelineNetwork); exists(filepath.Join(source, pipelineIndex)) && exists(filepath.Join(network, unet.ConfigFile)) {
		return location{network: network, scheduler: firstScheduler([]string{filepath.Join(source, "scheduler")})}, checkPipeline(source)
	}
	_, err := os.Stat(filepath.Join(source, unet.ConfigFile))
	return location{}, fmt.Errorf("base %s: %w; a base is a UNet2DModel folder with config.json and %s, a diffusers pipeline's folder with such a unet/, or one of %s",
		source, err, unet.WeightsFile, strings.Join(builtinNames(), ", "))
}

func firstScheduler(folders []string) string {
	for _, folder := range folders {
		if path := filepath.Join(folder, schedulerFile); exists(path) {
			return path
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkPipeline refuses pipelines whose network does not see images.
func checkPipeline(folder string) error {
	path := filepath.Join(folder, pipelineIndex)
	content, err := readBounded(path, maxSchedulerBytes)
	if err != nil {
		return err
	}
	var parts map[string]json.RawMessage
	if json.Unmarshal(content, &parts) != nil {
		return fmt.Errorf("%s is damaged: it is not a JSON object", path)
	}
	for _, coder := range []string{"vae", "vqvae"} {
		if _, ok := parts[coder]; ok {
			return fmt.Errorf("%s names a %q: its network works on that coder's latents, and dploda takes networks that work on images", path, coder)
		}
	}
	return nil
}

// loadScheduler reads a scheduler_config.json into t.
func loadScheduler(path string, t *Traits) error {
	content, err := readBounded(path, maxSchedulerBytes)
	if err != nil {
		return err
	}
	if err := parseScheduler(content, t); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", path, limit)
	}
	return os.ReadFile(path)
}
