package pipeline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/unet"
)

// ddpmScheduler is what diffusers' DDPMScheduler saves.
const ddpmScheduler = `{
  "_class_name": "DDPMScheduler", "_diffusers_version": "0.35.1", "beta_end": 0.015, "beta_schedule": "scaled_linear",
  "beta_start": 0.0002, "clip_sample": true, "clip_sample_range": 1.0, "dynamic_thresholding_ratio": 0.995,
  "num_train_timesteps": 500, "prediction_type": "v_prediction", "rescale_betas_zero_snr": false, "sample_max_value": 1.0,
  "steps_offset": 0, "thresholding": false, "timestep_spacing": "leading", "trained_betas": null, "variance_type": "fixed_small"
}`

func elsewhere() Traits {
	return Traits{Format: 1, Prediction: diffusion.Epsilon, Schedule: diffusion.Linear, Timesteps: 1000}
}

func TestSchedulerConfigs(t *testing.T) {
	for content, want := range map[string]Traits{
		ddpmScheduler: {Format: 1, Prediction: diffusion.Velocity, Schedule: diffusion.ScaledLinear, Timesteps: 500, BetaStart: 0.0002, BetaEnd: 0.015},
		`{}`:          elsewhere(), // diffusers' defaults
		`{"_class_name": "PNDMScheduler", "beta_schedule": "squaredcos_cap_v2", "timestep_values": null}`: {
			Format: 1, Prediction: diffusion.Epsilon, Schedule: diffusion.Cosine, Timesteps: 1000,
		},
	} {
		got := elsewhere()
		if err := parseScheduler([]byte(content), &got); err != nil || got != want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", content, got, err, want)
		}
	}
}

func TestSchedulersThatAreRefused(t *testing.T) {
	for content, want := range map[string]string{
		``:                                       "it is not a JSON object",
		`[]`:                                     "it is not a JSON object",
		`{"beta_start": "small"}`:                "beta_start must not be a string",
		`{"beta_start": 0}`:                      "beta_start is 0; it must lie between 0 and 1",
		`{"beta_end": 1}`:                        "beta_end is 1; it must lie between 0 and 1",
		`{"beta_start": 0.1}`:                    "a noise schedule's β must rise between 0 and 1, not from 0.1 to 0.02",
		`{"beta_schedule": "sigmoid"}`:           `unknown noise schedule "sigmoid": use linear, scaled_linear or squaredcos_cap_v2`,
		`{"prediction_type": "sample"}`:          `prediction_type is "sample"; dploda takes networks that predict epsilon or v_prediction`,
		`{"num_train_timesteps": 1}`:             "a noise schedule needs 2 to 65536 timesteps, but has 1",
		`{"trained_betas": [0.1]}`:               "trained_betas holds a schedule of its own; dploda takes beta_schedule linear, scaled_linear and squaredcos_cap_v2",
		`{"rescale_betas_zero_snr": true}`:       "rescale_betas_zero_snr is true; dploda takes schedules as they are, without the rescaling to zero signal",
		`{"use_flow_sigmas": true}`:              "use_flow_sigmas is true; dploda takes denoising networks, not flows",
		`{"_class_name": "ScoreSdeVeScheduler"}`: `_class_name is "ScoreSdeVeScheduler", whose noise dploda does not know; it takes networks that were trained with DDPMScheduler or one like it`,
	} {
		traits := elsewhere()
		if err := parseScheduler([]byte(content), &traits); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", content, err, want)
		}
	}
}

// A network is found in its own folder, in a pipeline's, and inside one, and
// its scheduler with it; dploda.json stands above any scheduler.
func TestWhereABaseLies(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	network := func(folder string) {
		for _, name := range []string{unet.ConfigFile, unet.WeightsFile} {
			content, err := os.ReadFile(filepath.Join("..", "model", "unet", "testdata", "ddpm", name))
			if err != nil {
				t.Fatal(err)
			}
			write(filepath.Join(folder, name), string(content))
		}
	}
	network("alone")
	network("pipe/unet")
	write("pipe/model_index.json", `{"unet": ["diffusers", "UNet2DModel"]}`)
	write("pipe/scheduler/scheduler_config.json", ddpmScheduler)
	network("old")
	write("old/model_index.json", `{}`)
	write("old/scheduler_config.json", ddpmScheduler)
	network("latent/unet")
	write("latent/model_index.json", `{"vqvae": ["diffusers", "VQModel"]}`)
	network("ve/unet")
	write("ve/model_index.json", `{}`)
	write("ve/scheduler/scheduler_config.json", `{"_class_name": "ScoreSdeVeScheduler"}`)
	for _, c := range []struct {
		source    string
		timesteps int
		want      string // of the error
	}{
		{"alone", 1000, ""}, {"pipe", 500, ""}, {"pipe/unet", 500, ""}, {"old", 500, ""},
		{"latent", 0, `latent/model_index.json names a "vqvae": its network works on that coder's latents`},
		{"ve", 0, "ve/scheduler/scheduler_config.json: _class_name is"},
		{"nowhere", 0, "a diffusers pipeline's folder with such a unet/"},
	} {
		b, err := LoadBase(filepath.Join(root, c.source))
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.source, err, c.want)
			}
			continue
		}
		if err == nil {
			_, _, err = b.Schedule()
		}
		if err != nil {
			t.Fatalf("%s: %v", c.source, err)
		}
		if b.Traits.Timesteps != c.timesteps || (c.timesteps == 500) != (b.Traits.Prediction == diffusion.Velocity) {
			t.Errorf("%s: %+v", c.source, b.Traits)
		}
		if wantNote := c.timesteps == 1000; wantNote != (len(b.Notes) == 1) {
			t.Errorf("%s: notes %q", c.source, b.Notes)
		}
		if c.source == "pipe" { // as it was taken, so it comes back
			if err := b.Save(filepath.Join(root, "pipe", "unet")); err != nil {
				t.Fatal(err)
			}
			write("pipe/scheduler/scheduler_config.json", `{"prediction_type": "epsilon"}`)
			again, err := LoadBase(filepath.Join(root, "pipe"))
			if err != nil || again.Traits != b.Traits {
				t.Errorf("saved as %+v, read as %+v (error %v)", b.Traits, again.Traits, err)
			}
			write("pipe/scheduler/scheduler_config.json", ddpmScheduler)
			if err := os.Remove(filepath.Join(root, "pipe", "unet", traitsFile)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPublicClassesOfABase(t *testing.T) {
	for _, c := range []struct {
		rows    int
		noLabel bool
		want    int
	}{{0, false, 0}, {0, true, 0}, {11, true, 10}, {10, false, 10}, {1, false, 1}} {
		b := &Base{Base: &unet.Base{Config: unet.Config{NumClassEmbeds: c.rows}}, Traits: Traits{NoLabelRow: c.noLabel}}
		if got := b.PublicClasses(); got != c.want {
			t.Errorf("%d rows, no-label row %v: %d classes, want %d", c.rows, c.noLabel, got, c.want)
		}
	}
}

// FuzzParseScheduler: no input panics, and what is accepted has tables.
func FuzzParseScheduler(f *testing.F) {
	f.Add([]byte(ddpmScheduler))
	f.Add([]byte(`{"beta_start": 1e-300, "beta_end": 0.999, "num_train_timesteps": 3}`))
	f.Add([]byte(`{"trained_betas": [], "prediction_type": null}`))
	f.Add([]byte(`{"beta_schedule": 3}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		traits := elsewhere()
		if parseScheduler(content, &traits) != nil {
			return
		}
		tables, err := traits.tables()
		if err != nil || tables.Timesteps() != traits.Timesteps {
			t.Fatalf("accepted %+v has no tables: %v", traits, err)
		}
	})
}
