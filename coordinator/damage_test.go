package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/dploda/dploda/dp/ledger"
)

// stopAfter runs x until the n-th passing of an arrow.
func stopAfter(x *trial, name string, n int) {
	x.t.Helper()
	x.arrow = func(a string) error {
		if a == name {
			if n--; n == 0 {
				return errTestCrash
			}
		}
		return nil
	}
	if err := x.process(context.Background()); !errors.Is(err, errTestCrash) {
		x.t.Fatalf("the run ends before it passes %q: %v", name, err)
	}
	x.arrow = nil
	x.fleet = survivingFleet(x.fleet)
}

func (x *trial) refused(name, want string) {
	x.t.Helper()
	c, err := x.open()
	if err == nil {
		err = c.Run(context.Background(), []Phase{{x.id.Phases[0], newToy(), examples}, {x.id.Phases[1], newToy(), examples}}, nil)
		c.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		x.t.Errorf("%s: %v, want %q", name, err, want)
	}
}

// copyOf continues x on a copy of its disk.
func copyOf(x *trial) *trial {
	y := *x
	y.dir = memoryDir(x.t)
	if err := os.CopyFS(y.dir, os.DirFS(x.dir)); err != nil {
		x.t.Fatal(err)
	}
	return &y
}

// Every entry of the ledger, edited by hand in raft's file, is found: a byte
// anywhere within it, or the whole entry resealed with another nonce.
// (Tried without comparing the chain while replaying.)
func TestEditedLedgerIsDetected(t *testing.T) {
	x := newTrial(t, nil, 2, 3)
	stopAfter(x, "after commit", 2)
	events := x.events()
	file, err := os.ReadFile(filepath.Join(x.dir, ledgerFolder, ledgerFile))
	if err != nil {
		t.Fatal(err)
	}
	for i, raw := range events {
		if bytes.Count(file, raw) == 0 {
			t.Fatalf("entry %d is not in raft's file as it is", i)
		}
		for _, at := range []int{0, len(raw) / 2, len(raw) - 1} {
			edited := bytes.Clone(raw)
			edited[at] ^= 1
			y := editLedger(x, file, raw, edited)
			y.refused(fmt.Sprintf("entry %d, byte %d", i, at), "damaged or was edited")
		}
		if e, _ := ledger.Decode(raw); i < len(events)-1 {
			if p, ok := e.(ledger.Plan); ok {
				p.Nonce[0]++
				resealed, _ := ledger.Encode(p)
				editLedger(x, file, raw, resealed).refused(fmt.Sprintf("entry %d resealed", i), "damaged or was edited")
			}
		}
	}
}

func editLedger(x *trial, file, old, edited []byte) *trial {
	y := copyOf(x)
	path := filepath.Join(y.dir, ledgerFolder, ledgerFile)
	if err := os.WriteFile(path, bytes.ReplaceAll(file, old, edited), 0o600); err != nil {
		x.t.Fatal(err)
	}
	return y
}

func TestCutOffLedgerFileIsDetected(t *testing.T) {
	x := newTrial(t, nil, 2, 3)
	stopAfter(x, "after commit", 2)
	path := filepath.Join(x.dir, ledgerFolder, ledgerFile)
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	x.refused("a cut-off file", "the ledger")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	x.refused("a file of garbage", "the ledger's file")
}

// A run cannot continue without its ledger, nor with an older copy of it.
// (Tried without the refusal of a run folder that the ledger does not know.)
func TestLostLedgerIsRefused(t *testing.T) {
	x := newTrial(t, nil, 3, 3)
	stopAfter(x, "after plan", 2)
	older := copyOf(x)
	stopAfter(x, "after commit", 2)

	y := copyOf(x)
	os.RemoveAll(filepath.Join(y.dir, ledgerFolder))
	y.refused("no ledger", "does not know run")
	os.RemoveAll(filepath.Join(y.dir, "runs"))
	y.resume = true
	y.refused("no ledger and no files, but a run folder that was begun", "does not know run")

	y = copyOf(x)
	os.RemoveAll(filepath.Join(y.dir, ledgerFolder))
	if err := os.CopyFS(filepath.Join(y.dir, ledgerFolder), os.DirFS(filepath.Join(older.dir, ledgerFolder))); err != nil {
		t.Fatal(err)
	}
	y.refused("a ledger rolled back", "lost, edited or rolled back")
	sums, _ := filepath.Glob(filepath.Join(y.dir, "runs", "*", "*", "sums", "*"))
	for _, path := range sums {
		os.Remove(path)
	}
	x.mustRun() // up to its last checkpoint
	checkpoints, _ := filepath.Glob(filepath.Join(x.dir, "runs", "*", "finetune", "checkpoints", "*"))
	for _, path := range checkpoints {
		b, _ := os.ReadFile(path)
		os.WriteFile(filepath.Join(filepath.Dir(strings.Replace(path, x.dir, y.dir, 1)), filepath.Base(path)), b, 0o600)
	}
	y.refused("a ledger rolled back behind a checkpoint", "lost, edited or rolled back")
}

func TestKeyIsNeededUntilTheEnd(t *testing.T) {
	x := newTrial(t, nil, 2, 3)
	stopAfter(x, "after commit", 1)
	path := keyPath(x.dir, x.id.ID)
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, key[:31], 0o600)
	x.refused("a short key", "is damaged")
	os.Remove(path)
	x.refused("no key", "is missing")
	os.WriteFile(path, key, 0o600)
	x.mustRun()
}

// The newest checkpoint is damaged or gone: the one before it and the noised
// sums lead to the same state. Without a sum that is needed, the run says so.
func TestDamagedCheckpoints(t *testing.T) {
	undisturbed := newTrial(t, seed(4), 6, 3)
	undisturbed.mustRun()
	x := newTrial(t, seed(4), 6, 3)
	stopAfter(x, "after commit", 6)
	list := func(y *trial, kind string) []string {
		paths, _ := filepath.Glob(filepath.Join(y.dir, "runs", "*", "finetune", kind, "*.dploda"))
		return paths
	}
	if n, m := len(list(x, "checkpoints")), len(list(x, "sums")); n != 2 || m != 3 {
		t.Fatalf("%d checkpoints and %d noised sums are kept, want 2 and 3", n, m)
	}
	for name, damage := range map[string]func(y *trial, path string){
		"flipped": func(_ *trial, path string) {
			b, _ := os.ReadFile(path)
			b[len(b)/2] ^= 1
			os.WriteFile(path, b, 0o600)
		},
		"cut":  func(_ *trial, path string) { os.Truncate(path, 100) },
		"gone": func(_ *trial, path string) { os.Remove(path) },
	} {
		y := copyOf(x)
		checkpoints := list(y, "checkpoints")
		damage(y, checkpoints[1])
		y.fleet = survivingFleet(newFleet())
		y.mustRun()
		if y.state() != undisturbed.state() {
			t.Errorf("newest checkpoint %s: another final state", name)
		}
		z := copyOf(x)
		for _, path := range append(list(z, "sums"), list(z, "checkpoints")[1]) {
			damage(z, path)
		}
		z.refused("checkpoint and sums "+name, "cannot be applied again")
	}
}

// A learner that replays to another state than the ledger's is stopped.
func TestChangedLearnerIsDetected(t *testing.T) {
	x := newTrial(t, nil, 2, 3)
	stopAfter(x, "after commit", 2)
	c, err := x.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	phases := []Phase{{x.id.Phases[0], newToy(), examples}, {x.id.Phases[1], &changedToy{*newToy()}, examples}}
	if err := c.Run(context.Background(), phases, nil); err == nil || !strings.Contains(err.Error(), "another state than the ledger's") {
		t.Errorf("error %v", err)
	}
}

type changedToy struct{ toy }

func (l *changedToy) Apply(step uint64, noised []int32) error { return l.toy.Apply(step+1, noised) }

func TestOneProcessAtATime(t *testing.T) {
	x := newTrial(t, nil, 1, 3)
	c, err := x.open()
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []func() error{
		func() error { _, err := x.open(); return err },
		func() error { _, err := ReadLedger(x.dir); return err },
	} {
		if err := open(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by another dploda process (pid %d)", os.Getpid())) {
			t.Errorf("a second process: %v", err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	x.mustRun()
}

// A full disk under checkpoints and noised sums, at any of their operations:
// one clear sentence, and with space again the run continues to the same end.
func TestFullDiskUnderFiles(t *testing.T) {
	_, want := countArrows(t, seed(6), 2)
	for n := range 30 {
		x := newTrial(t, seed(6), 2, 30)
		left := n
		x.change = func(o *Options) {
			o.fault = func(op string) (int, error) {
				if left--; left == -1 {
					return 3, fmt.Errorf("injected at %s: %w", op, syscall.ENOSPC)
				}
				return -1, nil
			}
		}
		if err := x.process(context.Background()); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space and run the same command again") {
			t.Fatalf("fault %d: %v", n, err)
		}
		x.change = nil
		x.fleet = survivingFleet(x.fleet)
		x.mustRun()
		if x.state() != want {
			t.Errorf("fault %d: another final state", n)
		}
	}
}

// failingLog is a log store on a disk that fills up.
type failingLog struct {
	raft.LogStore
	left *int
}

func (f failingLog) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f failingLog) StoreLogs(l []*raft.Log) error {
	if *f.left--; *f.left < 0 {
		return syscall.ENOSPC
	}
	return f.LogStore.StoreLogs(l)
}

func TestFullDiskUnderTheLedger(t *testing.T) {
	_, want := countArrows(t, seed(6), 2)
	for n := range 14 {
		x := newTrial(t, seed(6), 2, 30)
		left := n
		x.change = func(o *Options) {
			o.wrapLog = func(s logStore) logStore { return failingLog{s, &left} }
		}
		if err := x.process(context.Background()); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the ledger in") {
			t.Fatalf("fault %d: %v", n, err)
		}
		x.change = nil
		x.fleet = survivingFleet(x.fleet)
		x.mustRun()
		if x.state() != want {
			t.Errorf("fault %d: another final state", n)
		}
		checkRun(t, fmt.Sprintf("full disk at entry %d", n), x, 0, 1)
	}
}

// Raft's own compaction loses nothing: the whole chain is in the snapshot, and
// an edited snapshot is found.
func TestSnapshotKeepsTheWholeChain(t *testing.T) {
	x := newTrial(t, seed(9), 4, 3)
	undisturbed := newTrial(t, seed(9), 4, 3)
	undisturbed.mustRun()
	stopAfter(x, "after commit", 3)
	before := x.events()
	c, err := x.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ledger.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	after := x.events()
	if len(after) != len(before) || ledger.HashOf(after[len(after)-1]) != ledger.HashOf(before[len(before)-1]) {
		t.Errorf("%d entries before the snapshot, %d after it", len(before), len(after))
	}
	paths, _ := filepath.Glob(filepath.Join(x.dir, ledgerFolder, "snapshots", "*", "state.bin"))
	if len(paths) != 1 {
		t.Fatalf("%d snapshots", len(paths))
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	y := copyOf(x)
	b[len(b)/2] ^= 1
	os.WriteFile(strings.Replace(paths[0], x.dir, y.dir, 1), b, 0o600)
	y.refused("an edited snapshot", "damaged or was edited")
	x.mustRun()
	if x.state() != undisturbed.state() {
		t.Error("a snapshot changes the final state")
	}
}
