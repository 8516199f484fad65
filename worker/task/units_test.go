package task

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dp/clip"
	"github.com/dploda/dploda/model/draws"
	"github.com/dploda/dploda/model/prototype"
)

// wholeOrder is turn's stupid twin: Fisher and Yates's shuffle of all m entries.
func wholeOrder(d *draws.Draws, id uint32, m int) []int {
	s, order := d.Stream(uint64(id), 0, draws.Unit), make([]int, m)
	for i := range order {
		order[i] = i
	}
	for i := range order {
		j := i + s.Intn(m-i)
		order[i], order[j] = order[j], order[i]
	}
	return order
}

func TestTurnIsTheShuffle(t *testing.T) {
	d := draws.New(draws.Key(planKey))
	for _, m := range []int{1, 2, 3, 7, 16, 300} {
		for id := range uint32(20) {
			order := wholeOrder(d, id, m)
			for k := range min(3*m, 256) {
				if got := turn(d, id, k, m); got != order[k%m] {
					t.Fatalf("copy %d of %d images takes image %d, want %d", k, m, got, order[k%m])
				}
			}
		}
	}
}

// TestTurnIsUniform counts the 24 orders of four images over 24,000 units, with
// χ² of 23 degrees of freedom: a false alarm once in a million. It refuses the
// images' own order, one order for all units, and the shuffle that exchanges
// each entry with any.
func TestTurnIsUniform(t *testing.T) {
	const m, units = 4, 24_000
	limit := distuv.ChiSquared{K: 23}.Quantile(1 - 1e-6)
	d := draws.New(draws.Key(planKey))
	chi := func(order func(id uint32, k int) int) float64 {
		count := map[[m]int]float64{}
		for id := range uint32(units) {
			var o [m]int
			for k := range o {
				o[k] = order(id, k)
			}
			count[o]++
		}
		const expected = units / 24.0
		sum := float64(24-len(count)) * expected
		for _, c := range count {
			sum += (c - expected) * (c - expected) / expected
		}
		return sum
	}
	if got := chi(func(id uint32, k int) int { return turn(d, id, k, m) }); got > limit {
		t.Errorf("χ² is %.1f, above %.1f", got, limit)
	}
	for name, wrong := range map[string]func(id uint32, k int) int{
		"in order":        func(_ uint32, k int) int { return k },
		"one for all":     func(_ uint32, k int) int { return turn(d, 0, k, m) },
		"a naive shuffle": func(id uint32, k int) int { return naiveShuffle(d, id, m)[k] },
	} {
		if got := chi(wrong); got < limit {
			t.Errorf("%s passes with χ² %.1f", name, got)
		}
	}
}

func naiveShuffle(d *draws.Draws, id uint32, m int) []int {
	s, order := d.Stream(uint64(id), 0, draws.Unit), []int{0, 1, 2, 3}
	for i := range order {
		j := s.Intn(m)
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// TestTurnIsDrawnAnewForEveryPlan: the first images of 1,000 units of 50 agree
// between two Plans as often as chance has it, Bin(1000, 1/50); above 50 with
// probability 1e-9. A key that is ignored gives 1,000.
func TestTurnIsDrawnAnewForEveryPlan(t *testing.T) {
	one, two := draws.New(draws.Key(planKey)), draws.New(draws.SeedKey(6, "a plan"))
	same := 0
	for id := range uint32(1000) {
		if turn(one, id, 0, 50) == turn(two, id, 0, 50) {
			same++
		}
	}
	if same > 50 {
		t.Errorf("%d of 1,000 units begin with the same image in two Plans", same)
	}
}

// testGroups make 24 images units of 1 to 7.
var testGroups = dataset.Grouped([]uint32{0, 1, 1, 2, 3, 3, 3, 4, 1, 5, 6, 6, 6, 6, 7, 0, 2, 3, 3, 3, 3, 8, 6, 5})

func groupIDs() []uint32 { return allIDs()[:testGroups.Len()] }

// TestSumOfUnitsIsThatOfSingleUnits holds a step on units to the definition: of
// each unit alone, the copies on the images whose turn it is, through the device
// one at a time; clip.Contribution; the sum. Units have fewer, as many and more
// images than copies. Tried: the first image for all copies; the images in their
// own order; one order for all units.
func TestSumOfUnitsIsThatOfSingleUnits(t *testing.T) {
	const copies = 4
	g, n := newGradient(t, 2, 7)
	g.Units, g.Copies = testGroups, copies
	stream, err := n.exe.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	d, e, centers := draws.New(draws.Key(planKey)), n.preparation.NewExample(), testCenters()
	channel, gradient := make([]float32, 64), make([]float32, n.mechanism.GradientDim())
	var loss [1]float32
	want := make([]int32, n.mechanism.Dim+1)
	for _, id := range groupIDs() {
		images := testGroups.Images(int(id))
		order := wholeOrder(d, id, len(images))
		stream.ZeroGradient()
		losses := 0.0
		for k := range copies {
			i := int(images[order[k%len(images)]])
			image, label := n.data.Image(i), n.data.Label(i)
			prototype.Channel(channel, centers.Center(label, centers.Nearest(prototype.Pool(image, 1, 8, 8, 8), label)))
			if err := n.preparation.Prepare(e, d, uint64(id), k, image, label, channel); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(LoadExample(stream, 0, e, n.times), stream.SetInput(WeightInput, 0, []float32{1}), stream.Run(), stream.Output(LossOutput, 0, loss[:])); err != nil {
				t.Fatal(err)
			}
			losses += float64(loss[0])
		}
		if err := stream.Gradient(0, gradient); err != nil {
			t.Fatal(err)
		}
		v, ok := clip.Contribution(gradient, copies, losses/copies, n.mechanism)
		if !ok {
			t.Fatal("a contribution of the reference failed its own check")
		}
		add(want, v)
		want[n.mechanism.Dim]++
	}
	got := make([]int32, n.mechanism.Dim+1)
	accumulate(t, g, groupIDs(), got)
	if !slices.Equal(got, want) {
		t.Error("the task's sum is not the sum of the units' own contributions")
	}
	// The same integers in any lane, micro-batch, thread and share.
	other, _ := newGradient(t, 3, 3)
	other.Units, other.Copies = testGroups, copies
	backwards, split := groupIDs(), make([]int32, n.mechanism.Dim+1)
	slices.Reverse(backwards)
	accumulate(t, other, backwards[:2], split)
	accumulate(t, other, backwards[2:], split)
	if !slices.Equal(split, want) {
		t.Error("another division gives another sum")
	}
}

func add(sum, v []int32) {
	for i, x := range v {
		sum[i] += x
	}
}

// TestAUnitsGradientIsTheMeanOfItsImages: a unit of four images and four copies
// takes each image once, so its contribution is the clipped mean of the four
// images' own gradients, each with its copy's draws. One image alone, four
// times, is far from it.
func TestAUnitsGradientIsTheMeanOfItsImages(t *testing.T) {
	const copies, id = 4, 0
	unit := []uint32{0, 13, 17, 23} // of different labels
	labels := make([]uint32, testExamples)
	for i := range labels {
		if labels[i] = 1; slices.Contains(unit, uint32(i)) {
			labels[i] = 0
		}
	}
	g, n := newGradient(t, 1, 16)
	g.Copies = copies
	d, e, centers := draws.New(draws.Key(planKey)), n.preparation.NewExample(), testCenters()
	mean := func(imageOf func(k int) uint32) []int32 {
		channel, one, sum := make([]float32, 64), make([]float32, n.mechanism.GradientDim()), make([]float32, n.mechanism.GradientDim())
		var loss [1]float32
		losses := 0.0
		for k := range copies {
			stream, err := n.exe.NewStream()
			if err != nil {
				t.Fatal(err)
			}
			i := int(imageOf(k))
			image, label := n.data.Image(i), n.data.Label(i)
			prototype.Channel(channel, centers.Center(label, centers.Nearest(prototype.Pool(image, 1, 8, 8, 8), label)))
			if err := n.preparation.Prepare(e, d, id, k, image, label, channel); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(LoadExample(stream, 0, e, n.times), stream.SetInput(WeightInput, 0, []float32{1}), stream.Run(), stream.Gradient(0, one), stream.Output(LossOutput, 0, loss[:])); err != nil {
				t.Fatal(err)
			}
			losses += float64(loss[0])
			for j, x := range one {
				sum[j] += x
			}
		}
		v, _ := clip.Contribution(sum, copies, losses/copies, n.mechanism)
		return v
	}
	order := wholeOrder(d, id, len(unit))
	want := mean(func(k int) uint32 { return unit[order[k]] })
	g.Units = dataset.Grouped(labels)
	got := make([]int32, n.mechanism.Dim+1)
	accumulate(t, g, []uint32{id}, got)
	// Sums of float32 in two orders differ by a few roundings.
	if d := distance(got[:n.mechanism.Dim], want); d > 1e-4*float64(n.mechanism.Delta) {
		t.Errorf("the unit's contribution is %.3g Δ from the mean of its images", d/float64(n.mechanism.Delta))
	}
	if d := distance(mean(func(int) uint32 { return unit[0] }), want); d < 0.1*float64(n.mechanism.Delta) {
		t.Errorf("one image alone is only %.3g Δ away: the test sees nothing", d/float64(n.mechanism.Delta))
	}
}

func distance(a, b []int32) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}

// TestAUnitsImagesChangeNothingElse: with another image in unit 3, the sum over
// all other units has the same bits, and the whole sum moves by no more than
// that unit's two contributions.
func TestAUnitsImagesChangeNothingElse(t *testing.T) {
	g, n := newGradient(t, 2, 7)
	changed, _ := newGradient(t, 2, 7)
	for _, task := range []*Gradient{g, changed} {
		task.Units, task.Copies = testGroups, 8 // every image of unit 3 serves
	}
	changed.Data = &replaced{n.data, testGroups.Images(3)[2]}
	others := slices.Delete(groupIDs(), 3, 4)
	dim := n.mechanism.Dim
	var sums, rests [2][]int32
	for i, task := range []*Gradient{g, changed} {
		sums[i], rests[i] = make([]int32, dim+1), make([]int32, dim+1)
		accumulate(t, task, groupIDs(), sums[i])
		accumulate(t, task, others, rests[i])
	}
	if !slices.Equal(rests[0], rests[1]) {
		t.Error("an image of one unit changes the others' sum")
	}
	if d := distance(sums[0], sums[1]); d == 0 || d > 2*float64(n.mechanism.Delta) {
		t.Errorf("the sum moves by %.3g Δ", d/float64(n.mechanism.Delta))
	}
}

// replaced has another image at one index.
type replaced struct {
	dataset.Dataset
	at uint32
}

func (r *replaced) Image(i int) []uint8 {
	if i == int(r.at) {
		return slices.Repeat([]uint8{0, 255}, 32)
	}
	return r.Dataset.Image(i)
}

// The worlds of the two-world tests: 10 people of one image each, with or
// without a patient of 50 images, all alike.
const (
	otherPeople   = 10
	patientImages = 50
)

func twoWorlds(t *testing.T) (with, without dataset.Dataset, patients *dataset.Units) {
	t.Helper()
	some, labels := noisyImages(testExamples), make([]uint32, otherPeople+patientImages)
	var pixels []uint8
	classes := make([]uint16, len(labels))
	for i := range labels {
		labels[i] = uint32(min(i, otherPeople))
		pixels = append(pixels, some.Image(testExamples-1-min(i, otherPeople))...)
		classes[i] = uint16(min(i, otherPeople) % testClasses)
	}
	with, err := dataset.NewMemory(1, 8, 8, []string{"a", "b", "c"}, pixels, classes)
	if err != nil {
		t.Fatal(err)
	}
	without, err = dataset.NewMemory(1, 8, 8, []string{"a", "b", "c"}, pixels[:64*otherPeople], classes[:otherPeople])
	if err != nil {
		t.Fatal(err)
	}
	return with, without, dataset.Grouped(labels)
}

// task is either task of a worker.
type task interface {
	Accumulate(ctx context.Context, step uint64, key [32]byte, ids []uint32, sum []int32) error
}

// sumOf is the sum over all examples of a world.
func sumOf(t *testing.T, w task, dim, examples int) []int32 {
	t.Helper()
	ids, sum := make([]uint32, examples), make([]int32, dim+1)
	for i := range ids {
		ids[i] = uint32(i)
	}
	if err := w.Accumulate(context.Background(), 0, planKey, ids, sum); err != nil {
		t.Fatal(err)
	}
	if sum[dim] != int32(examples) {
		t.Errorf("%d examples are counted as %d", examples, sum[dim])
	}
	return sum[:dim]
}

// TestAPatientMovesTheSumByDeltaAtMost: with a unit file, taking away a patient
// of 50 images moves the exact sum by at most Δ; where each image is a unit, the
// same patient moves it by several times that. So a task that ignored the unit
// file, or summed images clipped one by one, would fail here.
func TestAPatientMovesTheSumByDeltaAtMost(t *testing.T) {
	with, without, patients := twoWorlds(t)
	gradient, n := newGradient(t, 2, 16)
	means := newPrototypes(t, with)
	for name, w := range map[string]struct {
		task  task
		dim   int
		delta int64
		set   func(dataset.Dataset, *dataset.Units)
	}{
		"gradients": {gradient, n.mechanism.Dim, n.mechanism.Delta,
			func(d dataset.Dataset, u *dataset.Units) { gradient.Data, gradient.Units = d, u }},
		"prototypes": {means, means.Mechanism.Dim, means.Mechanism.Delta,
			func(d dataset.Dataset, u *dataset.Units) { means.Data, means.Units = d, u }},
	} {
		t.Run(name, func(t *testing.T) {
			delta := float64(w.delta)
			w.set(without, dataset.EachImage(otherPeople))
			rest := sumOf(t, w.task, w.dim, otherPeople)
			w.set(with, patients)
			if d := distance(sumOf(t, w.task, w.dim, otherPeople+1), rest); d > delta || d < delta/10 {
				t.Errorf("as one unit the patient moves the sum by %.3f Δ", d/delta)
			}
			w.set(with, dataset.EachImage(otherPeople+patientImages))
			if d := distance(sumOf(t, w.task, w.dim, otherPeople+patientImages), rest); d < 3*delta {
				t.Errorf("as 50 units the patient moves the sum by %.3f Δ only: the test sees nothing", d/delta)
			}
		})
	}
}

// TestPrototypesOfUnitsAreTheNaiveMeans clips the mean of whole vectors, in
// float64, where the task clips sums on the blocks that they touch. Tried: the
// clipped sum of a unit's images; its sum left for the next unit; a block that
// two images touch, twice.
func TestPrototypesOfUnitsAreTheNaiveMeans(t *testing.T) {
	p := newPrototypes(t, noisyImages(testExamples))
	p.Units = testGroups
	dim, delta := p.Mechanism.Dim, float64(p.Mechanism.Delta)
	for _, id := range groupIDs() {
		images := testGroups.Images(int(id))
		mean := make([]float64, dim)
		for _, i := range images {
			image, label := p.Data.Image(int(i)), p.Data.Label(int(i))
			pooled := prototype.Pool(image, 1, 8, 8, 8)
			at := (label*2 + p.Centers.Nearest(pooled, label)) * 65
			for j, x := range pooled {
				mean[at+j] += float64(x) / float64(len(images))
			}
			mean[at+64] += p.Centers.Spec.CountWeight() / float64(len(images))
		}
		norm := 0.0
		for _, x := range mean {
			norm += x * x
		}
		scale := math.Min(1, p.Mechanism.ClipNorm/math.Sqrt(norm)) * delta / p.Mechanism.ClipNorm
		got := make([]int32, dim+1)
		if err := p.Accumulate(context.Background(), 0, [32]byte{}, []uint32{id}, got); err != nil {
			t.Fatal(err)
		}
		if got[dim] != 1 || !clip.Within(got[:dim], p.Mechanism.DeltaSq()) {
			t.Errorf("unit %d of %d images counts %d, or exceeds Delta", id, len(images), got[dim])
		}
		for j, x := range mean {
			if d := math.Abs(float64(got[j]) - x*scale); d > 1e-5*delta {
				t.Fatalf("unit %d of %d images: coordinate %d is %d, want %.1f", id, len(images), j, got[j], x*scale)
			}
		}
	}
	// Shares change nothing, and nothing of one unit is left for the next.
	whole, split := make([]int32, dim+1), make([]int32, dim+1)
	for _, part := range [][]uint32{groupIDs(), groupIDs()[4:], groupIDs()[:4]} {
		sum := split
		if len(part) == testGroups.Len() {
			sum = whole
		}
		if err := p.Accumulate(context.Background(), 0, [32]byte{}, part, sum); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(whole, split) {
		t.Error("the sum of two shares in another order is another sum")
	}
}

// TestPrototypesOfSingleImagesTakeOneBlock: a unit of one image contributes, to
// the bit, its block alone through clip.Contribution.
func TestPrototypesOfSingleImagesTakeOneBlock(t *testing.T) {
	p := newPrototypes(t, noisyImages(testExamples))
	dim := p.Mechanism.Dim
	for _, id := range allIDs() {
		image, label := p.Data.Image(int(id)), p.Data.Label(int(id))
		pooled := prototype.Pool(image, 1, 8, 8, 8)
		block := p.Mechanism
		block.Dim = 65
		v, ok := clip.Contribution(append(pooled, float32(p.Centers.Spec.CountWeight())), 1, 0, block)
		if !ok {
			t.Fatal("a contribution of the reference failed its own check")
		}
		want := make([]int32, dim+1)
		copy(want[(label*2+p.Centers.Nearest(pooled, label))*65:], v)
		want[dim] = 1
		got := make([]int32, dim+1)
		if err := p.Accumulate(context.Background(), 0, [32]byte{}, []uint32{id}, got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("image %d contributes something else than its block", id)
		}
	}
}
