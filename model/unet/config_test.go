package unet

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// ddpmCIFAR10 is the config.json of google/ddpm-cifar10-32, the original
// DDPM's network, which says nothing of the newer keys.
const ddpmCIFAR10 = `{
  "_class_name": "UNet2DModel",
  "_diffusers_version": "0.0.4",
  "act_fn": "silu",
  "attention_head_dim": null,
  "block_out_channels": [128, 256, 256, 256],
  "center_input_sample": false,
  "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
  "downsample_padding": 0,
  "flip_sin_to_cos": false,
  "freq_shift": 1,
  "in_channels": 3,
  "layers_per_block": 2,
  "mid_block_scale_factor": 1,
  "norm_eps": 1e-06,
  "norm_num_groups": 32,
  "out_channels": 3,
  "sample_size": 32,
  "time_embedding_type": "positional",
  "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
}`

func TestParsePublicConfig(t *testing.T) {
	c, notes, err := ParseConfig([]byte(ddpmCIFAR10))
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != 0 {
		t.Errorf("notes %q", notes)
	}
	want := Config{
		SampleHeight: 32, SampleWidth: 32, InChannels: 3, OutChannels: 3,
		DownBlockTypes:   []string{"DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"},
		UpBlockTypes:     []string{"UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"},
		BlockOutChannels: []int{128, 256, 256, 256}, LayersPerBlock: 2,
		AddAttention: true, NormNumGroups: 32, NormEps: 1e-6, FreqShift: 1,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	params, err := c.Parameters()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range params {
		n += p.Len()
	}
	if n != 35_746_307 { // what diffusers counts
		t.Errorf("%d weights, diffusers has 35746307", n)
	}
}

func TestConfigRoundTrip(t *testing.T) {
	for _, variant := range []string{"plain", "ddpm", "prototype", "levels"} {
		content, err := os.ReadFile(filepath.Join("testdata", variant, ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := ParseConfig(content)
		if err != nil {
			t.Fatalf("%s: %v", variant, err)
		}
		written, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := ParseConfig(written)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%s: written and read again: %+v, %v; want %+v", variant, again, err, c)
		}
		if diff := missingKeys(t, content, written); diff != "" {
			t.Errorf("%s: diffusers writes %s, dploda does not", variant, diff)
		}
	}
}

// missingKeys lists the keys of a that b lacks, diffusers' notes aside.
func missingKeys(t *testing.T, a, b []byte) string {
	var x, y map[string]any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatal("a config is not JSON")
	}
	var missing []string
	for k := range x {
		if _, ok := y[k]; !ok && !strings.HasPrefix(k, "_") {
			missing = append(missing, k)
		}
	}
	return strings.Join(missing, ", ")
}

func TestDropoutIsNoted(t *testing.T) {
	_, notes, err := ParseConfig([]byte(strings.Replace(ddpmCIFAR10, `"act_fn"`, `"dropout": 0.1, "act_fn"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"dropout 0.1 is not applied: dploda trains and samples without dropout"}
	if !reflect.DeepEqual(notes, want) {
		t.Errorf("notes %q, want %q", notes, want)
	}
}

// TestRefusals sets one key of a good config to a bad value.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"sample_size", `30`, `sample_size is 30x30, which this U-Net cannot halve 3 times; both sides must be multiples of 8`},
		{"sample_size", `[32, 36]`, `sample_size is 32x36, which this U-Net cannot halve 3 times; both sides must be multiples of 8`},
		{"sample_size", `null`, `sample_size is missing or null; dploda builds a network for one size, so add it, for example "sample_size": 32`},
		{"sample_size", `[8, 8, 8]`, `sample_size is [8, 8, 8]; it must be a positive whole number or [height, width]`},
		{"sample_size", `0`, `sample_size is 0; it must be a positive whole number or [height, width]`},
		{"sample_size", `1000000`, `sample_size is 1000000; dploda supports 1 to 8192`},
		{"in_channels", `"3"`, `in_channels is "3"; it must be a whole number`},
		{"in_channels", `1.5`, `in_channels is 1.5; it must be a whole number`},
		{"in_channels", `null`, `in_channels is null; it must be a whole number`},
		{"out_channels", `0`, `out_channels is 0; dploda supports 1 to 16384`},
		{"layers_per_block", `-1`, `layers_per_block is -1; dploda supports 1 to 64`},
		{"act_fn", `"mish"`, `act_fn is "mish"; dploda supports "silu" and "swish"`},
		{"time_embedding_type", `"fourier"`, `time_embedding_type is "fourier"; dploda supports "positional"`},
		{"resnet_time_scale_shift", `"scale_shift"`, `resnet_time_scale_shift is "scale_shift"; dploda supports "default"`},
		{"class_embed_type", `"timestep"`, `class_embed_type is "timestep"; dploda supports null`},
		{"mid_block_type", `null`, `mid_block_type is null; dploda supports "UNetMidBlock2D"`},
		{"mid_block_scale_factor", `0.5`, `mid_block_scale_factor is 0.5; dploda supports 1`},
		{"center_input_sample", `true`, `center_input_sample is true; dploda supports false`},
		{"downsample_padding", `2`, `downsample_padding is 2; dploda supports 0 to 1`},
		{"downsample_type", `"resnet"`, `downsample_type is "resnet"; dploda supports "conv"`},
		{"down_block_types", `["SkipDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"]`, `down_block_types holds "SkipDownBlock2D"; dploda supports "DownBlock2D" and "AttnDownBlock2D"`},
		{"up_block_types", `["UpBlock2D"]`, `up_block_types has 1 entries and block_out_channels 4; they must agree`},
		{"block_out_channels", `[]`, `block_out_channels has 0 levels; dploda supports 1 to 12`},
		{"block_out_channels", `[32, 64, 96, 100]`, `norm_num_groups is 32, which does not divide the 100 channels of a level in block_out_channels`},
		{"block_out_channels", `[32, 64, 96, 100000000]`, `block_out_channels holds 100000000; dploda supports 2 to 16384`},
		{"attn_norm_num_groups", `48`, `attn_norm_num_groups is 48, which does not divide the 256 channels of the middle block`},
		{"attention_head_dim", `48`, `attention_head_dim is 48, which does not divide the 256 channels of a level with attention`},
		{"attention_head_dim", `0`, `attention_head_dim is 0; it must be a positive whole number or null`},
		{"norm_num_groups", `0`, `norm_num_groups is 0; dploda supports 1 to 16384`},
		{"norm_eps", `0`, `norm_eps is 0; it must lie between 0 and 1`},
		{"freq_shift", `64`, `freq_shift is 64; with block_out_channels starting at 128 it must lie from 0 to 63`},
		{"dropout", `1`, `dropout is 1; it must be a number from 0 to below 1`},
		{"num_train_timesteps", `1e9`, `num_train_timesteps is 1e9; it must be a positive whole number or null`},
		{"_class_name", `"UNet2DConditionModel"`, `_class_name is "UNet2DConditionModel"; dploda supports "UNet2DModel"`},
		{"cross_attention_dim", `768`, `the key "cross_attention_dim" is not one that dploda knows; remove it if the model does not need it`},
	} {
		var keys map[string]json.RawMessage
		if err := json.Unmarshal([]byte(ddpmCIFAR10), &keys); err != nil {
			t.Fatal(err)
		}
		keys[c.key] = json.RawMessage(c.value)
		content, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = ParseConfig(content)
		if got := errorText(err); strings.Join(strings.Fields(got), "") != strings.Join(strings.Fields(c.want), "") {
			t.Errorf("%s: %s:\n got %s\nwant %s", c.key, c.value, got, c.want)
		}
	}
}

func TestMalformedJSON(t *testing.T) {
	for content, want := range map[string]string{
		``:                             "it is not a JSON object",
		`[]`:                           "it is not a JSON object",
		`null`:                         "it is not a JSON object",
		`{"in_channels": 3`:            "it is not a JSON object",
		ddpmCIFAR10 + `{}`:             "it goes on after the JSON object",
		`{"sample_size": 32, "a": []}`: `the key "a" is not one that dploda knows; remove it if the model does not need it`,
	} {
		if _, _, err := ParseConfig([]byte(content)); errorText(err) != want {
			t.Errorf("%.20q: %v, want %s", content, err, want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// FuzzParseConfig: no input panics, and what is accepted can be built, written
// and read again.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(ddpmCIFAR10))
	f.Add([]byte(`{"sample_size": [8, 16], "block_out_channels": [2, 4], "down_block_types": ["DownBlock2D", "DownBlock2D"],
		"up_block_types": ["UpBlock2D", "AttnUpBlock2D"], "norm_num_groups": 2, "attention_head_dim": 1, "num_class_embeds": 3}`))
	f.Add([]byte(`{"sample_size": 1, "block_out_channels": [2], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "norm_num_groups": 1}`))
	f.Add([]byte(`{"sample_size": null}`))
	f.Add([]byte(`{"norm_eps": 1e400, "sample_size": -1}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, _, err := ParseConfig(content)
		if err != nil {
			return
		}
		if _, err := c.Parameters(); err != nil {
			t.Fatalf("an accepted config cannot be built: %v", err)
		}
		written, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := ParseConfig(written)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("%s read again: %+v, %v", written, again, err)
		}
	})
}
