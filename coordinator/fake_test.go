package coordinator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/tags"
	"github.com/dploda/dploda/worker/fleet"
)

const (
	dim      = 5
	examples = 40
)

func mechanism(phase string, steps, reserve int) plan.Mechanism {
	return plan.Mechanism{Phase: phase, QThreshold: 1 << 62, Dim: dim, Delta: 1000, SigmaInt: 1100,
		ClipNorm: 0.5, Steps: steps, Reserve: reserve, Divisor: 10}
}

// toy learns by momentum on float32s, as an optimizer would.
type toy struct{ weights, momentum []float32 }

func newToy() *toy {
	l := &toy{make([]float32, dim), make([]float32, dim)}
	for i := range l.weights {
		l.weights[i] = float32(i)
	}
	return l
}

func (l *toy) Apply(step uint64, noised []int32) error {
	for i, v := range noised {
		l.momentum[i] = float32(0.9*l.momentum[i]) + float32(v)*1e-3
		l.weights[i] -= float32(0.1*l.momentum[i]) + float32(step)
	}
	return nil
}

func (l *toy) Parameters() []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, l.weights)
	return b
}

func (l *toy) MarshalState() ([]byte, error) {
	return binary.Append(l.Parameters(), binary.LittleEndian, l.momentum)
}

func (l *toy) UnmarshalState(b []byte) error {
	if len(b) != 8*dim {
		return fmt.Errorf("a toy's state has %d bytes", len(b))
	}
	binary.Decode(b, binary.LittleEndian, l.weights)
	binary.Decode(b[4*dim:], binary.LittleEndian, l.momentum)
	return nil
}

// sampleSeen is one generation as the fleet saw it.
type sampleSeen struct {
	phase string
	step  uint64
	key   [32]byte
	ids   []uint32
}

// fakeFleet computes at once, in the caller's goroutine: an example's
// contribution is a function of its id, the draw key and the parameters.
type fakeFleet struct {
	events     chan fleet.Event
	speeds     map[string]float64
	parameters []byte
	state      [32]byte
	// disturb, if set, may act in place of a generation's sum; it returns whether
	// it did.
	disturb func(f *fakeFleet, n int, gen uint64, shares map[string][]uint32) bool

	starts   int
	highest  uint64
	seen     []sampleSeen
	sums     [][]int32 // exact
	releases []fleet.Release
}

func newFleet(names ...string) *fakeFleet {
	f := &fakeFleet{events: make(chan fleet.Event, 10000), speeds: map[string]float64{}}
	for i, n := range names {
		f.join(n, float64(i+1))
	}
	return f
}

func (f *fakeFleet) join(name string, speed float64) {
	f.speeds[name] = speed
	f.events <- fleet.Joined{Worker: name, Speed: speed}
}

func (f *fakeFleet) lose(name string) {
	delete(f.speeds, name)
	f.events <- fleet.Lost{Worker: name, Cause: "killed"}
}

func (f *fakeFleet) Events() <-chan fleet.Event { return f.events }
func (f *fakeFleet) Workers() []string          { return slices.Sorted(maps.Keys(f.speeds)) }
func (f *fakeFleet) Abort(gen uint64)           { f.highest = max(f.highest, gen) }
func (f *fakeFleet) Close() error               { return nil }

func (f *fakeFleet) Release(ctx context.Context, r fleet.Release) error {
	f.parameters, f.state = r.Parameters, r.StateHash
	f.releases = append(f.releases, r)
	return ctx.Err()
}

func (f *fakeFleet) Start(_ context.Context, gen uint64, a fleet.Assignment, shares map[string][]uint32) error {
	if gen <= f.highest || a.State != f.state {
		return fmt.Errorf("generation %d comes after %d, or the state was not released", gen, f.highest)
	}
	f.highest = gen
	f.starts++
	var ids []uint32
	for _, part := range shares {
		ids = append(ids, part...)
	}
	slices.Sort(ids)
	f.seen = append(f.seen, sampleSeen{a.Phase, a.Step, a.DrawKey, ids})
	if f.disturb != nil && f.disturb(f, f.starts, gen, shares) {
		return nil
	}
	sum := make([]int32, a.Dim+1)
	for _, id := range ids {
		for i, v := range contribution(a, f.parameters, id) {
			sum[i] += v
		}
		sum[a.Dim]++
	}
	f.sums = append(f.sums, slices.Clone(sum[:a.Dim]))
	f.events <- fleet.Sum{Generation: gen, Values: sum}
	return nil
}

func contribution(a fleet.Assignment, parameters []byte, id uint32) [dim]int32 {
	h := sha256.New()
	h.Write(a.DrawKey[:])
	h.Write(parameters)
	binary.Write(h, binary.BigEndian, id)
	d := h.Sum(nil)
	var v [dim]int32
	for i := range v {
		v[i] = int32(int8(d[i])) * 3
	}
	return v
}

// trial is one run over however many processes.
type trial struct {
	t        testing.TB
	dir      string
	id       RunIdentity
	seed     *uint64
	every    int
	resume   bool
	fleet    *fakeFleet
	learners []*toy
	arrow    func(string) error
	change   func(*Options)
	observed []Progress
	watch    func(Progress)
}

// memoryDir is a directory in memory where the system has one: a crash here is
// a copy of the files, which needs no slow syncs.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "dploda-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newTrial(t testing.TB, seed *uint64, steps, reserve int) *trial {
	x := &trial{t: t, seed: seed, every: 2, fleet: newFleet("a", "b")}
	if t != nil {
		x.dir = memoryDir(t)
	}
	x.id = RunIdentity{ID: ledger.RunID{1, 2, 3}, Public: true, Unit: ledger.UnitImage, Tags: tagsOf("a", "b", "c"), Spec: sha256.Sum256([]byte("spec")),
		Budget: ledger.Budget{EpsilonMicro: 30e6, DeltaNumerator: 1, DeltaExponent: 5},
		Phases: []plan.Mechanism{mechanism("prototypes-0", 1, reserve), mechanism("finetune", steps, reserve)}}
	x.id.Phases[0].Everyone, x.id.Phases[0].QThreshold, x.id.Phases[0].Divisor = true, 0, 40
	if seed != nil {
		x.id.Budget.EpsilonMicro = ledger.Unlimited
	}
	return x
}

// tagsOf are those of images that are words.
func tagsOf(images ...string) func(key []byte) ([]tags.Tag, error) {
	return func(key []byte) (sorted []tags.Tag, err error) {
		for _, image := range images {
			h := sha256.Sum256(append([]byte(image), key...))
			sorted = append(sorted, tags.Tag(h[:]))
		}
		slices.SortFunc(sorted, func(a, b tags.Tag) int { return bytes.Compare(a[:], b[:]) })
		return sorted, nil
	}
}

func (x *trial) open() (*Coordinator, error) {
	o := Options{StateDir: x.dir, Run: x.id, Fleet: x.fleet, Arithmetic: "toy", TestSeed: x.seed,
		CheckpointEvery: x.every, MaxFailures: 3, Resume: x.resume, arrow: x.arrow}
	if x.change != nil {
		x.change(&o)
	}
	return Open(context.Background(), o)
}

// process is one process's life: open, run, close.
func (x *trial) process(ctx context.Context) error {
	c, err := x.open()
	if err != nil {
		return err
	}
	defer c.Close()
	x.learners = []*toy{newToy(), newToy()}
	var phases []Phase
	for i, m := range x.id.Phases {
		phases = append(phases, Phase{Mechanism: m, Learner: x.learners[i], Examples: examples})
	}
	return c.Run(ctx, phases, func(p Progress) {
		x.observed = append(x.observed, p)
		if x.watch != nil {
			x.watch(p)
		}
	})
}

func (x *trial) mustRun() {
	x.t.Helper()
	if err := x.process(context.Background()); err != nil {
		x.t.Fatal(err)
	}
}

// state is the final bytes of both learners.
func (x *trial) state() string {
	a, _ := x.learners[0].MarshalState()
	b, _ := x.learners[1].MarshalState()
	return fmt.Sprintf("%x %x", a, b)
}

func (x *trial) events() [][]byte {
	x.t.Helper()
	events, err := ReadLedger(x.dir)
	if err != nil {
		x.t.Fatal(err)
	}
	return events
}

func (x *trial) view() ledger.RunView {
	x.t.Helper()
	v, err := ledger.Verify(x.events())
	if err != nil {
		x.t.Fatal(err)
	}
	r, _ := v.Run(x.id.ID)
	return r
}

func seed(n uint64) *uint64 { return &n }

// sumOfNothing answers every generation with a sum of zeros and the right count.
func sumOfNothing(size int) func(*fakeFleet, int, uint64, map[string][]uint32) bool {
	return func(f *fakeFleet, _ int, gen uint64, shares map[string][]uint32) bool {
		sum := make([]int32, size+1)
		for _, part := range shares {
			sum[size] += int32(len(part))
		}
		f.events <- fleet.Sum{Generation: gen, Values: sum}
		return true
	}
}
