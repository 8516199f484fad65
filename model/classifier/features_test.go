package classifier

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/internal/device/cpu"
	"github.com/dploda/dploda/internal/safetensors"
)

// savedFeatures are those of a classifier of bars, with its file.
func savedFeatures(t testing.TB) (*Classifier, []byte) {
	t.Helper()
	c := quick(2)
	c.Epochs = 2
	trained, err := Train(context.Background(), cpu.New(), makeBars(120, 1, 9, 1), c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "features.safetensors")
	if err := trained.SaveFeatures(path, "bars"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return trained, content
}

// TestFeaturesAreTheClassifiersOwn: what its last layer makes of an image's planes
// are the classifier's scores, and their means are the features. At 9x9 one pixel is
// left, so the features are the planes, and a linear map of them the scores.
//
// Tried: another scale of the images' pixels.
func TestFeaturesAreTheClassifiersOwn(t *testing.T) {
	trained, content := savedFeatures(t)
	f, err := ParseFeatures(content)
	if err != nil {
		t.Fatal(err)
	}
	if f.PublicData != "bars" || f.Dimensions() != 128 {
		t.Errorf("%d features of %q", f.Dimensions(), f.PublicData)
	}
	params := trained.net.gradient.Params()
	linear, bias := params[len(params)-2], params[len(params)-1]
	twice := &bars{c: 1, side: 9}
	for i := range 4 {
		image := makeBars(4, 1, 9, 5).Image(i)
		twice.pixels, twice.labels = [][]uint8{image, image}, []int{0, 0}
		g, err := f.Gaussian(context.Background(), cpu.New(), 1, twice)
		if err != nil {
			t.Fatal(err)
		}
		s, err := trained.exe.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		scores := make([]float32, barClasses)
		if err := errors.Join(s.SetInput(imageInput, 0, levels(twice, 0)), s.Run(), s.Output(logits, 0, scores)); err != nil {
			t.Fatal(err)
		}
		for k, got := range scores {
			want := float64(trained.weights[bias.Offset+k])
			for j, v := range g.mean {
				want += v * float64(trained.weights[linear.Offset+k*len(g.mean)+j])
			}
			if math.Abs(float64(got)-want) > 5e-3*(1+math.Abs(want)) { // half precision
				t.Errorf("image %d, class %d: score %v, of the features %v", i, k, got, want)
			}
		}
	}
}

// TestDistanceTellsBarsFromNoise: images of the same kind are nearer than others.
func TestDistanceTellsBarsFromNoise(t *testing.T) {
	_, content := savedFeatures(t)
	f, err := ParseFeatures(content)
	if err != nil {
		t.Fatal(err)
	}
	fit := func(images Images, threads int) *Gaussian {
		g, err := f.Gaussian(context.Background(), cpu.New(), threads, images)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	real, same, other := makeBars(300, 1, 9, 3), makeBars(300, 1, 9, 4), makeBars(300, 1, 9, 4)
	for _, image := range other.pixels {
		for j := range image {
			image[j] = 255 - image[j]
		}
	}
	near, far := frechet(t, fit(real, 1), fit(same, 2)), frechet(t, fit(real, 1), fit(other, 1))
	if !(near < far/5) {
		t.Errorf("bars are at %v from bars and at %v from their negatives", near, far)
	}
	if frechet(t, fit(real, 1), fit(same, 1)) != near {
		t.Error("threads change the distance")
	}
}

func TestBadFeaturesAreRefused(t *testing.T) {
	trained, content := savedFeatures(t)
	tensors, metadata, err := safetensors.Decode(content)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(change func(map[string]string), tensors []safetensors.Tensor) []byte {
		m := map[string]string{}
		for k, v := range metadata {
			m[k] = v
		}
		change(m)
		b, err := safetensors.Encode(tensors, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	same := func(map[string]string) {}
	for want, content := range map[string][]byte{
		"not a file of dploda features": encode(func(m map[string]string) { delete(m, keyFeatures) }, tensors),
		"features format \"2\"":         encode(func(m map[string]string) { m[keyFeatures] = "2" }, tensors),
		"not three numbers":             encode(func(m map[string]string) { m[keyImage] = "big" }, tensors),
		"sides of 8 to 64 pixels":       encode(func(m map[string]string) { m[keyImage] = "1 900000 900000" }, tensors),
		"no tensor \"conv1.weight\" of": encode(func(m map[string]string) { m[keyImage] = "3 9 9" }, tensors),
		"no tensor \"conv3.weight\" of": encode(same, tensors[:4]),
		"header":                        content[:100],
	} {
		if _, err := ParseFeatures(content); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f, err := ParseFeatures(content)
	if err != nil {
		t.Fatal(err)
	}
	for _, images := range []*bars{makeBars(9, 1, 8, 1), makeBars(1, 1, 9, 1)} {
		if _, err := f.Gaussian(context.Background(), cpu.New(), 1, images); err == nil {
			t.Errorf("%d images of side %d were accepted", images.Len(), images.side)
		}
	}
	trained.net.network = WRN
	if err := trained.SaveFeatures(filepath.Join(t.TempDir(), "x"), ""); err == nil {
		t.Error("the features of another network were saved")
	}
}

// FuzzParseFeatures: no content makes the parser panic.
func FuzzParseFeatures(f *testing.F) {
	_, content := savedFeatures(f)
	f.Add(content)
	f.Add(content[:1000])
	f.Add(bytes.Replace(content, []byte("1 9 9"), []byte("3 8 9"), 1))
	f.Fuzz(func(t *testing.T, content []byte) {
		if got, err := ParseFeatures(content); err == nil && got.Fits(got.Shape) != nil {
			t.Error("features do not fit their own images")
		}
	})
}
