package pipeline

import (
	"context"
	"fmt"
	"math"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/model/prototype"
)

// settings are the numbers of a draft. They follow from the nominal size, the number
// of classes and (ε, δ).
type settings struct {
	batch, steps, copies int
	rate, ema            float64
	prototypes           *config.Prototypes // nil: the base has no such channel, or they would be noise
	noPrototypes         string             // why not, if the base has the channel
	images               int
}

// The steps that a draft chooses from, and the noise against signal of a step that it
// accepts for more steps: a little above the recorded MNIST run's.
var draftSteps = []int{60, 100, 150, 250, 400, 600, 900}

const draftNoise = 0.3

// chooseSettings scales what worked on MNIST and the demo's images
// (docs/results) to the nominal size and ε.
func (d *draft) chooseSettings() (settings, error) {
	n, classes := d.nominal, len(d.found.Classes)
	s := settings{batch: 512, steps: draftSteps[0], copies: 1, rate: 0.03, images: 10_000}
	if d.Epsilon < 3 {
		s.batch, s.rate = 1024, 0.02 // more noise: fewer and surer steps
	}
	s.batch = max(1, min(s.batch, n/3))
	// Copies cost time and no budget; few images have time for them.
	switch {
	case n < 5_000:
		s.copies = 4
	case n < 20_000:
		s.copies = 2
	}
	if n < 20_000 {
		s.images = 5_000
	}
	s.images = max(s.images, 10*classes)
	return s, d.choosePrototypes(&s)
}

// mostClusters is how many prototypes a class gets at most.
const mostClusters = 8

// choosePrototypes spends 0.3·√ε, and never more than 0.3 of ε, on prototypes: by itself
// about a tenth of what fine-tuning may cost. A cluster must stand clear of its count's
// noise.
func (d *draft) choosePrototypes(s *settings) error {
	if !d.base.PrototypeChannel() {
		return nil
	}
	share := 0.3 * min(d.Epsilon, math.Sqrt(d.Epsilon))
	perClass := float64(d.nominal) / float64(len(d.found.Classes))
	for _, rounds := range []int{4, 1} { // one round: class means alone
		z, err := account.Calibrate(share, d.Delta, 1, rounds+prototypesReserve, nil, account.AddRemove)
		if err != nil {
			return fmt.Errorf("the noise of the prototypes: %w", err)
		}
		z = twoDigitsUp(z)
		p := prototype.Spec{Classes: len(d.found.Classes), Clusters: 1, Side: d.base.Config.SampleHeight, Rounds: rounds}
		noise := z * p.Norm()
		clusters := min(mostClusters, int(perClass/max(2*p.LeastCount(noise), noise/mostPixelNoise)))
		if rounds == 1 {
			clusters = min(clusters, 1)
		}
		if clusters > 1 || rounds == 1 && clusters == 1 {
			s.prototypes = &config.Prototypes{Clusters: clusters, Rounds: rounds, NoiseMultiplier: z, Size: p.Side}
			return nil
		}
	}
	s.noPrototypes = "too few images a class: their means would be noise"
	return nil
}

// twoDigitsUp rounds up to two digits.
func twoDigitsUp(x float64) float64 {
	unit := math.Pow10(int(math.Floor(math.Log10(x))) - 1)
	up := math.Ceil(x/unit) * unit
	return math.Round(up*1e6) / 1e6 // as it is written
}

// lengthen takes as many steps as keep the noise of a step small, and what depends on
// their number.
func (d *draft) lengthen(ctx context.Context, r *resolved) error {
	low, high := 0, len(draftSteps) // the longest accepted lies in [low, high)
	for high-low > 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		mid := (low + high) / 2
		spec := *r.spec
		spec.Finetune.Steps = draftSteps[mid]
		own := *r
		own.spec = &spec
		at, err := own.at(d.Epsilon)
		if err != nil || noiseOf(at.finetune(), spec.Finetune.Beta1).Step > draftNoise {
			high = mid // also where there is no such run: the shortest says why
			continue
		}
		low = mid
	}
	d.settings.steps = draftSteps[low]
	switch { // an average over about a tenth of the run
	case d.settings.steps >= 400:
		d.settings.ema = 0.98
	case d.settings.steps >= 100:
		d.settings.ema = 0.97
	default:
		d.settings.ema = 0.95
	}
	return nil
}
