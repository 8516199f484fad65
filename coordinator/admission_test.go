package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
)

// register opens a domain in a state folder, with room for a trial's run of
// ε 8 and a few later ones.
func register(t testing.TB, dir, name string, epsilonMicro uint64) {
	t.Helper()
	onSite(t, dir, func(s *Site) error {
		return s.Propose(func(prev ledger.Hash) ledger.Entry {
			r := domain.Register(name, ledger.Budget{EpsilonMicro: epsilonMicro, DeltaNumerator: 1, DeltaExponent: 5}, 0, ledger.UnitImage, ledger.AddRemove)
			r.Prev = prev
			return r
		})
	})
}

func onSite(t testing.TB, dir string, do func(s *Site) error) {
	t.Helper()
	s, err := OpenSite(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(s), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// private is a run of two steps on private images in dir, of a domain that is
// registered there; its noise is enough for ε 3 or so.
func private(t testing.TB, dir string, run byte, name string, images ...string) *trial {
	t.Helper()
	x := newTrial(t, nil, 2, 3)
	x.dir = dir
	x.id.ID, x.id.Domain, x.id.Public, x.id.Tags = ledger.RunID{run}, name, false, tagsOf(images...)
	x.id.Phases = []plan.Mechanism{mechanism("prototypes-0", 1, 1), mechanism("finetune", 2, 3)}
	for i := range x.id.Phases {
		x.id.Phases[i].SigmaInt *= 4
	}
	return x
}

func (x *trial) admitted(name string) {
	x.t.Helper()
	c, err := x.open()
	if err != nil {
		x.t.Fatalf("%s: %v", name, err)
	}
	c.Close()
}

func siteView(t testing.TB, dir string) ledger.View {
	t.Helper()
	events, err := ReadLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	view, err := domain.Verify(events)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// One domain's budget holds whatever a second run is called, from whatever
// folder it comes, and with rows added to the data, left out or put in another
// order. A refused run leaves the ledger, the tags and the keys as they were.
//
// Tried: one budget a run; a domain of the run's name; versions compared only as
// wholes; refusing after Attach.
func TestASecondRunCannotExceedTheBudget(t *testing.T) {
	dir := memoryDir(t)
	register(t, dir, "patients", 2_000_000)
	first := private(t, dir, 1, "patients", "a", "b", "c")
	first.mustRun()
	if d, _ := siteView(t, dir).Domain("patients"); !d.Charged || d.Spent == 0 {
		t.Fatalf("the run charged nothing: %+v", d)
	}
	for n := byte(2); ; n++ { // fill the domain
		if n > 100 {
			t.Fatal("the domain is never full")
		}
		x := private(t, dir, n, "patients", "a", "b", "c")
		c, err := x.open()
		if err != nil {
			break
		}
		c.Close()
	}
	before := siteView(t, dir)
	files := filesOf(t, dir)
	for name, x := range map[string]*trial{
		"the same again":  private(t, dir, 201, "patients", "a", "b", "c"),
		"an appended row": private(t, dir, 202, "patients", "a", "b", "c", "d"),
		"fewer rows":      private(t, dir, 203, "patients", "b"),
	} {
		x.refused(name, "the budget of the data domain does not allow this run")
	}
	register(t, dir, "others", 30_000_000)
	for name, x := range map[string]*trial{
		"another domain":                    private(t, dir, 204, "others", "a", "b", "c"),
		"another domain, an appended row":   private(t, dir, 205, "others", "a", "b", "c", "d"),
		"another domain, one image of many": private(t, dir, 206, "others", "c", "e", "f"),
	} {
		x.refused(name, `belong to data domain "patients"`)
	}
	public := private(t, dir, 207, "", "a", "z")
	public.id.Public = true
	public.refused("declared public", `belong to the private data domain "patients"`)
	private(t, dir, 208, "nobody", "x").refused("no domain", `"nobody" is not registered in `+dir+`; register it with 'dploda domain register nobody`)
	after := siteView(t, dir)
	if after.Entries != before.Entries+1 || filesOf(t, dir) != files { // the entry that registered others
		t.Errorf("refused runs left %d entries, and of files\n%s\nwhere there were\n%s", after.Entries-before.Entries-1, filesOf(t, dir), files)
	}
	private(t, dir, 209, "others", "x", "y").admitted("other images in another domain")
	open := private(t, dir, 210, "", "z")
	open.id.Public = true
	open.admitted("other images, declared public")
}

func filesOf(t testing.TB, dir string) string {
	t.Helper()
	keys, err1 := filepath.Glob(filepath.Join(dir, "*.key"))
	tags, err2 := filepath.Glob(filepath.Join(dir, "domains", "*"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(keys, tags...), "\n")
}

// Runs that are admitted before anything is charged compose; a run that could
// have been chosen in the light of outputs passes the filter. In both cases the
// domain is full at some time.
//
// Tried: the filter for every run, and composition for every run.
func TestRunsDeclaredFirstCompose(t *testing.T) {
	count := func(spend bool) int {
		dir := memoryDir(t)
		register(t, dir, "patients", 2_500_000)
		n := 0
		for ; n < 50; n++ {
			x := private(t, dir, byte(n+1), "patients", "a", "b", "c")
			if spend {
				if err := x.process(context.Background()); err != nil {
					break
				}
				continue
			}
			c, err := x.open()
			if err != nil {
				break
			}
			c.Close()
		}
		view := siteView(t, dir)
		for i, r := range view.Runs {
			if byFilter := r.Admit.Declared == 0; byFilter != (spend && i > 0) {
				t.Errorf("run %d of %d declares %d", i+1, n, r.Admit.Declared)
			}
		}
		return n
	}
	// A run that is complete has given its reserve back: more of them fit.
	declared, later := count(false), count(true)
	if declared < 2 || declared == 50 || later < 2 || later == 50 {
		t.Errorf("%d runs are declared first, %d follow one another", declared, later)
	}
}

// A version is attached once, and new rows are another version of the domain.
func TestVersions(t *testing.T) {
	dir := memoryDir(t)
	register(t, dir, "patients", 30_000_000)
	for n, want := range []struct {
		images   string
		versions int
	}{{"a b", 1}, {"b a", 1}, {"a b c", 2}, {"a a b", 3}, {"a b c", 3}} {
		private(t, dir, byte(n+1), "patients", strings.Fields(want.images)...).admitted(want.images)
		if d, _ := siteView(t, dir).Domain("patients"); len(d.Versions) != want.versions {
			t.Errorf("after %s there are %d versions, want %d", want.images, len(d.Versions), want.versions)
		}
	}
	x := private(t, dir, 1, "patients", "a", "b", "c")
	x.refused("run 1 with the images of run 3", "not those that run")
}

// A process that ends anywhere on the way to Admit leaves a state from which the
// same run is admitted once, with one version.
//
// Tried: Attach before its tags are durable.
func TestCrashOnTheWayToAdmit(t *testing.T) {
	arrows := []string{"before attach", "after attach", "before key", "before admit", "after admit"}
	for _, name := range arrows {
		dir := memoryDir(t)
		register(t, dir, "patients", 30_000_000)
		x := private(t, dir, 1, "patients", "a", "b")
		stopAfter(x, name, 1)
		x.mustRun()
		view := siteView(t, dir)
		if d, _ := view.Domain("patients"); len(d.Versions) != 1 || len(view.Runs) != 1 {
			t.Errorf("a crash %s leaves %d versions and %d runs", name, len(d.Versions), len(view.Runs))
		}
	}
}

// What the comparison needs is missing or was changed: nothing is admitted.
//
// Tried: skipping tags that cannot be read; making a new key.
func TestLostTagsAreRefused(t *testing.T) {
	x := private(t, memoryDir(t), 1, "patients", "a", "b")
	register(t, x.dir, "patients", 30_000_000)
	x.admitted("the first run")
	tagFiles, err := filepath.Glob(filepath.Join(x.dir, "domains", "*.tags"))
	if err != nil || len(tagFiles) != 1 {
		t.Fatalf("%v, %v", tagFiles, err)
	}
	name := filepath.Base(tagFiles[0])
	for _, c := range []struct {
		what, want string
		damage     func(dir string) error
	}{
		{"no tags", "are missing", func(dir string) error { return os.Remove(filepath.Join(dir, "domains", name)) }},
		{"no key", "site.key", func(dir string) error { return os.Remove(filepath.Join(dir, "site.key")) }},
		{"another key", "another site's", func(dir string) error { return os.WriteFile(filepath.Join(dir, "site.key"), make([]byte, 32), 0o600) }},
		{"cut tags", "damaged", func(dir string) error { return os.Truncate(filepath.Join(dir, "domains", name), 50) }},
		{"no ledger", "does not know a version of data", func(dir string) error { return os.RemoveAll(filepath.Join(dir, ledgerFolder)) }},
	} {
		y := copyOf(x)
		if err := c.damage(y.dir); err != nil {
			t.Fatal(err)
		}
		y.refused("the same run, "+c.what, c.want)
		y.id.ID = ledger.RunID{2}
		y.refused("another run, "+c.what, c.want)
	}
}

// A closed run is over: it cannot be opened, its secret is gone, and what it had
// reserved is free.
func TestClosedRun(t *testing.T) {
	dir := memoryDir(t)
	register(t, dir, "patients", 30_000_000)
	x := private(t, dir, 1, "patients", "a", "b")
	stopAfter(x, "after commit", 1)
	before, _ := siteView(t, dir).Domain("patients")
	for range 2 { // the second time finds it closed
		onSite(t, dir, func(s *Site) error { return s.CloseRun(x.id.ID) })
	}
	after, _ := siteView(t, dir).Domain("patients")
	if after.Used >= before.Used || after.Used != after.Spent || after.Spent != before.Spent || before.Spent == 0 {
		t.Errorf("closing leads from %+v to %+v", before, after)
	}
	if _, err := os.Stat(keyPath(dir, x.id.ID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the closed run's secret: %v", err)
	}
	x.refused("a closed run", "was closed by 'dploda ledger close'")
	onSite(t, dir, func(s *Site) error {
		if err := s.CloseRun(ledger.RunID{9}); err == nil || !strings.Contains(err.Error(), "does not know run") {
			return fmt.Errorf("closing no run: %v", err)
		}
		return nil
	})
}

// A run whose noise is for one adjacency is not admitted to a domain that
// promises another: replace-one needs more noise. (Tried without the comparison.)
func TestAdjacencyIsTheDomains(t *testing.T) {
	dir := memoryDir(t)
	register(t, dir, "patients", 10e6)
	x := private(t, dir, 1, "patients", "a", "b")
	x.id.Adjacency = ledger.ReplaceOne
	if _, err := x.open(); err == nil || !strings.Contains(err.Error(), "set privacy.adjacency: add-remove") {
		t.Errorf("error %v", err)
	}
	x.id.Adjacency = ledger.AddRemove
	x.admitted("with the domain's adjacency")
}
