package pipeline

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostile are class names that try to leave their place.
var hostile = []string{`<script>alert(1)</script>`, `"><img src=http://evil>`, "{{.Secret}}", "Čáp", "鶴", "\u202eevil", "' onload='x", "</title><b>"}

// hostileReport is a report of everything that a report can hold.
func hostileReport(t *testing.T, public bool) (*Report, *Statement) {
	t.Helper()
	labels := make([]uint16, len(hostile))
	predicted := make([]int, len(hostile))
	for i := range labels {
		labels[i], predicted[i] = uint16(i), i/2
	}
	scores := newScores(labelled(t, hostile, labels...), predicted, hostile)
	accuracy, epsilon := 0.625, 1.5
	r := &Report{
		Name: "cats", EpsilonBudget: 10, Delta: 1e-5, SyntheticImages: 8, BaselineImages: 4, Device: hostile[0], Base: hostile[1],
		Settings: "seed: 1 # " + hostile[0], Seconds: map[string]float64{stageSample: 12.25}, SamplesPerSec: 3,
		Prototypes:  &PrototypesReport{EpsilonAlone: &epsilon, Clusters: 2, Rounds: 3},
		Classifiers: []*ClassifierReport{{Name: "cnn", Network: "CNN", Epochs: 9, ChosenEpoch: 7, HeldOut: scores}},
	}
	s := testStatement(t)
	s.DataPublic = public
	if public {
		r.Classifiers[0].Test, r.ClassifierAccuracy = scores, &scores.Right
		r.RealAccuracy, r.BaseAccuracy, r.PublicOnlyAccuracy, r.NearestCentroidAccuracy = &accuracy, &accuracy, &accuracy, &accuracy
		r.Prototypes.Accuracy, r.Prototypes.AdapterAccuracy, r.Prototypes.BothAccuracy = &accuracy, &accuracy, &accuracy
	}
	return r, s
}

// elements parses a page: its elements are closed in order, and each name is
// followed by its attributes as name=value.
func elements(t *testing.T, content []byte) (found []string, text string) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(content))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	open := 0
	var all strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			open++
			found = append(found, e.Name.Local)
			for _, a := range e.Attr {
				found = append(found, a.Name.Local+"="+a.Value)
			}
		case xml.EndElement:
			open--
		case xml.CharData:
			all.Write(e)
		}
	}
	if open != 0 {
		t.Errorf("%d elements are not closed", open)
	}
	return found, all.String()
}

// TestPageHoldsWhatNamesSayAndNothingThatTheyDo parses the page of a report whose
// names are hostile: no element, attribute or address comes from them, and each
// stands in it as text.
//
// Tried: text/template in the place of html/template, and an img with an address of
// the network.
func TestPageHoldsWhatNamesSayAndNothingThatTheyDo(t *testing.T) {
	known := map[string]bool{"html": true, "head": true, "meta": true, "title": true, "style": true, "body": true, "h1": true, "h2": true, "section": true,
		"p": true, "b": true, "bdi": true, "figure": true, "figcaption": true, "img": true, "div": true, "table": true, "tr": true, "th": true, "td": true,
		"small": true, "ul": true, "li": true, "details": true, "summary": true, "pre": true}
	for _, public := range []bool{false, true} {
		r, s := hostileReport(t, public)
		pictures := map[string][]byte{samplesFile: []byte("PNG of samples"), confusionFile: []byte("PNG of a matrix"), curveFile: []byte("PNG of a curve")}
		content, err := r.HTML(s, pictures)
		if err != nil {
			t.Fatal(err)
		}
		found, text := elements(t, content)
		pictured := 0
		for _, e := range found {
			name, value, attribute := strings.Cut(e, "=")
			switch {
			case !attribute && !known[e]:
				t.Errorf("there is an element %s", e)
			case name == "src" && strings.HasPrefix(value, "data:image/png;base64,"):
				pictured++
			case attribute && (name == "src" || name == "href" || strings.HasPrefix(name, "on") || strings.Contains(value, "evil")):
				t.Errorf("there is an attribute %s", e)
			}
		}
		if pictured != 3 {
			t.Errorf("%d pictures are inside, want 3", pictured)
		}
		for _, name := range hostile {
			if !strings.Contains(text, name) {
				t.Errorf("class %q is not in the text", name)
			}
		}
		if again, _ := r.HTML(s, pictures); !bytes.Equal(again, content) {
			t.Error("the same report gave two pages")
		}
		if got := strings.Contains(strings.ToLower(text), "accurac"); got != public {
			t.Errorf("data declared public %v: accuracies on the page: %v", public, got)
		}
	}
}

// TestPageOfLittle: reports without classifiers, prototypes or statement have pages
// too, and no figure is made up in them.
func TestPageOfLittle(t *testing.T) {
	content, err := (&Report{Name: "x", TestMode: true}).HTML(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	found, text := elements(t, content)
	for _, e := range found {
		if e == "img" || e == "figure" {
			t.Errorf("there is an element %s", e)
		}
	}
	if !strings.Contains(text, "nothing here is private") || strings.Contains(text, "%!") || strings.Contains(text, "<nil>") || strings.Contains(text, "recall") {
		t.Errorf("the page says\n%s", text)
	}
}

// TestCurveIsMadeOfReleasedLosses: the picture's points are the losses of the
// metrics, and no other key of theirs.
func TestCurveIsMadeOfReleasedLosses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	lines := `{"step":1,"phase":"prototypes","phase_step":1,"loss":9,"loss_smoothed":9}
{"step":2,"phase":"finetune","phase_step":1,"loss":0.5,"loss_smoothed":0.5,"images_per_second":700}
{"step":3,"phase":"finetune","phase_step":2,"update_norm":3}
{"step":4,"phase":"finetune","phase_step":3,"loss":0.25,"loss_smoothed":0.475}
`
	must(t, os.WriteFile(path, []byte(lines), 0o600))
	steps, losses, smoothed, err := readCurve(path)
	must(t, err)
	if diff := cmp.Diff([][]float64{{1, 3}, {0.5, 0.25}, {0.5, 0.475}}, [][]float64{steps, losses, smoothed}); diff != "" {
		t.Error(diff)
	}
	must(t, os.WriteFile(path, []byte("{"), 0o600))
	if _, _, _, err := readCurve(path); err == nil {
		t.Error("damaged metrics make a curve")
	}
}

// TestMatricesAreWrittenRowByRow: report.json is for people, too.
func TestMatricesAreWrittenRowByRow(t *testing.T) {
	r, _ := hostileReport(t, true)
	content, err := r.JSON()
	must(t, err)
	if want := "[1, 0, 0, 0, 0, 0, 0, 0]"; !strings.Contains(string(content), want) {
		t.Errorf("no row %s in\n%s", want, content)
	}
}
