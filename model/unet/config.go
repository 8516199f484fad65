package unet

import (
	"fmt"
)

// Config is the subset of UNet2DModel's config.json that DDPM-style models
// use; what it leaves out has one supported value, which ParseConfig checks.
type Config struct {
	SampleHeight, SampleWidth int // of the input, in pixels
	InChannels, OutChannels   int // may differ: conditioning images ride in extra input channels

	DownBlockTypes   []string // DownBlock2D or AttnDownBlock2D, from the finest level
	UpBlockTypes     []string // UpBlock2D or AttnUpBlock2D, from the coarsest level
	BlockOutChannels []int    // channels of each level, from the finest
	LayersPerBlock   int      // residual blocks of each level on the way down; one more on the way up

	// DownsamplePadding 1 pads every side by one before a stride-2
	// convolution, 0 only the bottom and the right.
	DownsamplePadding int

	AttentionHeadDim  int  // channels of an attention head; 0 (null): one head over all channels
	AddAttention      bool // attention in the middle block
	NormNumGroups     int
	AttnNormNumGroups int // groups of the middle block's attention; 0 (null): NormNumGroups
	NormEps           float64

	FlipSinToCos      bool // cosines before sines in the time embedding
	FreqShift         int  // 1 in the original DDPM, 0 elsewhere
	TimeEmbeddingDim  int  // 0 (null): 4 * BlockOutChannels[0]
	NumClassEmbeds    int  // 0 (null): not conditioned on a class
	NumTrainTimesteps int  // 0 (null): not recorded
}

// Defaults returns what diffusers assumes for keys that config.json does not
// have. sample_size has no default here.
func Defaults() Config {
	return Config{
		InChannels:        3,
		OutChannels:       3,
		DownBlockTypes:    []string{"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"},
		UpBlockTypes:      []string{"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"},
		BlockOutChannels:  []int{224, 448, 672, 896},
		LayersPerBlock:    2,
		DownsamplePadding: 1,
		AttentionHeadDim:  8,
		AddAttention:      true,
		NormNumGroups:     32,
		NormEps:           1e-5,
		FlipSinToCos:      true,
	}
}

// TimeDim is the width of the time (and class) embedding.
func (c Config) TimeDim() int {
	if c.TimeEmbeddingDim > 0 {
		return c.TimeEmbeddingDim
	}
	return 4 * c.BlockOutChannels[0]
}

// heads is the number of attention heads over channels.
func (c Config) heads(channels int) int {
	if c.AttentionHeadDim == 0 {
		return 1
	}
	return channels / c.AttentionHeadDim
}

// Limits keep a hostile or mistyped config from asking for absurd memory.
const (
	maxLevels   = 12
	maxSide     = 1 << 13
	maxChannels = 1 << 14
	maxLayers   = 64
	maxRows     = 1 << 20
)

// Validate checks that the config describes a U-Net that can be built. Its
// errors name config.json's keys.
func (c Config) Validate() error {
	for _, check := range []func() error{c.checkRanges, c.checkLevels, c.checkGroups, c.checkAttention, c.checkTime, c.checkHalving} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) checkRanges() error {
	for _, r := range []struct {
		key        string
		value      int
		least, max int
	}{
		{"sample_size", c.SampleHeight, 1, maxSide},
		{"sample_size", c.SampleWidth, 1, maxSide},
		{"in_channels", c.InChannels, 1, maxChannels},
		{"out_channels", c.OutChannels, 1, maxChannels},
		{"layers_per_block", c.LayersPerBlock, 1, maxLayers},
		{"downsample_padding", c.DownsamplePadding, 0, 1},
		{"attention_head_dim", c.AttentionHeadDim, 0, maxChannels},
		{"norm_num_groups", c.NormNumGroups, 1, maxChannels},
		{"attn_norm_num_groups", c.AttnNormNumGroups, 0, maxChannels},
		{"time_embedding_dim", c.TimeEmbeddingDim, 0, 4 * maxChannels},
		{"num_class_embeds", c.NumClassEmbeds, 0, maxRows},
		{"num_train_timesteps", c.NumTrainTimesteps, 0, maxTimesteps},
	} {
		if r.value < r.least || r.value > r.max {
			return fmt.Errorf("%s is %d; dploda supports %d to %d", r.key, r.value, r.least, r.max)
		}
	}
	if !(c.NormEps > 0 && c.NormEps < 1) {
		return fmt.Errorf("norm_eps is %g; it must lie between 0 and 1", c.NormEps)
	}
	return nil
}

func (c Config) checkLevels() error {
	levels := len(c.BlockOutChannels)
	if levels < 1 || levels > maxLevels {
		return fmt.Errorf("block_out_channels has %d levels; dploda supports 1 to %d", levels, maxLevels)
	}
	for _, l := range []struct {
		key         string
		types       []string
		plain, attn string
	}{
		{"down_block_types", c.DownBlockTypes, "DownBlock2D", "AttnDownBlock2D"},
		{"up_block_types", c.UpBlockTypes, "UpBlock2D", "AttnUpBlock2D"},
	} {
		if len(l.types) != levels {
			return fmt.Errorf("%s has %d entries and block_out_channels %d; they must agree", l.key, len(l.types), levels)
		}
		for _, t := range l.types {
			if t != l.plain && t != l.attn {
				return fmt.Errorf("%s holds %q; dploda supports %q and %q", l.key, t, l.plain, l.attn)
			}
		}
	}
	for _, n := range c.BlockOutChannels {
		if n < 2 || n > maxChannels {
			return fmt.Errorf("block_out_channels holds %d; dploda supports 2 to %d", n, maxChannels)
		}
	}
	return nil
}

func (c Config) checkGroups() error {
	for _, n := range c.BlockOutChannels {
		if n%c.NormNumGroups != 0 {
			return fmt.Errorf("norm_num_groups is %d, which does not divide the %d channels of a level in block_out_channels", c.NormNumGroups, n)
		}
	}
	last := c.BlockOutChannels[len(c.BlockOutChannels)-1]
	if c.AttnNormNumGroups > 0 && last%c.AttnNormNumGroups != 0 {
		return fmt.Errorf("attn_norm_num_groups is %d, which does not divide the %d channels of the middle block", c.AttnNormNumGroups, last)
	}
	return nil
}

func (c Config) checkAttention() error {
	if c.AttentionHeadDim == 0 {
		return nil
	}
	levels := len(c.BlockOutChannels)
	for i, n := range c.BlockOutChannels {
		attends := c.DownBlockTypes[i] == "AttnDownBlock2D" || c.UpBlockTypes[levels-1-i] == "AttnUpBlock2D" ||
			i == levels-1 && c.AddAttention
		if attends && n%c.AttentionHeadDim != 0 {
			return fmt.Errorf("attention_head_dim is %d, which does not divide the %d channels of a level with attention", c.AttentionHeadDim, n)
		}
	}
	return nil
}

func (c Config) checkTime() error {
	if half := c.BlockOutChannels[0] / 2; c.FreqShift < 0 || c.FreqShift >= half {
		return fmt.Errorf("freq_shift is %d; with block_out_channels starting at %d it must lie from 0 to %d", c.FreqShift, c.BlockOutChannels[0], half-1)
	}
	return nil
}

func (c Config) checkHalving() error {
	halvings := len(c.BlockOutChannels) - 1
	factor := 1 << halvings
	if c.SampleHeight%factor != 0 || c.SampleWidth%factor != 0 {
		return fmt.Errorf("sample_size is %dx%d, which this U-Net cannot halve %d times; both sides must be multiples of %d",
			c.SampleHeight, c.SampleWidth, halvings, factor)
	}
	return nil
}
