package pipeline

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/internal/images"
	"github.com/dploda/dploda/model/diffusion"
	"github.com/dploda/dploda/model/draws"
)

// What a picture of a base under way shows. It is cheap: few classes, few
// images, few steps of DPM-Solver++.
const (
	gridClasses = 10
	gridSteps   = 10
)

// gridAt says whether the step that was the done-th of all is one after which a
// picture is drawn: count of them, evenly, the last after the last step.
func gridAt(done, total, count int) bool {
	return done*count/total > (done-1)*count/total
}

// drawGrid draws what the average of the weights so far makes of the same noise
// as in every such picture, into folder/samples-STEP.png.
func (p *pretrainer) drawGrid(ctx context.Context, folder string, step int) error {
	base, err := p.averaged()
	if err != nil {
		return err
	}
	g := images.Grid{Title: fmt.Sprintf("%s after %d steps", base.Traits.PublicData, step), Scale: 2}
	shown := p.shownClasses()
	for _, class := range shown {
		g.RowLabels = append(g.RowLabels, p.data.Classes()[class])
	}
	if base.Config.NumClassEmbeds == 0 {
		g.RowLabels = make([]string, len(shown))
	}
	panels := []struct {
		title     string
		prototype bool
	}{{"by class", false}, {"by class and prototype", true}}
	if base.Config.NumClassEmbeds == 0 {
		panels[0].title, panels[1].title = "unconditional", "by prototype"
	}
	if p.flow == nil {
		panels = panels[:1]
	}
	for _, panel := range panels {
		rows, err := p.gridRows(ctx, base, shown, panel.prototype)
		if err != nil {
			return err
		}
		g.Panels = append(g.Panels, images.Panel{Title: panel.title, Rows: rows})
	}
	return g.Write(filepath.Join(folder, fmt.Sprintf("samples-%d.png", step)))
}

// shownClasses are a few of all classes, evenly.
func (p *pretrainer) shownClasses() []int {
	all := len(p.data.Classes())
	shown := make([]int, min(all, gridClasses))
	for i := range shown {
		shown[i] = i * all / len(shown)
	}
	return shown
}

// gridRows samples a row of images of each class.
func (p *pretrainer) gridRows(ctx context.Context, base *Base, classes []int, prototypes bool) ([][]images.Image, error) {
	key := draws.SeedKey(0, "grid")
	g := &generator{
		base: base, classes: make([]string, max(1, base.PublicClasses())), times: p.preparation.Times,
		settings: config.Sample{Sampler: "dpm++", Steps: gridSteps}, key: key, threads: p.threads, dev: p.dev,
	}
	d, err := g.compileAll()
	if err != nil {
		return nil, err
	}
	requests, of := make([]diffusion.Request, len(classes)*gridColumns), draws.New(key)
	for i := range requests {
		class := classes[i/gridColumns]
		requests[i] = diffusion.Request{Index: uint64(i), Class: class}
		if prototypes {
			requests[i].Prototype = make([]float32, p.flow.pixels)
			p.flow.draw(requests[i].Prototype, of.Stream(uint64(i), 0, draws.Prototype), -1, class)
		}
	}
	rows := make([][]images.Image, len(classes))
	for i := range rows {
		rows[i] = make([]images.Image, gridColumns)
	}
	shape := base.Codec().Image
	err = d.sampler.Sample(ctx, d.denoiser, requests, func(i int, pixels []uint8) {
		rows[i/gridColumns][i%gridColumns] = images.Image{C: shape.C, H: shape.H, W: shape.W, Pix: append([]uint8(nil), pixels...)}
	})
	return rows, err
}
