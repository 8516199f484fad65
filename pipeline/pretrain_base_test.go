package pipeline

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/config"
)

// TestPretrainWritesABase: one too short to be saved on its way leaves a whole
// base and nothing else, which is not overwritten.
func TestPretrainWritesABase(t *testing.T) {
	spec, err := config.ParsePretrain("tiny.yaml", []byte(`
name: tiny
data: {kind: drawn-public, public: true, train_images: 40, classes: 4}
unet:
  sample_size: 14
  block_out_channels: [8]
  down_block_types: [DownBlock2D]
  up_block_types: [UpBlock2D]
  add_attention: false
codec: {unshuffle: 2}
prototype_channel: true
train: {images: 32, batch: 16, warmup: 0}
`), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "base")
	pretrain := func() error {
		return Pretrain(context.Background(), spec, PretrainOptions{Out: out, Threads: 2}, quiet{})
	}
	if err := pretrain(); err != nil {
		t.Fatal(err)
	}
	base, err := LoadBase(out)
	if err != nil {
		t.Fatal(err)
	}
	if base.Traits.ImagesSeen != 32 || base.Traits.ConfigHash != spec.Hash() || base.PrototypeChannels() != 1 {
		t.Errorf("traits %+v", base.Traits)
	}
	if err := pretrain(); err == nil || !strings.Contains(err.Error(), "holds a finished base") {
		t.Errorf("a finished base was not kept: %v", err)
	}
}
