package pipeline

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dploda/dploda/internal/device"
	"github.com/dploda/dploda/internal/safetensors"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/unet"
)

// builtin holds the bases that are shipped inside the program, each made by
// `dploda pretrain` with the config of its name under examples/.
//
//go:embed bases
var builtin embed.FS

// builtinPrefix marks a base by name instead of a folder.
const builtinPrefix = "builtin:"

// traitsFile lies beside a base's config.json and says what UNet2DModel's
// config has no place for.
const traitsFile = "dploda.json"

// Traits is dploda.json: how images become the network's input, and what the
// network predicts.
type Traits struct {
	Format           int                  `json:"format"` // 1
	Image            [3]int               `json:"image"`  // channels, height, width
	Unshuffle        int                  `json:"unshuffle"`
	PrototypeChannel bool                 `json:"prototype_channel"`
	Prediction       diffusion.Prediction `json:"prediction_type"`
	Schedule         diffusion.Schedule   `json:"beta_schedule"`
	Timesteps        int                  `json:"num_train_timesteps"`
	BetaStart        float64              `json:"beta_start,omitempty"` // 0: diffusion.FirstBeta
	BetaEnd          float64              `json:"beta_end,omitempty"`   // 0: diffusion.LastBeta
	// NoLabelRow says that the class embedding's last row means "no label", as
	// it does in what dploda pre-trains.
	NoLabelRow bool `json:"no_label_row"`
	// PublicData says what the base was trained on, for the statement.
	PublicData string `json:"public_data"`
	ImagesSeen int    `json:"images_seen"`
	ConfigHash string `json:"config_hash"`          // of the pre-training config
	StartHash  string `json:"start_hash,omitempty"` // of the base that the pre-training began from
}

// Base is a public model, ready to be adapted.
type Base struct {
	*unet.Base
	Traits Traits
	Hash   string // sha256 over config and weights
	Source string // as the config names it
}

// LoadBase reads a base by name ("builtin:demo") or folder.
func LoadBase(source string) (*Base, error) {
	files, place, err := baseFiles(source)
	if err != nil {
		return nil, err
	}
	network, err := loadNetwork(source, files, place.network)
	if err != nil {
		return nil, err
	}
	traits, err := loadTraits(files, place, network)
	if err != nil {
		return nil, err
	}
	hash, err := network.Hash()
	if err != nil {
		return nil, err
	}
	b := &Base{Base: network, Traits: traits, Hash: hash, Source: source}
	return b, b.check(source)
}

// baseFiles is the file system of a base's network, and where it lies: errors
// call it so.
func baseFiles(source string) (fs.FS, location, error) {
	if name, ok := strings.CutPrefix(source, builtinPrefix); ok {
		files, err := fs.Sub(builtin, "bases/"+name)
		if err == nil {
			_, err = fs.Stat(files, unet.ConfigFile)
		}
		if err != nil {
			return nil, location{}, fmt.Errorf("there is no base %q: shipped are %s", source, strings.Join(builtinNames(), ", "))
		}
		return files, location{network: source}, nil
	}
	place, err := locate(source)
	return os.DirFS(place.network), place, err
}

func builtinNames() []string {
	var names []string
	entries, _ := fs.ReadDir(builtin, "bases") // embedded: cannot fail
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, builtinPrefix+e.Name())
		}
	}
	return names
}

// loadNetwork reads config and weights; a folder on disk through unet's own
// reader, an embedded one from its bytes.
func loadNetwork(source string, files fs.FS, label string) (*unet.Base, error) {
	if !strings.HasPrefix(source, builtinPrefix) {
		return unet.LoadBase(label)
	}
	config, err := fs.ReadFile(files, unet.ConfigFile)
	if err != nil {
		return nil, err
	}
	c, _, err := unet.ParseConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", label, unet.ConfigFile, err)
	}
	weights, err := fs.ReadFile(files, unet.WeightsFile)
	if err != nil {
		return nil, err
	}
	tensors, _, err := safetensors.Decode(weights)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", label, unet.WeightsFile, err)
	}
	return unet.FromTensors(c, tensors)
}

// loadTraits reads dploda.json. A folder made elsewhere has none: then images
// go in as they are, every class row is a class, and what the network predicts
// on which schedule is what its scheduler's config says or, without one, what
// diffusers' DDPM scheduler does by default.
func loadTraits(files fs.FS, place location, network *unet.Base) (Traits, error) {
	c := network.Config
	t := Traits{
		Format: 1, Unshuffle: 1, Prediction: diffusion.Epsilon, Schedule: diffusion.Linear, Timesteps: 1000,
		Image:      [3]int{c.OutChannels, c.SampleHeight, c.SampleWidth},
		PublicData: "not recorded by the base",
	}
	content, err := fs.ReadFile(files, traitsFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && place.scheduler != "":
		return t, loadScheduler(place.scheduler, &t)
	case errors.Is(err, fs.ErrNotExist):
		network.Notes = append(network.Notes, fmt.Sprintf("no %s: taken for a network that predicts %s on the %s schedule of %d timesteps", schedulerFile, t.Prediction, t.Schedule, t.Timesteps))
		return t, nil
	case err != nil:
		return t, err
	}
	t.NoLabelRow = true // in files that do not say
	if err := json.Unmarshal(content, &t); err != nil {
		return t, fmt.Errorf("%s/%s is damaged: %w", place.network, traitsFile, err)
	}
	if t.Format != 1 {
		return t, fmt.Errorf("%s/%s has format %d; this version reads format 1", place.network, traitsFile, t.Format)
	}
	return t, nil
}

// check holds the traits against the network's shape.
func (b *Base) check(label string) error {
	codec := b.Codec()
	if err := codec.Validate(); err != nil {
		return fmt.Errorf("base %s: %w", label, err)
	}
	grid, c := codec.Grid(), b.Config
	if channels := b.PrototypeChannels(); c.InChannels != c.OutChannels+channels {
		return fmt.Errorf("base %s: in_channels is %d and out_channels %d: dploda takes networks that predict one value for each channel of the image (and, with a prototype channel, take one more)",
			label, c.InChannels, c.OutChannels)
	}
	if grid != (device.Shape{C: c.OutChannels, H: c.SampleHeight, W: c.SampleWidth}) {
		return fmt.Errorf("base %s: %s's image and codec do not fit %s's channels and sample_size", label, traitsFile, unet.ConfigFile)
	}
	if b.PrototypeChannel() && c.SampleHeight != c.SampleWidth {
		return fmt.Errorf("base %s: prototypes need a square sample_size", label)
	}
	return nil
}

// PublicClasses is the number of classes that the base itself was trained on,
// 0 for an unconditional one.
func (b *Base) PublicClasses() int {
	n := b.Config.NumClassEmbeds
	if n > 0 && b.Traits.NoLabelRow {
		n--
	}
	return n
}

// Codec maps images to the network's grid.
func (b *Base) Codec() diffusion.Codec {
	i := b.Traits.Image
	return diffusion.Codec{Image: device.Shape{C: i[0], H: i[1], W: i[2]}, Factor: b.Traits.Unshuffle}
}

// PrototypeChannel says whether the network takes a class prototype.
func (b *Base) PrototypeChannel() bool { return b.Traits.PrototypeChannel }

// PrototypeChannels is the number of its extra input channels.
func (b *Base) PrototypeChannels() int {
	if b.Traits.PrototypeChannel {
		return 1
	}
	return 0
}

// Schedule returns the tables of the base's noise schedule and time input.
func (b *Base) Schedule() (*diffusion.Tables, [][]float32, error) {
	tables, err := b.Traits.tables()
	if err != nil {
		return nil, nil, err
	}
	return tables, unet.TimeTable(b.Config, b.Traits.Timesteps), nil
}

func (t *Traits) tables() (*diffusion.Tables, error) {
	first, last := t.BetaStart, t.BetaEnd
	if first == 0 {
		first = diffusion.FirstBeta
	}
	if last == 0 {
		last = diffusion.LastBeta
	}
	return diffusion.NewTablesBetween(t.Schedule, first, last, t.Timesteps)
}

// Save writes the base's folder: what diffusers reads, and dploda.json.
func (b *Base) Save(folder string) error {
	if err := b.Base.Save(folder); err != nil {
		return err
	}
	content, err := json.MarshalIndent(b.Traits, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(folder, traitsFile), append(content, '\n'))
}
