package dataset

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// greyPNG is a picture of one shade.
func greyPNG(t testing.TB, h, w int, shade uint8) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = shade
	}
	return pngOf(t, m)
}

func rgbPNG(t testing.TB, h, w int, c color.NRGBA) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, c)
		}
	}
	return pngOf(t, m)
}

// tree writes files; a path that ends with a slash is an empty folder, content
// that begins with "->" a symbolic link.
func tree(t testing.TB, files map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for path, content := range files {
		full := filepath.Join(dir, path)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		target, link := strings.CutPrefix(string(content), "->")
		switch {
		case err != nil:
		case strings.HasSuffix(path, "/"):
			err = os.MkdirAll(full, 0o755)
		case link:
			err = os.Symlink(target, full)
		default:
			err = os.WriteFile(full, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shades are the first bytes of each image, with its name and class.
func shades(o *Opened) (all []string) {
	for i := range o.Len() {
		all = append(all, fmt.Sprintf("%s %s %d", o.name(i), o.Classes()[o.Label(i)], o.Image(i)[0]))
	}
	return all
}

// TestOpenFolder: images come class by class in the order of the labels and by
// name within a class; the litter of systems and files beside the classes are no
// images. Tried: the folder's own order; hidden files as images.
func TestOpenFolder(t *testing.T) {
	files := map[string][]byte{
		"b/2.png": greyPNG(t, 4, 3, 22), "b/1.PNG": greyPNG(t, 4, 3, 21), "a/9.png": greyPNG(t, 4, 3, 19), "a/10.jpeg": jpegOf(t, image.NewGray(image.Rect(0, 0, 3, 4))),
		".DS_Store": {0}, "a/.DS_Store": {0}, "a/._9.png": {0}, "a/Thumbs.db": {0}, "a/desktop.ini": {0}, "__MACOSX/a/._9.png": {0}, ".git/x.png": {0},
		"README.txt": {'x'}, "people.csv": {'x'}, "b/3.png": []byte("->2.png"),
	}
	dir := tree(t, files)
	o, err := Source{Kind: KindFolder, Folder: dir}.Open(Train)
	if err != nil {
		t.Fatal(err)
	}
	if c, h, w := o.Shape(); c != 1 || h != 4 || w != 3 {
		t.Errorf("images of %d x %d x %d", c, h, w)
	}
	if diff := cmp.Diff([]string{"a/10.jpeg a 0", "a/9.png a 19", "b/1.PNG b 21", "b/2.png b 22", "b/3.png b 22"}, shades(o)); diff != "" {
		t.Error(diff)
	}
	o, err = Source{Kind: KindFolder, Folder: dir, Classes: []string{"b", "a"}}.Open(Train)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b/1.PNG b 21", "b/2.png b 22", "b/3.png b 22", "a/10.jpeg a 0", "a/9.png a 19"}, shades(o)); diff != "" {
		t.Errorf("in the declared order: %s", diff)
	}
	if _, err = (Source{Kind: KindFolder, Folder: dir}).Open(Test); err == nil || err.Error() != dir+" has no held-out images: put them into DIR/test/CLASS or DIR/val/CLASS, beside DIR/train/CLASS" {
		t.Error(err)
	}
}

// TestOpenSplitFolder: DIR/train/CLASS with DIR/test or DIR/val; a class may be
// called train.
func TestOpenSplitFolder(t *testing.T) {
	dir := tree(t, map[string][]byte{
		"train/a/1.png": greyPNG(t, 2, 2, 1), "train/b/1.png": greyPNG(t, 2, 2, 2),
		"val/b/1.png": greyPNG(t, 2, 2, 3),
	})
	s := Source{Kind: KindFolder, Folder: dir, Classes: []string{"a", "b"}}
	for split, want := range map[Split][]string{Train: {"a/1.png a 1", "b/1.png b 2"}, Test: {"b/1.png b 3"}} {
		o, err := s.Open(split)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, shades(o)); diff != "" {
			t.Errorf("%s: %s", split, diff)
		}
	}
	trains := tree(t, map[string][]byte{"train/1.png": greyPNG(t, 2, 2, 1), "tram/1.png": greyPNG(t, 2, 2, 2)})
	o, err := Source{Kind: KindFolder, Folder: trains}.Open(Train)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"train/1.png train 1", "tram/1.png tram 2"}, shades(o)); diff != "" {
		t.Error(diff)
	}
}

// TestOpenFolderRefuses: one sentence each, with the remedy. Tried: each check
// taken out, where the folder opens or the next check speaks.
func TestOpenFolderRefuses(t *testing.T) {
	one, two := greyPNG(t, 4, 3, 1), greyPNG(t, 4, 3, 2)
	outside := tree(t, map[string][]byte{"secret.png": one, "c/1.png": one})
	for _, c := range []struct {
		name  string
		files map[string][]byte
		with  Source
		want  string // DIR stands for the folder
	}{
		{"a class that was not declared", map[string][]byte{"a/1.png": one, "b/1.png": two, "c/1.png": one}, Source{},
			`DIR has a folder "c", which is no class of data.class_names: declare it there, or move it away`},
		{"a class that is not there", map[string][]byte{"a/1.png": one}, Source{},
			`DIR has no folder for the class "b", which data.class_names declares: add it, or take the name out`},
		{"a class with no image", map[string][]byte{"a/1.png": one, "b/": nil}, Source{},
			`no image in DIR has the class "b" (label 1): add images of it, or take it out of data.class_names`},
		{"a class with litter alone", map[string][]byte{"a/1.png": one, "b/.DS_Store": {0}}, Source{},
			`no image in DIR has the class "b" (label 1): add images of it, or take it out of data.class_names`},
		{"one class spelled in two ways", map[string][]byte{"a/1.png": one, "\u00e9/1.png": one, "e\u0301/1.png": two}, Source{},
			`DIR has two folders for the class "é", spelled with other code points ("e\u0301" and "\u00e9"); merge them`},
		{"a class twice", map[string][]byte{"a/1.png": one}, Source{Classes: []string{"\u00e9", "e\u0301"}},
			`the class "é" is declared twice`},
		{"a name that is no text", map[string][]byte{"a\x01/1.png": one}, Source{},
			`the folder DIR/"a\x01" cannot be a class: its name is not UTF-8 text without control characters; rename it`},
		{"a folder within a class", map[string][]byte{"a/x/1.png": one, "b/1.png": one}, Source{},
			`DIR/a/x is a folder within a class; images lie in DIR/CLASS, or in DIR/train/CLASS and DIR/test/CLASS`},
		{"no images", map[string][]byte{"a/": nil, "b/": nil}, Source{},
			`DIR has no image that can be used: put PNG or JPEG files into DIR/CLASS`},
		{"a link out of the folder", map[string][]byte{"a/1.png": one, "b/1.png": []byte("->" + outside + "/secret.png")}, Source{},
			`b/1.png in DIR is a symbolic link that leads out of the data folder or to nothing; put the file itself there: repair or remove it, or leave such files out with data.corrupt: leave_out; 'dploda inspect data DIR' lists them`},
		{"a class that is a link out", map[string][]byte{"a/1.png": one, "b/1.png": one, "c": []byte("->" + outside + "/c")}, Source{},
			`DIR/c is a symbolic link that leads out of the data folder or to nothing; put the folder itself there`},
		{"a format that is not read", map[string][]byte{"a/1.png": one, "b/1.png": one, "b/2.bmp": []byte("BM")}, Source{},
			`b/2.bmp in DIR is not a .png, .jpg or .jpeg file; convert it, or move it out of the class: repair or remove it, or leave such files out with data.corrupt: leave_out; 'dploda inspect data DIR' lists them`},
		{"several corrupt files", map[string][]byte{"a/1.png": one, "b/1.png": one[:50], "b/2.png": nil, "b/3.jpg": []byte("x")}, Source{},
			`b/1.png in DIR is truncated (and 2 more cannot be used): repair or remove it, or leave such files out with data.corrupt: leave_out; 'dploda inspect data DIR' lists them`},
		{"several sizes", map[string][]byte{"a/1.png": one, "b/1.png": greyPNG(t, 3, 4, 1)}, Source{},
			`DIR: the images have several sizes, such as 3 x 4 (a/1.png) and 4 x 3 (b/1.png): bring them to one with data.transform: resize, crop or pad`},
		{"grey and RGB", map[string][]byte{"a/1.png": rgbPNG(t, 4, 3, color.NRGBA{1, 2, 3, 255}), "b/1.png": one}, Source{},
			`DIR: some images are grey (b/1.png) and some RGB (a/1.png): say what they shall be with data.transform.channels: grey or rgb`},
		{"too small for the crop", map[string][]byte{"a/1.png": one, "b/1.png": two}, Source{Transform: Transform{Crop: [2]int{4, 4}}},
			`a/1.png in DIR has 3 x 4 pixels, too few for the crop to 4 x 4: give data.transform a resize, or a smaller crop (and 1 more cannot be used): repair or remove it, or leave such files out with data.corrupt: leave_out; 'dploda inspect data DIR' lists them`},
		{"photographs", map[string][]byte{"a/1.png": greyPNG(t, 300, 400, 1), "b/1.png": one}, Source{},
			`DIR: a/1.png has 400 x 300 pixels, and at most 256 x 256 are trained on: scale the images with data.transform.resize: [HEIGHT, WIDTH]`},
	} {
		dir := tree(t, c.files)
		s := c.with
		s.Kind, s.Folder = KindFolder, dir
		if s.Classes == nil {
			s.Classes = []string{"a", "b"}
		}
		_, err := s.Open(Train)
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

// TestMillionClasses: a folder of folders that are no classes is refused at the
// first that is too many, here three for the 65,536 that take minutes to make.
// Labels of a million classes have their own refusals (TestDecodeNPZRefuses).
func TestMillionClasses(t *testing.T) {
	dir := tree(t, map[string][]byte{"1/": nil, "2/": nil, "3/": nil, "4/": nil})
	root, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if classes, err := listClasses(root, 4); err != nil || len(classes) != 4 {
		t.Errorf("%q, %v", classes, err)
	}
	_, err = listClasses(root, 3)
	if want := dir + " has more than 3 folders, each of which would be a class; a class is a folder of its images, not of one"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestLeaveOut: each file is left out or kept for itself. For every folder made
// of some usable and some unusable files, what is read is what the folder
// without the unusable ones gives; so a file more or less changes the data by
// that file's image or by nothing. Tried: leaving out the rest of the class.
func TestLeaveOut(t *testing.T) {
	all := map[string][]byte{
		"a/1.png": greyPNG(t, 4, 3, 1), "a/2.png": []byte("no image"), "a/3.png": greyPNG(t, 4, 3, 3), "a/4.png": greyPNG(t, 9, 9, 4),
		"b/1.png": greyPNG(t, 4, 3, 5), "b/2.bmp": []byte("BM"), "b/3.png": []byte("->/etc/hostname"), "b/4.jpg": greyPNG(t, 4, 3, 6),
	}
	unusable := map[string]bool{"a/2.png": true, "a/4.png": true, "b/2.bmp": true, "b/3.png": true}
	paths := []string{"a/1.png", "a/2.png", "a/3.png", "a/4.png", "b/1.png", "b/2.bmp", "b/3.png", "b/4.jpg"}
	for mask := range 1 << len(paths) {
		if mask&1 == 0 || mask>>4&1 == 0 {
			continue // a class would have no image
		}
		files, want, out := map[string][]byte{}, 0, 0
		for i, path := range paths {
			if mask>>i&1 == 1 {
				files[path] = all[path]
				if unusable[path] {
					out++
				} else {
					want++
				}
			}
		}
		o, err := Source{Kind: KindFolder, Folder: tree(t, files), Classes: []string{"a", "b"}, LeaveOut: true, Transform: Transform{Pad: [2]int{6, 5}}}.Open(Train)
		if err != nil {
			t.Fatal(err)
		}
		if o.Len() != want || len(o.LeftOut) != out {
			t.Fatalf("%08b: %d images and %d left out, want %d and %d", mask, o.Len(), len(o.LeftOut), want, out)
		}
		for i, name := range o.Names {
			p, err := decodePicture(bytes.NewReader(all[name]))
			if err != nil {
				t.Fatal(err)
			}
			if p, err = (Transform{Pad: [2]int{6, 5}}).apply(p); err != nil || !bytes.Equal(p.pix, o.Image(i)) {
				t.Fatalf("%08b: %s changed, %v", mask, name, err)
			}
		}
	}
}

// TestConflicts: equal pixels under two labels are likely a wrong label; the
// same name in two classes is usual.
func TestConflicts(t *testing.T) {
	one := greyPNG(t, 4, 3, 1)
	dir := tree(t, map[string][]byte{"a/1.png": one, "a/2.png": one, "b/1.png": greyPNG(t, 4, 3, 2), "b/7.png": rgbPNG(t, 4, 3, color.NRGBA{1, 1, 1, 255})})
	s := Source{Kind: KindFolder, Folder: dir, Classes: []string{"a", "b"}, Transform: Transform{Channels: Grey}}
	o, err := s.Open(Train)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Conflict{{"a/1.png", "b/7.png"}}, o.equal().Conflicts); diff != "" {
		t.Error(diff)
	}
	if remarks := o.Remarks(); len(remarks) != 2 || !strings.HasPrefix(remarks[0], "1 pair of images") || !strings.HasPrefix(remarks[1], "1 image equal") {
		t.Errorf("%q", remarks)
	}
	if err := os.WriteFile(filepath.Join(dir, "b", "8.png"), one, 0o644); err != nil {
		t.Fatal(err)
	}
	found, err := Survey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Conflict{{"a/1.png", "b/8.png"}}, found.Conflicts); diff != "" || found.Repeated != 1 {
		t.Errorf("%d repeated, %s", found.Repeated, diff)
	}
}

// TestUnitsOfAFolder: a unit file names images by their paths, however their
// accents are stored, and may name files that were left out.
func TestUnitsOfAFolder(t *testing.T) {
	dir := tree(t, map[string][]byte{
		"a/u\u0308.png": greyPNG(t, 4, 3, 1), "a/2.png": greyPNG(t, 4, 3, 2), "b/1.png": greyPNG(t, 4, 3, 3), "b/x.png": {'x'},
	})
	o, err := Source{Kind: KindFolder, Folder: dir, Classes: []string{"a", "b"}, LeaveOut: true}.Open(Train)
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"image,unit\nb/1.png,x\na/\u00fc.png,x\na/2.png,y\nb/x.png,y\n": "",
		"image,unit\nb/1.png,x\na/u\u0308.png,x\na/2.png,y\n":           "",
		"image,unit\nb/1.png,x\na/2.png,y\n":                            "f.csv: " + unitsMissing,
		"image,unit\n0,x\n":                                             "f.csv:2: " + unitsPath,
		"image,unit\nb/1.png,x\nb/1.png,x\n":                            "f.csv:3: " + unitsTwice,
		"image,unit\nb/1.png,\n":                                        "f.csv:2: " + unitsNoName,
		"image,unit\nb/x.png,\n":                                        "f.csv:2: " + unitsNoName,
	} {
		u, err := readUnits("f.csv", strings.NewReader(content), o.Len(), byName(o))
		switch {
		case want == "" && err == nil:
			if diff := cmp.Diff([][]uint32{{0}, {1, 2}}, lists(u)); diff != "" {
				t.Errorf("%q: %s", content, diff)
			}
		case err == nil || err.Error() != want:
			t.Errorf("%q: got %v, want %s", content, err, want)
		}
	}
}
