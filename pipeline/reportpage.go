package pipeline

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dploda/dploda/internal/images"
)

// The files of share/ that people look at; the page holds the pictures.
const (
	pageFile      = "report.html"
	samplesFile   = "samples.png"
	curveFile     = "curve.png"
	confusionFile = "confusion.png"
)

//go:embed report.html
var pageText string

var pageTemplate = template.Must(template.New(pageFile).Funcs(template.FuncMap{
	"up":      up,
	"percent": percent,
	"percentOf": func(share *float64) string {
		if share == nil {
			return "-"
		}
		return percent(*share)
	},
}).Parse(pageText))

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// page is report.html: report.json and privacy.json for people. It adds no figure
// of its own.
type page struct {
	*Report
	Statement      *Statement   // nil in test mode
	Samples, Curve template.URL // of pictures, "" without
	Rows           []pageRow    // data declared public
	Details        []pageScores
}

// pageRow is one accuracy and what it means.
type pageRow struct {
	What, Why string
	Accuracy  float64
	Ours      bool
}

// pageScores are a classifier's scores class by class.
type pageScores struct {
	Title   string
	Scores  *Scores
	Picture template.URL
}

// HTML is the report as a page of its own, pictures inside. Equal reports with equal
// pictures give equal bytes. statement is nil in test mode; pictures are PNG files by
// their name in share/.
func (r *Report) HTML(statement *Statement, pictures map[string][]byte) ([]byte, error) {
	p := page{
		Report: r, Statement: statement, Rows: r.rows(),
		Samples: inline(pictures[samplesFile]), Curve: inline(pictures[curveFile]),
	}
	for i, c := range r.Classifiers {
		d := pageScores{Title: "Class by class: real held-out images, " + c.Network, Scores: c.Test}
		if d.Scores == nil {
			d.Title, d.Scores = "Class by class: held-out synthetic images, "+c.Network, c.HeldOut
		}
		if d.Scores == nil {
			continue
		}
		if i == 0 {
			d.Picture = inline(pictures[confusionFile])
		}
		p.Details = append(p.Details, d)
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("write the report's page: %w", err)
	}
	return b.Bytes(), nil
}

// rows are the accuracies, ours first.
func (r *Report) rows() (rows []pageRow) {
	row := func(accuracy *float64, what, why string) {
		if accuracy != nil {
			rows = append(rows, pageRow{What: what, Why: why, Accuracy: *accuracy})
		}
	}
	for _, c := range r.Classifiers {
		if c.Test == nil {
			continue
		}
		row(&c.Test.Right, fmt.Sprintf("%d synthetic images (%s)", r.SyntheticImages, c.Network),
			"What whoever has this folder alone can reach.")
		rows[len(rows)-1].Ours = true
	}
	n := r.BaselineImages
	if p := r.Prototypes; p != nil {
		row(p.BothAccuracy, fmt.Sprintf("%d of them", n), "As many as in the rows below: fine-tuned, with the private prototypes.")
		row(p.Accuracy, fmt.Sprintf("%d images, the prototypes alone", n), "Sampled with the private prototypes and no gradient step: what fine-tuning adds stands against it.")
		row(p.AdapterAccuracy, fmt.Sprintf("%d images, the adapter without its prototypes", n), "It was fine-tuned with them: this is what it loses without, not what fine-tuning reaches that never had any.")
	}
	row(r.PublicOnlyAccuracy, fmt.Sprintf("%d images of the base's public classes", n), "Each public class counts as the class that it serves best, chosen on the test labels: more than public images alone can give.")
	row(r.BaseAccuracy, fmt.Sprintf("%d images before fine-tuning", n), "The base with a fresh class embedding: about what guessing gives.")
	row(r.RealAccuracy, "as many real images", "The same classifier without privacy: what there is to reach.")
	row(r.NearestCentroidAccuracy, "class means of the real images", "The nearest mean, without privacy: what no network is needed for.")
	return rows
}

// inline is a PNG file as an address that needs no network.
func inline(picture []byte) template.URL {
	if len(picture) == 0 {
		return ""
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(picture))
}

// writePage draws what is not drawn yet and writes the page.
func (r *run) writePage(report *Report, statement *Statement) error {
	if err := r.drawConfusion(report); err != nil {
		return err
	}
	if err := r.drawCurve(); err != nil {
		return err
	}
	pictures := map[string][]byte{}
	for _, name := range []string{samplesFile, confusionFile, curveFile} {
		content, err := os.ReadFile(r.folder.Share(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		pictures[name] = content
	}
	content, err := report.HTML(statement, pictures)
	if err != nil {
		return err
	}
	return r.folder.WriteFile(filepath.Join("share", pageFile), content)
}

// drawConfusion writes share/confusion.png, of the first classifier: on real images
// for data declared public, else on held-out synthetic ones.
func (r *run) drawConfusion(report *Report) error {
	if len(report.Classifiers) == 0 {
		return nil
	}
	c := report.Classifiers[0]
	scores, of := c.Test, "real held-out images"
	if scores == nil {
		scores, of = c.HeldOut, "held-out synthetic images"
	}
	if scores == nil || scores.Confusion == nil || len(scores.Classes) > images.LargestMatrix {
		return nil
	}
	m := images.Matrix{
		Title: fmt.Sprintf("%s: %d %s", r.spec.Name, scores.Images, of), Rows: "true class", Columns: "predicted class",
		Counts: scores.Confusion,
	}
	for _, class := range scores.Classes {
		m.Labels = append(m.Labels, class.Name)
	}
	return m.Write(r.folder.Share(confusionFile))
}

// drawCurve writes share/curve.png if the run released its losses.
func (r *run) drawCurve() error {
	steps, losses, smoothed, err := readCurve(r.folder.Path("metrics.jsonl"))
	if err != nil || len(steps) < 2 {
		return err
	}
	return images.Chart{
		Title: r.spec.Name + ": fine-tuning", X: "step", Y: "loss, as released",
		Curves: []images.Curve{{Name: "each step", X: steps, Y: losses}, {Name: "smoothed", X: steps, Y: smoothed}},
	}.Write(r.folder.Share(curveFile))
}

// readCurve takes the released losses from a run's metrics, and nothing else.
func readCurve(path string) (steps, losses, smoothed []float64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var m metric
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return nil, nil, nil, fmt.Errorf("%s is damaged: a line is no JSON object", path)
		}
		if m.Phase == phaseFinetune && m.Loss != nil && m.LossSmoothed != nil {
			steps, losses, smoothed = append(steps, float64(m.PhaseStep)), append(losses, *m.Loss), append(smoothed, *m.LossSmoothed)
		}
	}
	return steps, losses, smoothed, lines.Err()
}
