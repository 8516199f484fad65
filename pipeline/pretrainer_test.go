package pipeline

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/model/draws"
)

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// stopAfter ends a training's context after some steps.
type stopAfter struct {
	quiet
	steps  int
	cancel func()
}

func (s stopAfter) Progress(p Progress) {
	if p.Done == s.steps {
		s.cancel()
	}
}

// A pre-training that was stopped and goes on, with another number of threads,
// gives the bits of one that ran through.
func TestPretrainingResumesBitForBit(t *testing.T) {
	for _, prototypes := range []bool{false, true} {
		whole := tinyPretrainer(t, prototypes, 1)
		start := slices.Clone(whole.weights)
		if err := whole.train(context.Background(), 0, t.TempDir(), quiet{}); err != nil {
			t.Fatal(err)
		}
		if sameBits(start, whole.weights) {
			t.Fatal("training changes nothing")
		}
		folder := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		first := tinyPretrainer(t, prototypes, 2)
		if err := first.train(ctx, 0, folder, stopAfter{steps: 3, cancel: cancel}); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v, want %v", err, context.Canceled)
		}
		second := tinyPretrainer(t, prototypes, 3)
		begin, err := second.load(filepath.Join(folder, pretrainState))
		if err != nil || begin != 3 {
			t.Fatalf("the checkpoint says step %d (error %v), want 3", begin, err)
		}
		if err := second.train(context.Background(), begin, folder, quiet{}); err != nil {
			t.Fatal(err)
		}
		if !sameBits(second.weights, whole.weights) || !sameBits(second.average.Average(), whole.average.Average()) {
			t.Errorf("prototypes %v: the resumed training gives other bits", prototypes)
		}
	}
}

// The integers are the gradient to within half a unit for each group, and from
// the second step on the unit is far below the largest coordinate. With the
// unit doubled in AccumulateIntegers alone it was seen to fail.
func TestTheGridIsTheGradient(t *testing.T) {
	p, ctx := mustPretrainer(t, "batch: 8", "batch: 40", "images: 48", "images: 240"), context.Background()
	for i := range 4 {
		if err := p.differentiate(ctx, i); err != nil {
			t.Fatal(err)
		}
		plain, unit := make([]float32, len(p.weights)), math.Ldexp(1, p.exponent)
		load, idle := p.loader(i)
		if err := p.runner.Gradient(ctx, plain, p.batch, load, idle, nil); err != nil {
			t.Fatal(err)
		}
		var largest float64
		for k, g := range plain {
			largest = max(largest, math.Abs(float64(g)))
			if d := math.Abs(float64(p.sum[k])*unit - float64(g)); d > unit*float64(p.groups())/2+1e-5*math.Abs(float64(g))+1e-8 {
				t.Fatalf("step %d: coordinate %d is %v on the grid and %v without, %v units of %v apart", i, k, float64(p.sum[k])*unit, g, d/unit, unit)
			}
		}
		if bits := math.Log2(largest / unit); i > 0 && (bits < 20 || bits > 30) {
			t.Errorf("step %d: the largest coordinate has %.1f bits", i, bits)
		}
		if err := p.descend(i); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPretrainingRefusesCheckpoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), pretrainState)
	p := tinyPretrainer(t, false, 1)
	if begin, err := p.load(path); begin != 0 || err != nil {
		t.Errorf("without a checkpoint it begins at %d (error %v)", begin, err)
	}
	if err := p.save(path, 2); err != nil {
		t.Fatal(err)
	}
	another := tinyPretrainer(t, false, 1)
	another.hash = "another"
	if _, err := another.load(path); err == nil || !strings.Contains(err.Error(), "another config") {
		t.Errorf("a checkpoint of another config: error %v", err)
	}
	other := tinyPretrainer(t, true, 1)
	other.hash = p.hash
	if _, err := other.load(path); err == nil {
		t.Error("the checkpoint of another network is accepted")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sections, err := checkpoint.Decode(content)
	if err != nil {
		t.Fatal(err)
	}
	earlier, err := checkpoint.Encode(slices.DeleteFunc(sections, func(s checkpoint.Section) bool { return s.Name == "exponent" }))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, earlier, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.load(path); err == nil || !strings.Contains(err.Error(), "of an earlier version") {
		t.Errorf("a checkpoint of an earlier version: error %v", err)
	}
	if err := os.WriteFile(path, content[:len(content)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.load(path); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged checkpoint: error %v", err)
	}
}

// A training prototype is the mean of other drawings: with one drawing a class
// there is nothing but noise around zero.
func TestPublicPrototypesLeaveTheExampleOut(t *testing.T) {
	f := newPublicPrototypes(tinyImages(t, 3, 4), 8)
	d, dst := draws.New(draws.SeedKey(1, "prototypes")), make([]float32, 64)
	for n := range uint64(20) {
		f.draw(dst, d.Stream(n, 0, draws.Prototype), 1, 1)
		for _, v := range dst {
			if v < -1 || v > -1+2*6*mostPrototypeNoise {
				t.Fatalf("a prototype of no other drawing holds %v", v)
			}
		}
	}
}
