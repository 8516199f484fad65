package dataset

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lists are the images of each unit.
func lists(u *Units) [][]uint32 {
	var all [][]uint32
	for i := range u.Len() {
		all = append(all, u.Images(i))
	}
	return all
}

func TestEachImage(t *testing.T) {
	if diff := cmp.Diff([][]uint32{{0}, {1}, {2}}, lists(EachImage(3))); diff != "" {
		t.Error(diff)
	}
	if n := EachImage(0).Len(); n != 0 {
		t.Errorf("no images make %d units", n)
	}
}

// TestReadUnits: units are numbered by their first images and hold them in
// ascending order, whatever the order of the lines and the names.
func TestReadUnits(t *testing.T) {
	want := [][]uint32{{0, 3}, {1}, {2, 4, 5}}
	for name, content := range map[string]string{
		"in order":      "image,unit\n0,zoe\n1,anna\n2,\"van Dyk, Bo\"\n3,zoe\n4,\"van Dyk, Bo\"\n5,\"van Dyk, Bo\"\n",
		"backwards":     "image,unit\n5,c\n4,c\n3,a\n2,c\n1,b\n0,a\n",
		"of Windows":    "\xef\xbb\xbfimage,unit\r\n0,Ä\r\n1,ä\r\n2,\"say \"\"A\"\"\"\r\n3,Ä\r\n4,\"say \"\"A\"\"\"\r\n5,\"say \"\"A\"\"\"",
		"with empty":    "\nimage,unit\n\n0,0\n1,1\n2,2\n\n3,0\n4,2\n5,2\n\n",
		"leading zeros": "image,unit\n00,1\n01,01\n02,001\n03,1\n04,001\n05,001\n", // of units they count
	} {
		u, err := readUnits("f.csv", strings.NewReader(content), 6, byIndex(6))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, lists(u)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	each, err := readUnits("f.csv", strings.NewReader("image,unit\n2,c\n0,a\n1,b\n"), 3, byIndex(3))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lists(EachImage(3)), lists(each)); diff != "" {
		t.Errorf("a unit for each image is not EachImage: %s", diff)
	}
}

// patient stands for what errors must not tell.
const patient = "Ottilie Wildermuth"

// TestReadUnitsRefuses: each error names file, line where that tells nothing,
// and remedy, and never a word of the file.
func TestReadUnitsRefuses(t *testing.T) {
	long := strings.Repeat(patient, 12)
	for _, c := range []struct{ content, want string }{
		{"", "f.csv:1: " + unitsHeader},
		{"unit,image\n" + patient + ",0\n", "f.csv:1: " + unitsHeader},
		{"0," + patient + "\n1,b\n", "f.csv:1: " + unitsHeader},
		{"image;unit\n0;" + patient + "\n", "f.csv:1: " + unitsHeader},
		{"image,unit\n0," + patient + ",f\n1,b\n", "f.csv:2: " + unitsLine},
		{"image,unit\n0," + patient + "\n1\n", "f.csv:3: " + unitsLine},
		{"image,unit\n0," + patient + "\n1,b\"c\n", "f.csv:3: " + unitsLine},
		{"image,unit\n0,\"" + patient + "\n1,b\n", "f.csv:3: " + unitsLine},
		{"image,unit\n" + patient + ",0\n1,b\n", "f.csv:2: " + unitsIndex},
		{"image,unit\n0," + patient + "\n-1,b\n", "f.csv:3: " + unitsIndex},
		{"image,unit\n0," + patient + "\n 1,b\n", "f.csv:3: " + unitsIndex},
		{"image,unit\n0," + patient + "\n1.0,b\n", "f.csv:3: " + unitsIndex},
		{"image,unit\n0," + patient + "\n99999999999999999999,b\n", "f.csv:3: " + unitsIndex},
		{"image,unit\n0," + patient + "\n1,\n", "f.csv:3: " + unitsNoName},
		{"image,unit\n0," + long + "\n1,b\n", "f.csv:2: " + unitsLongName},
		{"image,unit\n0," + patient + "\n1," + patient + " \n", "f.csv:3: " + unitsSpaces},
		{"image,unit\n0," + patient + "\n1,\u00a0" + patient + "\n", "f.csv:3: " + unitsSpaces},
		{"image,unit\n0," + patient + "\n1,\xff" + patient + "\n", "f.csv:3: " + unitsNoText},
		{"image,unit\n0,\"" + patient + "\ny\"\n1,b\n", "f.csv:2: " + unitsNoText},
		{"image,unit\n0," + patient + "\n1,b\n0," + patient + "\n", "f.csv:4: " + unitsTwice},
		// The line of the first image too many is the number of images.
		{"image,unit\n0," + patient + "\n1,b\n2," + patient + "\n", "f.csv: " + unitsBeyond},
		{"image,unit\n0," + patient + "\n", "f.csv: " + unitsMissing},
		{"image,unit\n", "f.csv: " + unitsMissing},
		{"image,unit\n" + strings.Repeat("\n", 1<<12), "f.csv: " + unitsTooLong},
	} {
		_, err := readUnits("f.csv", strings.NewReader(c.content), 2, byIndex(2))
		if err == nil || err.Error() != c.want {
			t.Errorf("%.60q: got %v, want %s", c.content, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "patients.csv")
	_, err := OpenUnits(path, 2)
	if want := "there is no unit file " + path + ": data.units names one, absolute or within the data folder"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := os.WriteFile(path, []byte("image,unit\n1,a\n0,a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if u, err := OpenUnits(path, 2); err != nil || u.Len() != 1 {
		t.Errorf("%v, %v", u, err)
	}
}

// TestLongestNamesFit: the bound on a file's size refuses none that is allowed.
func TestLongestNamesFit(t *testing.T) {
	const n = 500
	var b strings.Builder
	b.WriteString("\xef\xbb\xbf\"image\",\"unit\"\r\n")
	for i := range n {
		fmt.Fprintf(&b, "\"%010d\",\"%s%04d\"\r\n", i, strings.Repeat(`""`, maxUnitName-4), i)
	}
	u, err := readUnits("f.csv", strings.NewReader(b.String()), n, byIndex(n))
	if err != nil || u.Len() != n {
		t.Errorf("%v", err)
	}
}

func TestFingerprintCoversTheGrouping(t *testing.T) {
	key := []byte("a secret of this site")
	d := sample(t, 1, 6, 3, 3)
	units := Grouped([]uint32{0, 1, 0, 1, 2, 0})
	whole := Fingerprint(key, d, units)
	if Fingerprint(key, permuted(d, 5, 3, 1, 0, 2, 4), Grouped([]uint32{3, 1, 1, 3, 3, 0})) != whole {
		t.Error("the fingerprint depends on the order")
	}
	for name, other := range map[string]*Units{
		"each image":        EachImage(6),
		"all one":           Grouped([]uint32{0, 0, 0, 0, 0, 0}),
		"exchanged":         Grouped([]uint32{1, 0, 0, 1, 2, 0}),
		"one moved":         Grouped([]uint32{0, 1, 0, 1, 2, 1}),
		"joined":            Grouped([]uint32{0, 1, 0, 1, 0, 0}),
		"the same, shifted": Grouped([]uint32{2, 0, 1, 0, 1, 0}),
	} {
		if Fingerprint(key, d, other) == whole {
			t.Errorf("the fingerprint does not see the grouping %q", name)
		}
	}
}

// sentence is the form of an error: file, perhaps a line, a fixed text.
var sentence = regexp.MustCompile(`^f\.csv(:[0-9]+)?: (.*)$`)

// FuzzReadUnits: no content makes the reader panic; what is accepted is a
// partition of the images that reads back the same from names of our own; what
// is refused is refused in a fixed sentence, so that no word of the file can
// stand in it. (An error that quotes the name or the line fails at once.)
func FuzzReadUnits(f *testing.F) {
	for _, content := range []string{
		"image,unit\n0,a\n1,b\n2,a\n", "image,unit\n0,\"a,\"\"b\"\n2,x\n1,x\n", "\xef\xbb\xbfimage,unit\r\n2,é\r\n0,é\r\n1,e\r\n",
		"image,unit\n0,a\n0,b\n", "image,unit\n7,a\n", "image,unit\n0, a\n", "x\n", "image,unit\n\"0\n", "image,unit\n0,a,b\n",
	} {
		f.Add([]byte(content), uint8(3))
	}
	fixed := []string{unitsHeader, unitsLine, unitsIndex, unitsTwice, unitsBeyond, unitsMissing, unitsTooLong,
		unitsNoName, unitsLongName, unitsSpaces, unitsNoText}
	f.Fuzz(func(t *testing.T, content []byte, images uint8) {
		n := int(images)
		u, err := readUnits("f.csv", bytes.NewReader(content), n, byIndex(n))
		if err != nil {
			if m := sentence.FindStringSubmatch(err.Error()); m == nil || !slices.Contains(fixed, m[2]) {
				t.Fatalf("an error that is no fixed sentence: %v", err)
			}
			return
		}
		seen := make([]bool, n)
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		w.Write([]string{"image", "unit"})
		last := -1
		for i := range u.Len() {
			list := u.Images(i)
			if len(list) == 0 || !slices.IsSorted(list) || int(list[0]) <= last {
				t.Fatalf("unit %d holds %v, after one that begins with %d", i, list, last)
			}
			last = int(list[0])
			for _, image := range list {
				if seen[image] {
					t.Fatalf("image %d is in two units", image)
				}
				seen[image] = true
				w.Write([]string{strconv.Itoa(int(image)), fmt.Sprintf("unit %d", 1000-i)})
			}
		}
		if slices.Contains(seen, false) {
			t.Fatal("an image is in no unit")
		}
		w.Flush()
		again, err := readUnits("f.csv", &b, n, byIndex(n))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lists(u), lists(again)); diff != "" {
			t.Fatal(diff)
		}
	})
}
