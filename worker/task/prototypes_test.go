package task

import (
	"bytes"
	"context"
	"math"
	"slices"
	"testing"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/clip"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/model/prototype"
)

func newPrototypes(t *testing.T, d dataset.Dataset) *Prototypes {
	t.Helper()
	centers := testCenters()
	m, err := plan.New(plan.Spec{
		Phase: "prototypes", SampleRate: 1, Nominal: testExamples, NoiseMultiplier: 10,
		ClipNorm: centers.Spec.Norm(), Dim: centers.Spec.Dim(), Steps: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &Prototypes{Mechanism: m, Data: d, Units: dataset.EachImage(d.Len()), Centers: prototype.New(centers.Spec)}
	state, err := centers.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetParameters(state); err != nil {
		t.Fatal(err)
	}
	return p
}

// uniformImages are n images of one grey value.
func uniformImages(t *testing.T, n int, value uint8) dataset.Dataset {
	t.Helper()
	d, err := dataset.NewMemory(1, 8, 8, []string{"a", "b", "c"}, bytes.Repeat([]byte{value}, 64*n), make([]uint16, n))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestPrototypesAreTheNaiveSum clips whole vectors where the task clips blocks.
func TestPrototypesAreTheNaiveSum(t *testing.T) {
	p := newPrototypes(t, noisyImages(testExamples))
	dim := p.Mechanism.Dim
	want := make([]int32, dim+1)
	for _, id := range allIDs() {
		image, label := p.Data.Image(int(id)), p.Data.Label(int(id))
		pooled, full := prototype.Pool(image, 1, 8, 8, 8), make([]float32, dim)
		at := (label*2 + p.Centers.Nearest(pooled, label)) * 65
		copy(full[at:], pooled)
		full[at+64] = float32(p.Centers.Spec.CountWeight())
		scale := math.Min(1, p.Mechanism.ClipNorm/math.Sqrt(clip.SquaredNorm(full)))
		for i, x := range full {
			// In grid units; the task's slack for rounding moves a value by a few.
			want[i] += int32(math.RoundToEven(float64(x) * scale * float64(p.Mechanism.Delta) / p.Mechanism.ClipNorm))
		}
		want[dim]++
	}
	got := make([]int32, dim+1)
	if err := p.Accumulate(context.Background(), 0, [32]byte{}, allIDs(), got); err != nil {
		t.Fatal(err)
	}
	if got[dim] != want[dim] {
		t.Errorf("%d contributions counted, want %d", got[dim], want[dim])
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); d > 1e-5*float64(p.Mechanism.Delta) {
			t.Fatalf("coordinate %d is %d, want %d", i, got[i], want[i])
		}
	}
	split := make([]int32, dim+1)
	for _, part := range [][]uint32{allIDs()[15:], allIDs()[:15]} {
		if err := p.Accumulate(context.Background(), 0, [32]byte{9}, part, split); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(split, got) {
		t.Error("the sum of two shares in another order is another sum")
	}
}

func TestPrototypesAreClipped(t *testing.T) {
	for _, value := range []uint8{255, 128, 40, 0} {
		p := newPrototypes(t, uniformImages(t, 1, value))
		sum := make([]int32, p.Mechanism.Dim+1)
		if err := p.Accumulate(context.Background(), 0, [32]byte{}, []uint32{0}, sum); err != nil {
			t.Fatal(err)
		}
		contribution := sum[:p.Mechanism.Dim]
		if !clip.Within(contribution, p.Mechanism.DeltaSq()) {
			t.Errorf("an image of grey value %d contributes more than Delta", value)
		}
		norm := 0.0
		for _, v := range contribution {
			norm += float64(v) * float64(v)
		}
		if full := math.Sqrt(norm) / float64(p.Mechanism.Delta); value == 255 && full < 0.999 {
			t.Errorf("a white image is clipped to %.4f of Delta", full)
		}
	}
}

func TestPrototypesRefuse(t *testing.T) {
	p := newPrototypes(t, uniformImages(t, 3, 10))
	dim := p.Mechanism.Dim
	if err := p.Accumulate(context.Background(), 0, [32]byte{}, []uint32{3}, make([]int32, dim+1)); err == nil {
		t.Error("an example beyond the data is accepted")
	}
	if err := p.Accumulate(context.Background(), 0, [32]byte{}, nil, make([]int32, dim)); err == nil {
		t.Error("a sum without its count coordinate is accepted")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Accumulate(ctx, 0, [32]byte{}, []uint32{0}, make([]int32, dim+1)); err == nil {
		t.Error("a cancelled step is computed")
	}
	if err := p.SetParameters([]byte("x")); err == nil {
		t.Error("damaged centres are accepted")
	}
}
