package images

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"codeberg.org/sbinet/npyio"
	"github.com/google/go-cmp/cmp"
)

func scrambled(c, h, w int) Image {
	m := Image{C: c, H: h, W: w, Pix: make([]uint8, c*h*w)}
	for i := range m.Pix {
		m.Pix[i] = uint8(i*i*37 + 11*i)
	}
	return m
}

// set is a small Set.
type set struct {
	images  []Image
	labels  []int
	classes []string
}

func (s set) Len() int             { return len(s.images) }
func (s set) Shape() (c, h, w int) { m := s.images[0]; return m.C, m.H, m.W }
func (s set) Classes() []string    { return s.classes }
func (s set) Image(i int) []uint8  { return s.images[i].Pix }
func (s set) Label(i int) int      { return s.labels[i] }

func TestPNGRoundTrip(t *testing.T) {
	for _, want := range []Image{scrambled(1, 5, 3), scrambled(3, 4, 6)} {
		path := filepath.Join(t.TempDir(), "x.png")
		if err := WritePNG(path, want); err != nil {
			t.Fatal(err)
		}
		got, err := ReadPNG(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func encoded(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withSize is a valid PNG whose header claims another size.
func withSize(content []byte, w, h uint32) []byte {
	b := bytes.Clone(content)
	binary.BigEndian.PutUint32(b[16:], w)
	binary.BigEndian.PutUint32(b[20:], h)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

func TestReadPNGRefuses(t *testing.T) {
	good := encoded(t, scrambled(1, 9, 9).standard())
	deep := image.NewGray16(image.Rect(0, 0, 2, 2))
	clear := image.NewNRGBA(image.Rect(0, 0, 2, 2))
	corrupt := bytes.Clone(good)
	corrupt[len(corrupt)-20] ^= 1
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty", nil, "it is truncated"},
		{"other", []byte("GIF89a, and more than eight bytes"), "png: invalid format: not a PNG file"},
		{"truncated", good[:len(good)-15], "it is truncated"},
		{"longer", append(bytes.Clone(good), 0), "it goes on after its end"},
		{"corrupt", corrupt, "png: invalid format: zlib: invalid checksum"},
		{"huge", withSize(good, 1<<20, 1<<20), "it has 1048576 x 1048576 pixels, more than 67108864"},
		{"16 bits", encoded(t, deep), "it has 16 bits a channel; 8 are read"},
		{"transparent", encoded(t, clear), "it has transparent pixels; opaque images are read"},
	} {
		path := filepath.Join(t.TempDir(), "x.png")
		if err := os.WriteFile(path, c.content, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := ReadPNG(path)
		if want := path + " is not a readable PNG file: " + c.want; err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, want)
		}
	}
}

func FuzzDecodePNG(f *testing.F) {
	var b bytes.Buffer
	png.Encode(&b, scrambled(3, 3, 2).standard())
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 32 && (content[18]|content[19]|content[22]|content[23])&0xf0 != 0 {
			t.Skip("large pictures only cost time")
		}
		if m, err := decodePNG(bytes.NewReader(content)); err == nil {
			m.check()
		}
	})
}

// TestGridPlacesEveryImage finds each image enlarged in the picture.
func TestGridPlacesEveryImage(t *testing.T) {
	g := Grid{
		Title: "before and after", RowLabels: []string{"ring", "star"}, Scale: 3,
		Panels: []Panel{
			{Title: "base", Rows: [][]Image{{scrambled(1, 4, 5), scrambled(3, 4, 5)}, {scrambled(3, 4, 5)}}},
			{Title: "fine-tuned, a title wider than the panel", Rows: [][]Image{{scrambled(1, 4, 5)}, {scrambled(1, 4, 5)}}},
		},
	}
	path := filepath.Join(t.TempDir(), "grid.png")
	if err := g.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPNG(path); err != nil {
		t.Fatal(err)
	}
	out := g.render()
	count := map[int]int{}
	for y := range out.Bounds().Dy() {
		for x := range out.Bounds().Dx() {
			for _, c := range []int{1, 3} {
				if shows(out, x, y, scrambled(c, 4, 5), g.Scale) {
					count[c]++
				}
			}
		}
	}
	if diff := cmp.Diff(map[int]int{1: 3, 3: 2}, count); diff != "" {
		t.Error(diff)
	}
	dark := 0 // text is darker than paper and frames; at the border there is none
	for x := range out.Bounds().Dx() {
		if out.RGBAAt(x, 0) != paper || out.RGBAAt(x, out.Bounds().Dy()-1) != paper {
			t.Fatalf("something reaches the border at column %d", x)
		}
		for y := range margin + 2*lineHeight - 1 {
			if out.RGBAAt(x, y) == ink {
				dark++
			}
		}
	}
	if dark < 200 {
		t.Errorf("%d dark pixels in the titles", dark)
	}
}

func shows(out *image.RGBA, x0, y0 int, m Image, scale int) bool {
	for y := range m.H * scale {
		for x := range m.W * scale {
			if out.RGBAAt(x0+x, y0+y) != m.at(x/scale, y/scale) {
				return false
			}
		}
	}
	return true
}

func TestAGridOfNothing(t *testing.T) {
	if b := (Grid{Title: "t", Scale: 2}).render().Bounds(); b.Empty() {
		t.Error("no picture")
	}
}

// TestNPZ reads the archive back with another implementation of the format.
func TestNPZ(t *testing.T) {
	s := set{[]Image{scrambled(3, 2, 4), scrambled(3, 2, 4)}, []int{1, 0}, []string{"a", "b"}}
	s.images[1].Pix[0]++
	path := filepath.Join(t.TempDir(), "x.npz")
	if err := WriteNPZ(path, s); err != nil {
		t.Fatal(err)
	}
	pixels, labels := make([]uint8, 0), make([]int64, 0)
	shapes := map[string][]int{}
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		n, err := npyio.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		shapes[f.Name] = n.Header.Descr.Shape
		if f.Name == "arr_0.npy" {
			err = n.Read(&pixels)
		} else {
			err = n.Read(&labels)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string][]int{"arr_0.npy": {2, 2, 4, 3}, "arr_1.npy": {2}}, shapes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int64{1, 0}, labels); diff != "" {
		t.Error(diff)
	}
	for i, m := range s.images {
		for y := range m.H {
			for x := range m.W {
				at := ((i*m.H+y)*m.W + x) * 3
				want := m.at(x, y)
				if got := (color.RGBA{pixels[at], pixels[at+1], pixels[at+2], 255}); got != want {
					t.Fatalf("image %d at %d, %d: %v, want %v", i, x, y, got, want)
				}
			}
		}
	}
}

func TestNPZHeaderIsAligned(t *testing.T) {
	for n := 1; n < 1e9; n *= 7 {
		h := npyHeader("|u1", n, 28, 28, 1)
		if len(h)%64 != 0 || h[len(h)-1] != '\n' || int(h[8])+int(h[9])<<8 != len(h)-10 {
			t.Errorf("the header of %d images has %d bytes: %q", n, len(h), h)
		}
	}
}

func TestWriteFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "images")
	s := set{[]Image{scrambled(1, 3, 3), scrambled(1, 3, 3), scrambled(1, 3, 3)}, []int{1, 0, 1}, []string{"../up", "b c"}}
	s.images[1].Pix[4]++
	if err := WriteFolder(path, s); err != nil {
		t.Fatal(err)
	}
	if err := WriteFolder(path, set{s.images[:2], s.labels, s.classes}); err != nil { // replaces the first
		t.Fatal(err)
	}
	var files []string
	filepath.WalkDir(filepath.Dir(path), func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(filepath.Dir(path), p)
			files = append(files, rel)
		}
		return err
	})
	if diff := cmp.Diff([]string{"images/b c/000000.png", "images/class-0/000001.png"}, files); diff != "" {
		t.Error(diff)
	}
	got, err := ReadPNG(filepath.Join(path, "class-0", "000001.png"))
	if err != nil || !bytes.Equal(got.Pix, s.images[1].Pix) {
		t.Errorf("%v %v", got, err)
	}
}

func TestSafeNames(t *testing.T) {
	in := []string{"cat", "Cat", "cat", "a/b", "a b", ".hidden", "", "\u00d6l", strings.Repeat("x", 101), "cat-2",
		"..", "CON", "nul.png", "COM1", "O\u0308L", "\u72ac", "\u0915\u094d\u200d\u0937", "end. ", "a\\b:c*d", "\u202egnp", " x", "COMET"}
	want := []string{"cat", "Cat-1", "cat-2", "a_b", "a b", "class-5", "class-6", "\u00d6l", "class-8", "cat-2-9",
		"class-10", "class-11", "class-12", "class-13", "\u00d6L-14", "\u72ac", "\u0915\u094d\u200d\u0937", "end", "a_b_c_d", "_gnp", "class-20", "COMET"}
	if diff := cmp.Diff(want, SafeNames(in)); diff != "" {
		t.Error(diff)
	}
}

// TestLegibleLabels: the font has ASCII alone.
func TestLegibleLabels(t *testing.T) {
	got := legible([]string{"cat", "\u00e9clair", "e\u0301clair", "\u72ac", "\u00d6l \u72ac", "", "a\nb"})
	if diff := cmp.Diff([]string{"cat", "eclair", "eclair", "class 3", "class 4", "", "class 6"}, got); diff != "" {
		t.Error(diff)
	}
}
