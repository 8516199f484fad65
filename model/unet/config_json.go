package unet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
)

// ParseConfig reads a diffusers config.json. Missing keys take diffusers'
// defaults, keys that begin with "_" are diffusers' own notes, any other key
// that it does not know is an error. The notes tell the caller what was
// accepted without effect.
func ParseConfig(content []byte) (c Config, notes []string, err error) {
	keys, err := parseObject(content)
	if err != nil {
		return Config{}, nil, err
	}
	c = Defaults()
	fields := c.fields()
	for _, key := range sortedKeys(keys) {
		value := keys[key]
		if key == "_class_name" {
			err = fixed(value, "UNet2DModel")
		} else if strings.HasPrefix(key, "_") {
			continue
		} else if read, ok := fields[key]; ok {
			err = read(value)
		} else if allowed, ok := fixedKeys[key]; ok {
			err = fixed(value, allowed...)
		} else if key == "dropout" {
			var note string
			note, err = dropout(value)
			if note != "" {
				notes = append(notes, note)
			}
		} else {
			return Config{}, nil, fmt.Errorf("the key %q is not one that dploda knows; remove it if the model does not need it", key)
		}
		if err != nil {
			return Config{}, nil, fmt.Errorf("%s is %s; %w", key, brief(value), err)
		}
	}
	if c.SampleHeight == 0 {
		return Config{}, nil, errors.New(`sample_size is missing or null; dploda builds a network for one size, so add it, for example "sample_size": 32`)
	}
	return c, notes, c.Validate()
}

func parseObject(content []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(content))
	var keys map[string]json.RawMessage
	if err := dec.Decode(&keys); err != nil || keys == nil {
		return nil, errors.New("it is not a JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("it goes on after the JSON object")
	}
	return keys, nil
}

// fixedKeys are the keys of which dploda supports certain values only.
var fixedKeys = map[string][]any{
	"center_input_sample":     {false},
	"time_embedding_type":     {"positional"},
	"mid_block_type":          {"UNetMidBlock2D"},
	"mid_block_scale_factor":  {1.0},
	"downsample_type":         {"conv"},
	"upsample_type":           {"conv"},
	"act_fn":                  {"silu", "swish"}, // two names of one function
	"resnet_time_scale_shift": {"default"},
	"class_embed_type":        {nil},
}

func fixed(value json.RawMessage, allowed ...any) error {
	var v any
	if err := json.Unmarshal(value, &v); err != nil {
		return errors.New("that is not JSON")
	}
	var names []string
	for _, a := range allowed {
		if v == a {
			return nil
		}
		name, _ := json.Marshal(a)
		names = append(names, string(name))
	}
	return fmt.Errorf("dploda supports %s", strings.Join(names, " and "))
}

// fields maps each key to a reader into c.
func (c *Config) fields() map[string]func(json.RawMessage) error {
	return map[string]func(json.RawMessage) error{
		"sample_size":          c.readSampleSize,
		"in_channels":          into(&c.InChannels, "a whole number"),
		"out_channels":         into(&c.OutChannels, "a whole number"),
		"down_block_types":     into(&c.DownBlockTypes, "a list of names"),
		"up_block_types":       into(&c.UpBlockTypes, "a list of names"),
		"block_out_channels":   into(&c.BlockOutChannels, "a list of whole numbers"),
		"layers_per_block":     into(&c.LayersPerBlock, "a whole number"),
		"downsample_padding":   into(&c.DownsamplePadding, "a whole number"),
		"attention_head_dim":   orNull(&c.AttentionHeadDim),
		"add_attention":        into(&c.AddAttention, "true or false"),
		"norm_num_groups":      into(&c.NormNumGroups, "a whole number"),
		"attn_norm_num_groups": orNull(&c.AttnNormNumGroups),
		"norm_eps":             into(&c.NormEps, "a number"),
		"flip_sin_to_cos":      into(&c.FlipSinToCos, "true or false"),
		"freq_shift":           into(&c.FreqShift, "a whole number"),
		"time_embedding_dim":   orNull(&c.TimeEmbeddingDim),
		"num_class_embeds":     orNull(&c.NumClassEmbeds),
		"num_train_timesteps":  orNull(&c.NumTrainTimesteps),
	}
}

func into[T any](dst *T, want string) func(json.RawMessage) error {
	return func(value json.RawMessage) error {
		var v T
		if isNull(value) || json.Unmarshal(value, &v) != nil {
			return fmt.Errorf("it must be %s", want)
		}
		*dst = v
		return nil
	}
}

// orNull reads a positive number, or null as 0.
func orNull(dst *int) func(json.RawMessage) error {
	return func(value json.RawMessage) error {
		if isNull(value) {
			*dst = 0
			return nil
		}
		var v int
		if json.Unmarshal(value, &v) != nil || v < 1 {
			return errors.New("it must be a positive whole number or null")
		}
		*dst = v
		return nil
	}
}

// readSampleSize takes a side, [height, width], or null (left to the caller).
func (c *Config) readSampleSize(value json.RawMessage) error {
	if isNull(value) {
		return nil
	}
	wrong := errors.New("it must be a positive whole number or [height, width]")
	var side int
	if json.Unmarshal(value, &side) == nil {
		c.SampleHeight, c.SampleWidth = side, side
	} else {
		var sides []int
		if json.Unmarshal(value, &sides) != nil || len(sides) != 2 {
			return wrong
		}
		c.SampleHeight, c.SampleWidth = sides[0], sides[1]
	}
	if c.SampleHeight < 1 || c.SampleWidth < 1 {
		return wrong
	}
	return nil
}

func dropout(value json.RawMessage) (note string, err error) {
	var p float64
	if isNull(value) || json.Unmarshal(value, &p) != nil || !(p >= 0 && p < 1) {
		return "", errors.New("it must be a number from 0 to below 1")
	}
	if p > 0 {
		note = fmt.Sprintf("dropout %g is not applied: dploda trains and samples without dropout", p)
	}
	return note, nil
}

func isNull(value json.RawMessage) bool { return string(bytes.TrimSpace(value)) == "null" }

// brief is a value as an error quotes it.
func brief(value json.RawMessage) string {
	const most = 80
	if len(value) > most {
		return strings.ToValidUTF8(string(value[:most]), "") + "..."
	}
	return string(value)
}

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// MarshalJSON writes every key that diffusers' UNet2DModel has, sorted, so
// that diffusers' from_pretrained reads it and equal configs give equal bytes.
func (c Config) MarshalJSON() ([]byte, error) {
	var size any = c.SampleHeight
	if c.SampleWidth != c.SampleHeight {
		size = []int{c.SampleHeight, c.SampleWidth}
	}
	return json.Marshal(map[string]any{
		"_class_name":             "UNet2DModel",
		"sample_size":             size,
		"in_channels":             c.InChannels,
		"out_channels":            c.OutChannels,
		"center_input_sample":     false,
		"time_embedding_type":     "positional",
		"time_embedding_dim":      nullable(c.TimeEmbeddingDim),
		"freq_shift":              c.FreqShift,
		"flip_sin_to_cos":         c.FlipSinToCos,
		"down_block_types":        c.DownBlockTypes,
		"mid_block_type":          "UNetMidBlock2D",
		"up_block_types":          c.UpBlockTypes,
		"block_out_channels":      c.BlockOutChannels,
		"layers_per_block":        c.LayersPerBlock,
		"mid_block_scale_factor":  1,
		"downsample_padding":      c.DownsamplePadding,
		"downsample_type":         "conv",
		"upsample_type":           "conv",
		"dropout":                 0,
		"act_fn":                  "silu",
		"attention_head_dim":      nullable(c.AttentionHeadDim),
		"norm_num_groups":         c.NormNumGroups,
		"attn_norm_num_groups":    nullable(c.AttnNormNumGroups),
		"norm_eps":                c.NormEps,
		"resnet_time_scale_shift": "default",
		"add_attention":           c.AddAttention,
		"class_embed_type":        nil,
		"num_class_embeds":        nullable(c.NumClassEmbeds),
		"num_train_timesteps":     nullable(c.NumTrainTimesteps),
	})
}

func nullable(n int) any {
	if n == 0 {
		return nil
	}
	return n
}
