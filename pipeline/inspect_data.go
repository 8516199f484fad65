package pipeline

import (
	"fmt"

	"golang.org/x/text/unicode/norm"

	"github.com/dploda/dploda/dataset"
)

// ownersNotice begins what is said of private images.
const ownersNotice = OwnersEyes + "this tells of images that may be private; pass none of it on"

// dataFacts is what a data folder holds.
type dataFacts struct {
	Notice string `json:"notice"`
	*dataset.Found
	Problems []string `json:"problems"`
}

// InspectData says what is in a folder of images to train on, whatever its
// kind: value encodes as JSON, text has the same facts for people. It decodes
// every image and writes no file. What it returns is for the owner of the
// images alone, and says so.
func InspectData(dir string) (value any, text string, err error) {
	found, err := dataset.Survey(dir)
	if err != nil {
		return nil, "", err
	}
	f := &dataFacts{Notice: ownersNotice, Found: found, Problems: found.Problems()}
	if f.Problems == nil {
		f.Problems = []string{}
	}
	return f, harmless(f.text()), nil
}

func (f *dataFacts) text() string {
	var t table
	fmt.Fprintf(&t, "%s\n%s: %s of kind %s in %s\n", f.Notice, f.Folder, count(f.Images, "image"), f.Kind, counted(len(f.Classes), "class", "classes"))
	for _, s := range f.Sizes {
		t.row(fmt.Sprintf("%d wide, %d high", s.Width, s.Height), "%s", count(s.Images, "image"))
	}
	for _, c := range []int{1, 3} {
		if n := f.Channels[c]; n > 0 {
			t.row(map[int]string{1: "grey", 3: "RGB"}[c], "%s", count(n, "image"))
		}
	}
	t.row("held out", "%s", count(f.TestImages, "image"))
	for i, class := range f.Classes {
		t.row("class "+norm.NFC.String(class), "%s", count(f.Counts[i], "image"))
	}
	for _, c := range f.Conflicts {
		t.row("equal", "%s and %s, under different labels", c.First, c.Second)
	}
	for _, u := range f.Unreadable {
		t.row("cannot be used", "%s %s", u.File, u.Reason)
	}
	for _, p := range f.Problems {
		fmt.Fprintf(&t, "! %s\n", p)
	}
	return t.String()
}

func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
