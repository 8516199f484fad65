package pipeline

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/model/draws"
)

func noEnvironment(string) (string, bool) { return "", false }

// tinyImages are n random 8x8 images of three classes.
func tinyImages(t testing.TB, n int, seed uint64) *dataset.Memory {
	t.Helper()
	s := draws.New(draws.SeedKey(seed, "tiny images")).Stream(0, 0, draws.Noise)
	pixels, labels := make([]uint8, n*64), make([]uint16, n)
	for i := range pixels {
		pixels[i] = uint8(s.Intn(256))
	}
	for i := range labels {
		labels[i] = uint16(i % 3)
	}
	d, err := dataset.NewMemory(1, 8, 8, []string{"a", "b", "c"}, pixels, labels)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const tinyPretrainConfig = `
name: tiny
data: {kind: idx, public: true}
unet:
  sample_size: 8
  block_out_channels: [8, 16]
  down_block_types: [DownBlock2D, DownBlock2D]
  up_block_types: [UpBlock2D, UpBlock2D]
  norm_num_groups: 4
  add_attention: false
prototype_channel: %t
train: {images: 48, batch: 8, ema: 0.9, warmup: 2, learning_rate: 1e-3}
`

// tinyPretrainer is the pre-training of an 8x8 network, six steps long.
func tinyPretrainer(t testing.TB, prototypes bool, threads int) *pretrainer {
	t.Helper()
	spec, err := config.ParsePretrain("tiny.yaml", fmt.Appendf(nil, tinyPretrainConfig, prototypes), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPretrainer(spec, tinyImages(t, 30, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.prepareDescent(spec.Train); err != nil {
		t.Fatal(err)
	}
	if err := p.compile(NewDevice(), threads); err != nil {
		t.Fatal(err)
	}
	return p
}

// tinyBases are the folders of a base without and one with a prototype channel.
var tinyBases struct {
	sync.Mutex
	saved map[bool]*Base
}

func tinyBase(t testing.TB, prototypes bool) string {
	t.Helper()
	tinyBases.Lock()
	defer tinyBases.Unlock()
	b := tinyBases.saved[prototypes]
	if b == nil {
		var err error
		if b, err = tinyPretrainer(t, prototypes, 1).averaged(); err != nil {
			t.Fatal(err)
		}
		if tinyBases.saved == nil {
			tinyBases.saved = map[bool]*Base{}
		}
		tinyBases.saved[prototypes] = b
	}
	folder := filepath.Join(t.TempDir(), "base")
	if err := b.Save(folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

const tinyRunConfig = `
name: tiny
data: {kind: idx, class_names: [a, b, c], nominal_size: 60}
base: %s
privacy: {domain: tiny, epsilon: 8.2, delta: 1e-5}
prototypes: {clusters: 2, rounds: 2, noise_multiplier: 20, size: 8}
adapter: {kind: loda, rank: 2, alpha: 2}
finetune: {batch: 16, steps: 4, copies: 1, clip: 0.1, time_range: [0.2, 0.8]}
sample: {images: 9, steps: 2}
evaluate: {epochs: 1}
workers: {count: 2, threads: 1}
`

// tinySpec is a run on private images, changed by pairs of old and new text.
func tinySpec(t testing.TB, changes ...string) *config.RunSpec {
	t.Helper()
	text := strings.NewReplacer(changes...).Replace(fmt.Sprintf(tinyRunConfig, tinyBase(t, true)))
	spec, err := config.ParseRun("tiny.yaml", []byte(text), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// everyone makes each step take all examples, which is calibrated in no time.
const everyone = "batch: 60"

var tinyResolved struct {
	sync.Mutex
	known map[string]*resolved
}

// tinyRun is a run as far as its stages need no folder. Its base is shared.
func tinyRun(t testing.TB, changes ...string) *run {
	t.Helper()
	tinyResolved.Lock()
	defer tinyResolved.Unlock()
	key := strings.Join(changes, "\n")
	known := tinyResolved.known[key]
	if known == nil {
		var err error
		if known, err = resolve(tinySpec(t, changes...)); err != nil {
			t.Fatal(err)
		}
		if tinyResolved.known == nil {
			tinyResolved.known = map[string]*resolved{}
		}
		tinyResolved.known[key] = known
	}
	own, spec := *known, *known.spec
	own.spec = &spec
	return &run{resolved: &own, dev: NewDevice(), train: tinyImages(t, 60, 2), obs: quiet{}}
}
