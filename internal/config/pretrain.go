package config

// PretrainSpec is the training of a base model on public images.
type PretrainSpec struct {
	Name string `yaml:"name"`
	Seed uint64 `yaml:"seed"`
	Data Data   `yaml:"data"`
	// Start is the base whose weights the training begins with: the first of
	// two steps, or one made elsewhere. Without it weights are drawn.
	Start string `yaml:"start,omitempty"`
	// Classes is what the network is told of an image: its class in the data
	// (the default), which of BroadClasses it belongs to, or nothing.
	Classes      string     `yaml:"classes,omitempty"`       // own, broad or none
	BroadClasses [][]string `yaml:"broad_classes,omitempty"` // names of the data's classes, each in one list
	UNet         UNet       `yaml:"unet"`
	Codec        Codec      `yaml:"codec"`
	// PrototypeChannel gives the network an extra input image: the mean of
	// other drawings of the class.
	PrototypeChannel bool   `yaml:"prototype_channel"`
	Prediction       string `yaml:"prediction"` // v or epsilon
	Schedule         string `yaml:"schedule"`   // cosine, linear or scaled_linear
	Train            Train  `yaml:"train"`
	// Grids is how many pictures of samples are drawn on the way, evenly, the
	// last at the end.
	Grids int `yaml:"grids"`
}

// The values of classes.
const (
	ClassesOwn   = "own"
	ClassesBroad = "broad"
	ClassesNone  = "none"
)

// UNet holds the keys of UNet2DModel's config.json that a config chooses;
// channels in and out follow from data and codec. Its JSON is that file's.
type UNet struct {
	SampleSize        Size     `yaml:"sample_size" json:"sample_size"` // of the network's input, in pixels
	BlockOutChannels  []int    `yaml:"block_out_channels" json:"block_out_channels"`
	LayersPerBlock    int      `yaml:"layers_per_block" json:"layers_per_block"`
	DownBlockTypes    []string `yaml:"down_block_types" json:"down_block_types"`
	UpBlockTypes      []string `yaml:"up_block_types" json:"up_block_types"`
	NormNumGroups     int      `yaml:"norm_num_groups" json:"norm_num_groups"`
	NormEps           float64  `yaml:"norm_eps" json:"norm_eps"`
	AttentionHeadDim  int      `yaml:"attention_head_dim" json:"attention_head_dim"`
	AddAttention      bool     `yaml:"add_attention" json:"add_attention"`
	DownsamplePadding int      `yaml:"downsample_padding" json:"downsample_padding"`
	FlipSinToCos      bool     `yaml:"flip_sin_to_cos" json:"flip_sin_to_cos"`
	FreqShift         int      `yaml:"freq_shift" json:"freq_shift"`
}

// Codec turns images into the network's input.
type Codec struct {
	Unshuffle int `yaml:"unshuffle"` // n x n pixels become channels; 1: none
}

// Train configures pre-training.
type Train struct {
	Images       int     `yaml:"images"` // seen in total, repetitions counted
	Batch        int     `yaml:"batch"`
	LearningRate float64 `yaml:"learning_rate"` // falls to 0 as a half cosine
	WeightDecay  float64 `yaml:"weight_decay"`
	EMA          float64 `yaml:"ema"`
	Warmup       int     `yaml:"warmup"` // steps of rising learning rate
	ConditionMix Mix     `yaml:"condition_mix"`
	// Handwriting draws each image anew; nil: images are trained on as they are.
	Handwriting *Handwriting `yaml:"handwriting,omitempty"`
}

// Handwriting makes characters of one hand look like those of many
// (augment.Handwriting): each image is drawn anew a few times before the
// training begins, so that prototypes are means of such drawings too.
type Handwriting struct {
	Copies  int     `yaml:"copies"`  // drawings of each image
	InkBox  float64 `yaml:"ink_box"` // the longer side of the ink's box, as a share of the image's
	Degrees float64 `yaml:"degrees"`
	Shear   float64 `yaml:"shear"`  // sideways per height
	Scale   float64 `yaml:"scale"`  // of each axis, within 1±scale
	Shift   float64 `yaml:"shift"`  // share of the side
	Stroke  float64 `yaml:"stroke"` // most pixels by which strokes grow on each side
	Ink     float64 `yaml:"ink"`    // then each pixel's ink times this, full ink at most
}

// Mix is how often an image is trained under which condition; the shares sum
// to 1.
type Mix struct {
	None      float64 `yaml:"none"`
	Class     float64 `yaml:"class"`
	Both      float64 `yaml:"both"`
	Prototype float64 `yaml:"prototype"`
}

// defaultPretrain is a pre-training before its file is read.
func defaultPretrain() PretrainSpec {
	return PretrainSpec{
		Name: "base",
		Seed: 1,
		UNet: UNet{
			LayersPerBlock: 1, NormNumGroups: 8, NormEps: 1e-5, AttentionHeadDim: 8,
			AddAttention: true, DownsamplePadding: 1, FlipSinToCos: true,
		},
		Codec:      Codec{Unshuffle: 1},
		Prediction: "v",
		Schedule:   "cosine",
		Grids:      5,
		Train: Train{
			Images: 300_000, Batch: 128, LearningRate: 1.5e-3, WeightDecay: 0.01, EMA: 0.999, Warmup: 200,
		},
	}
}

// fill derives what depends on other values.
func (p *PretrainSpec) fill() {
	p.Data.fill()
	if p.Classes == ClassesOwn {
		p.Classes = "" // one spelling of the default
	}
	if p.Train.ConditionMix == (Mix{}) {
		p.Train.ConditionMix = p.defaultMix()
	}
}

func (p *PretrainSpec) defaultMix() Mix {
	switch {
	case p.Classes == ClassesNone && p.PrototypeChannel:
		return Mix{None: 0.15, Prototype: 0.85}
	case p.Classes == ClassesNone:
		return Mix{None: 1}
	case p.PrototypeChannel:
		return Mix{None: 0.15, Class: 0.25, Both: 0.25, Prototype: 0.35}
	}
	return Mix{None: 0.15, Class: 0.85}
}

// Validate reports the first impossible value. LoadPretrain has called it; who
// changes a spec calls it again.
func (p *PretrainSpec) Validate() error {
	var c checker
	c.name("name", p.Name)
	p.Data.check(&c)
	c.require("data.units", p.Data.Units == "", "is for runs on private images; nothing is protected in pre-training")
	c.require("data.public", p.Data.Public, "must be true: a base is trained without privacy, on public images only")
	if p.Classes != "" {
		c.oneOf("classes", p.Classes, ClassesOwn, ClassesBroad, ClassesNone)
	}
	broad := len(p.BroadClasses) > 0
	c.require("classes", broad || p.Classes != ClassesBroad, "is broad, so broad_classes must list the names of the classes that belong together")
	c.require("broad_classes", !broad || p.Classes == ClassesBroad, "is for classes: broad")
	p.UNet.check(&c)
	c.within("codec.unshuffle", p.Codec.Unshuffle, 1, 16)
	c.oneOf("prediction", p.Prediction, "v", "epsilon")
	c.oneOf("schedule", p.Schedule, "cosine", "linear", "scaled_linear")
	p.Train.check(&c, p.PrototypeChannel)
	m := p.Train.ConditionMix
	c.require("train.condition_mix", p.Classes != ClassesNone || m.Class == 0 && m.Both == 0, "asks for classes, but classes is none")
	c.within("grids", p.Grids, 0, 1000)
	return c.err()
}

func (u UNet) check(c *checker) {
	levels := len(u.BlockOutChannels)
	c.within("unet.sample_size", u.SampleSize[0], 1, 8192)
	c.within("unet.sample_size", u.SampleSize[1], 1, 8192)
	c.require("unet.block_out_channels", levels >= 1 && levels <= 12, "must hold the channels of 1 to 12 levels, not of %d", levels)
	for _, n := range u.BlockOutChannels {
		c.require("unet.block_out_channels", n >= 2 && n <= 1<<14, "must hold 2 to 16384 channels, not %d", n)
	}
	c.within("unet.layers_per_block", u.LayersPerBlock, 1, 64)
	for _, l := range []struct {
		key         string
		types       []string
		plain, attn string
	}{
		{"unet.down_block_types", u.DownBlockTypes, "DownBlock2D", "AttnDownBlock2D"},
		{"unet.up_block_types", u.UpBlockTypes, "UpBlock2D", "AttnUpBlock2D"},
	} {
		c.require(l.key, len(l.types) == levels, "has %d entries and unet.block_out_channels %d; they must agree", len(l.types), levels)
		for _, t := range l.types {
			c.oneOf(l.key, t, l.plain, l.attn)
		}
	}
	c.positive("unet.norm_num_groups", u.NormNumGroups, 1<<14)
	c.require("unet.norm_eps", u.NormEps > 0 && u.NormEps < 1, "must lie between 0 and 1, not %v", u.NormEps)
	c.positive("unet.attention_head_dim", u.AttentionHeadDim, 1<<14)
	c.within("unet.downsample_padding", u.DownsamplePadding, 0, 1)
	c.within("unet.freq_shift", u.FreqShift, 0, 1)
}

func (h Handwriting) check(c *checker) {
	c.within("train.handwriting.copies", h.Copies, 1, 100)
	for _, r := range []struct {
		key        string
		value, max float64
	}{
		{"ink_box", h.InkBox, 1}, {"degrees", h.Degrees, 180}, {"shear", h.Shear, 2},
		{"scale", h.Scale, 0.9}, {"shift", h.Shift, 0.9}, {"stroke", h.Stroke, 3}, {"ink", h.Ink, 10},
	} {
		c.require("train.handwriting."+r.key, r.value >= 0 && r.value <= r.max, "must lie from 0 to %v, not %v", r.max, r.value)
	}
	c.require("train.handwriting.ink", h.Ink >= 1, "must be at least 1, not %v", h.Ink)
	c.require("train.handwriting.ink_box", h.InkBox >= 0.1, "must be at least 0.1 of the image's side, not %v", h.InkBox)
}

func (t Train) check(c *checker, prototypes bool) {
	c.positive("train.images", t.Images, 100*maxImages)
	c.positive("train.batch", t.Batch, 1<<20)
	c.rate("train.learning_rate", t.LearningRate)
	c.require("train.weight_decay", t.WeightDecay >= 0 && t.WeightDecay <= 10, "must lie from 0 to 10, not %v", t.WeightDecay)
	c.decay("train.ema", t.EMA)
	steps := max(1, t.Images/max(1, t.Batch))
	c.require("train.warmup", t.Warmup >= 0 && t.Warmup < steps, "must be 0 to %d, less than the %d steps that train.images and train.batch make, not %d", steps-1, steps, t.Warmup)
	if h := t.Handwriting; h != nil {
		h.check(c)
	}
	m := t.ConditionMix
	sum := m.None + m.Class + m.Both + m.Prototype
	least := min(m.None, m.Class, m.Both, m.Prototype)
	c.require("train.condition_mix", least >= 0 && sum > 0.999 && sum < 1.001, "must hold shares that sum to 1, not to %.4g", sum)
	c.require("train.condition_mix", prototypes || m.Both == 0 && m.Prototype == 0, "asks for prototypes, but prototype_channel is false")
}
