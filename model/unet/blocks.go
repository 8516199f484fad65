package unet

import (
	"fmt"

	"github.com/dploda/dploda/internal/device"
)

// down builds the way from the finest to the coarsest level. The skips are
// what the way up concatenates, the last one first.
func (g *graph) down(x device.Value) (y device.Value, skips []device.Value) {
	skips = []device.Value{x}
	for i, out := range g.config.BlockOutChannels {
		block := fmt.Sprintf("down_blocks.%d", i)
		for j := range g.config.LayersPerBlock {
			x = g.residual(fmt.Sprintf("%s.resnets.%d", block, j), x, out)
			if g.config.DownBlockTypes[i] == "AttnDownBlock2D" {
				x = g.attention(fmt.Sprintf("%s.attentions.%d", block, j), x, g.config.NormNumGroups)
			}
			skips = append(skips, x)
		}
		if i < len(g.config.BlockOutChannels)-1 {
			x = g.downsample(block+".downsamplers.0.conv", x)
			skips = append(skips, x)
		}
	}
	return x, skips
}

func (g *graph) middle(x device.Value) device.Value {
	n := g.b.Shape(x).C
	x = g.residual("mid_block.resnets.0", x, n)
	if g.config.AddAttention {
		groups := g.config.AttnNormNumGroups
		if groups == 0 {
			groups = g.config.NormNumGroups
		}
		x = g.attention("mid_block.attentions.0", x, groups)
	}
	return g.residual("mid_block.resnets.1", x, n)
}

func (g *graph) up(x device.Value, skips []device.Value) device.Value {
	levels := len(g.config.BlockOutChannels)
	for i, blockType := range g.config.UpBlockTypes {
		block := fmt.Sprintf("up_blocks.%d", i)
		out := g.config.BlockOutChannels[levels-1-i]
		for j := range g.config.LayersPerBlock + 1 {
			last := len(skips) - 1
			x = g.b.Concat(x, skips[last])
			skips = skips[:last]
			x = g.residual(fmt.Sprintf("%s.resnets.%d", block, j), x, out)
			if blockType == "AttnUpBlock2D" {
				x = g.attention(fmt.Sprintf("%s.attentions.%d", block, j), x, g.config.NormNumGroups)
			}
		}
		if i < levels-1 {
			x = g.conv(block+".upsamplers.0.conv", g.b.Upsample2x(x), out, 3, device.Pad(1))
		}
	}
	return x
}

// residual is diffusers' ResnetBlock2D with the default time embedding:
// x + conv(silu(norm(conv(silu(norm(x))) + proj(silu(temb))))), with a 1x1
// convolution on x where the channels change.
func (g *graph) residual(name string, x device.Value, out int) device.Value {
	h := g.norm(name+".norm1", x, g.config.NormNumGroups, true)
	h = g.conv(name+".conv1", h, out, 3, device.Pad(1))
	h = g.b.AddChannels(h, g.linear(name+".time_emb_proj", RoleTime, g.temb, out))
	h = g.norm(name+".norm2", h, g.config.NormNumGroups, true)
	h = g.conv(name+".conv2", h, out, 3, device.Pad(1))
	if g.b.Shape(x).C != out {
		x = g.conv(name+".conv_shortcut", x, out, 1, device.Pad(0))
	}
	return g.b.Add(x, h)
}

// attention is self-attention over the pixels, with its residual connection.
func (g *graph) attention(name string, x device.Value, groups int) device.Value {
	n := g.b.Shape(x).C
	h := g.norm(name+".group_norm", x, groups, false)
	q := g.linear(name+".to_q", RoleAttention, h, n)
	k := g.linear(name+".to_k", RoleAttention, h, n)
	v := g.linear(name+".to_v", RoleAttention, h, n)
	h = g.b.Attention(q, k, v, g.config.heads(n))
	h = g.linear(name+".to_out.0", RoleAttention, h, n)
	return g.b.Add(x, h)
}

// downsample halves both sides with a 3x3 convolution of stride 2.
func (g *graph) downsample(name string, x device.Value) device.Value {
	c := device.Conv{Stride: 2, Top: 1, Left: 1, Bottom: 1, Right: 1}
	if g.config.DownsamplePadding == 0 {
		c.Top, c.Left = 0, 0
	}
	return g.conv(name, x, g.b.Shape(x).C, 3, c)
}
