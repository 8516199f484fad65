package pipeline

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/dploda/dploda/model/unet"
)

// beginFrom gives a base before its first step the weights of another. Both
// must be the same network but for the size of the image, the classes and a
// prototype channel that the other lacks; errors name the key that differs.
//
// The class embedding is taken over where both have as many classes. Elsewhere
// every row begins as what stands for "no label" in the other, so that the
// network begins as it was without labels. A new prototype channel begins
// unheard.
func (b *Base) beginFrom(other *Base) error {
	if err := b.sameNetwork(other); err != nil {
		return fmt.Errorf("start %s: %w", other.Source, err)
	}
	b.Traits.Timesteps, b.Traits.BetaStart, b.Traits.BetaEnd = other.Traits.Timesteps, other.Traits.BetaStart, other.Traits.BetaEnd
	b.Traits.StartHash = other.Hash
	b.Traits.PublicData += ", begun from " + other.Traits.PublicData
	b.Traits.ImagesSeen += other.Traits.ImagesSeen
	for _, p := range b.Parameters() {
		from, to := other.Tensor(p.Name), b.Tensor(p.Name)
		switch {
		case p.Module.Role == unet.RoleClass && (len(from) != len(to) || !other.Traits.NoLabelRow):
			repeat(to, other.noLabel())
		case p.Module.Name == "conv_in" && len(from) != len(to):
			padChannels(to, from, p.Dims[0])
		default:
			copy(to, from)
		}
	}
	return nil
}

// noLabel is what the base adds to the time embedding of an image without a
// label: nothing, if it knows no classes; the mean class, if it knows nothing
// else.
func (b *Base) noLabel() []float32 {
	rows, width := b.Config.NumClassEmbeds, b.Config.TimeDim()
	table, row := b.Tensor(unet.ClassEmbedding+".weight"), make([]float32, width)
	if b.Traits.NoLabelRow && rows > 0 {
		copy(row, table[(rows-1)*width:])
		return row
	}
	for i := range table {
		row[i%width] += table[i] / float32(rows)
	}
	return row
}

func repeat(dst, row []float32) {
	for len(dst) > 0 {
		dst = dst[copy(dst, row):]
	}
}

// padChannels copies a convolution's weights into one with more input channels,
// whose own are zero.
func padChannels(dst, src []float32, out int) {
	clear(dst)
	for o := range out {
		n, m := len(dst)/out, len(src)/out
		copy(dst[o*n:(o+1)*n], src[o*m:(o+1)*m])
	}
}

// sameNetwork says how the base differs from another that its training is to
// begin from.
func (b *Base) sameNetwork(other *Base) error {
	t, o := b.Traits, other.Traits
	if o.PrototypeChannel && !t.PrototypeChannel {
		return fmt.Errorf("it has a prototype channel; set prototype_channel: true")
	}
	for _, k := range []struct {
		key         string
		ours, their any
	}{
		{"prediction", t.Prediction, o.Prediction}, {"schedule", t.Schedule, o.Schedule}, {"codec.unshuffle", t.Unshuffle, o.Unshuffle},
		{"channels of the images", t.Image[0], o.Image[0]},
	} {
		if k.ours != k.their {
			return differs(k.key, k.their, k.ours)
		}
	}
	ours, err := networkKeys(b.Config)
	if err != nil {
		return err
	}
	theirs, err := networkKeys(other.Config)
	if err != nil {
		return err
	}
	keys := make([]string, 0, len(ours))
	for key := range ours {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if !reflect.DeepEqual(ours[key], theirs[key]) {
			return differs("unet."+key, theirs[key], ours[key])
		}
	}
	return nil
}

// oneHead says whether every attention has a single head, which a config made
// elsewhere writes as null.
func oneHead(c unet.Config) bool {
	levels := len(c.BlockOutChannels)
	for i, n := range c.BlockOutChannels {
		attends := c.DownBlockTypes[i] == "AttnDownBlock2D" || c.UpBlockTypes[levels-1-i] == "AttnUpBlock2D" || i == levels-1 && c.AddAttention
		if attends && c.AttentionHeadDim != 0 && c.AttentionHeadDim != n {
			return false
		}
	}
	return true
}

func differs(key string, their, ours any) error {
	return fmt.Errorf("its %s is %v and the config's %v; they must be the same", key, their, ours)
}

// networkKeys are a config.json's keys that decide what a weight means, null
// where they say what null stands for.
func networkKeys(c unet.Config) (map[string]any, error) {
	if c.TimeEmbeddingDim == 4*c.BlockOutChannels[0] {
		c.TimeEmbeddingDim = 0
	}
	if c.AttnNormNumGroups == c.NormNumGroups {
		c.AttnNormNumGroups = 0
	}
	if oneHead(c) {
		c.AttentionHeadDim = 0
	}
	content, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var keys map[string]any
	if err := json.Unmarshal(content, &keys); err != nil {
		return nil, err
	}
	for _, free := range []string{"sample_size", "num_class_embeds", "num_train_timesteps", "in_channels"} {
		delete(keys, free)
	}
	return keys, nil
}
