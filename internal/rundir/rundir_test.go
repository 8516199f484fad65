package rundir

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, path string) *Folder {
	t.Helper()
	f, err := Open(path, "hash", []byte("name: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOpenMakesTheFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	f := open(t, path)
	for name, mode := range map[string]os.FileMode{"share": 0o755, "private": 0o700} {
		info, err := os.Stat(f.Path(name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want mode %o", name, info.Mode(), err, mode)
		}
	}
	if content, err := os.ReadFile(filepath.Join(path, "config.yaml")); err != nil || string(content) != "name: x\n" {
		t.Errorf("config.yaml: %q %v", content, err)
	}
	if f.Share("grid", "x.png") != filepath.Join(path, "share", "grid", "x.png") || f.Private("y") != filepath.Join(path, "private", "y") {
		t.Error("paths")
	}
}

// TestPrivateStaysPrivate: a folder whose mode was opened up is closed again,
// and files there are the owner's.
func TestPrivateStaysPrivate(t *testing.T) {
	path := t.TempDir()
	f := open(t, path)
	f.Close()
	if err := os.Chmod(f.Private(), 0o777); err != nil {
		t.Fatal(err)
	}
	f = open(t, path)
	if info, _ := os.Stat(f.Private()); info.Mode().Perm() != 0o700 {
		t.Errorf("private/ has mode %v", info.Mode())
	}
	for name, mode := range map[string]os.FileMode{"private/compare.png": 0o600, "share/report.json": 0o644} {
		if err := f.WriteFile(name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(f.Path(name)); info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	refused := func(path, want string) {
		t.Helper()
		f, err := Open(path, "other", []byte("name: y\n"))
		if err == nil {
			f.Close()
		}
		if err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	ours := t.TempDir()
	begun := open(t, ours)
	if err := begun.WriteFile("private/identity.json", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	begun.Close()
	refused(ours, ours+" belongs to a run of another config ("+ours+"/config.yaml); choose another folder with --out or restore that config")

	// A refusal changes nothing and leaves no lock.
	if content, _ := os.ReadFile(filepath.Join(ours, "config.yaml")); string(content) != "name: x\n" {
		t.Errorf("config.yaml now holds %q", content)
	}
	open(t, ours).Close()

	foreign := t.TempDir()
	os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o644)
	refused(foreign, foreign+" holds other files and no run; choose an empty or new folder with --out")

	newer := t.TempDir()
	os.WriteFile(filepath.Join(newer, "run.json"), []byte(`{"format":2}`), 0o644)
	refused(newer, newer+" was made by another version of dploda: its format is 2, this program's is 1")

	damaged := t.TempDir()
	os.WriteFile(filepath.Join(damaged, "run.json"), nil, 0o644)
	refused(damaged, damaged+"/run.json is damaged: unexpected end of JSON input")
}

// TestOpenAfterAKilledOpen: folders, lock, config and a temporary file are
// there, run.json is not.
// A folder in which nothing was begun takes a mended config. (Tried with begun always
// true, and in TestOpenRefuses always false.)
func TestOpenTakesAMendedConfigBeforeTheRun(t *testing.T) {
	path := t.TempDir()
	open(t, path).Close()
	f, err := Open(path, "other", []byte("name: y\n"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if content, _ := os.ReadFile(filepath.Join(path, "config.yaml")); string(content) != "name: y\n" {
		t.Errorf("config.yaml holds %q", content)
	}
	if f, err = Open(path, "other", []byte("name: y\n")); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestOpenAfterAKilledOpen(t *testing.T) {
	path := t.TempDir()
	open(t, path).Close()
	os.Remove(filepath.Join(path, "run.json"))
	os.WriteFile(filepath.Join(path, ".run.json123"), nil, 0o644)
	open(t, path)
}

// TestLock starts this test as another process that wants the same folder.
func TestLock(t *testing.T) {
	if path := os.Getenv("RUNDIR_TEST_LOCK"); path != "" {
		f, err := Open(path, "hash", nil)
		fmt.Println("RESULT", err)
		if err == nil {
			f.Close()
		}
		return
	}
	path := t.TempDir()
	f := open(t, path)
	other := func() string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLock$", "-test.v")
		cmd.Env = append(os.Environ(), "RUNDIR_TEST_LOCK="+path)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, result, _ := strings.Cut(string(out), "RESULT ")
		line, _, _ := strings.Cut(result, "\n")
		return line
	}
	if got, want := other(), "another dploda works in "+path+"; wait until it ends, or choose another folder with --out"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	f.Close()
	if got := other(); got != "<nil>" {
		t.Errorf("after Close: %s", got)
	}
}

func TestStagesAreRemembered(t *testing.T) {
	path := t.TempDir()
	f := open(t, path)
	if f.Done("finetune") {
		t.Error("done before it began")
	}
	if err := f.MarkDone("finetune"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	f = open(t, path)
	if !f.Done("finetune") || f.Done("sample") {
		t.Error("the mark is lost or covers other stages")
	}
}

func TestMetrics(t *testing.T) {
	path := t.TempDir()
	f := open(t, path)
	m, err := f.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	type values struct {
		Loss float64 `json:"loss"`
	}
	for step, v := range []any{values{0.5}, map[string]int{"a": 1}, struct{}{}} {
		if err := m.Append(uint64(step), v); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []any{3, nil, []int{}, func() {}} {
		if m.Append(9, bad) == nil {
			t.Errorf("%T is accepted", bad)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{`{"step":0,"loss":0.5}`, `{"step":1,"a":1}`, `{"step":2}`}
	if diff := cmp.Diff(want, lines(t, f)); diff != "" {
		t.Error(diff)
	}
}

// TestMetricsAfterACrash: whatever follows the last newline is cut, and lines
// go on from there.
func TestMetricsAfterACrash(t *testing.T) {
	long := `{"step":0,"text":"` + strings.Repeat("x", 10_000) + `"}`
	for _, c := range []struct{ before, kept string }{
		{"", ""},
		{`{"step":0`, ""},
		{`{"step":0}` + "\n", `{"step":0}` + "\n"},
		{`{"step":0}` + "\n" + `{"st`, `{"step":0}` + "\n"},
		{long + "\n" + long[:9_000], long + "\n"},
		{long[:9_000], ""},
	} {
		f := open(t, t.TempDir())
		if err := os.WriteFile(f.Path("metrics.jsonl"), []byte(c.before), 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := f.Metrics()
		if err != nil {
			t.Fatal(err)
		}
		if m.Last() != 0 {
			t.Errorf("the last step is %d", m.Last())
		}
		if err := m.Append(7, struct{}{}); err != nil {
			t.Fatal(err)
		}
		m.Close()
		if m, err = f.Metrics(); err != nil || m.Last() != 7 {
			t.Fatalf("opened again, the last step is not 7: %v", err)
		}
		m.Close()
		content, _ := os.ReadFile(f.Path("metrics.jsonl"))
		if want := c.kept + `{"step":7}` + "\n"; string(content) != want {
			t.Errorf("%d bytes became %d, want %d", len(c.before), len(content), len(want))
		}
	}
}

// lines reads the metrics back, each of which must be JSON.
func lines(t *testing.T, f *Folder) (all []string) {
	t.Helper()
	file, err := os.Open(f.Path("metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		if !json.Valid(s.Bytes()) {
			t.Errorf("not JSON: %s", s.Text())
		}
		all = append(all, s.Text())
	}
	return all
}

func TestLogAppends(t *testing.T) {
	f := open(t, t.TempDir())
	for _, text := range []string{"one\n", "two\n"} {
		w, err := f.Log()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, text)
		w.Close()
	}
	if content, _ := os.ReadFile(f.Path("run.log")); string(content) != "one\ntwo\n" {
		t.Errorf("the log holds %q", content)
	}
}

func TestExplain(t *testing.T) {
	if Explain("x", nil) != nil {
		t.Error("nil became an error")
	}
	full := Explain("out/a", &os.PathError{Op: "write", Path: "t", Err: syscall.ENOSPC})
	if want := "the disk is full: cannot write out/a; free some space and run the same command again, it goes on where it stopped: write t: no space left on device"; full.Error() != want {
		t.Errorf("got %v", full)
	}
	if !errors.Is(full, syscall.ENOSPC) {
		t.Error("the cause is lost")
	}
	if other := Explain("out/a", errors.New("e")); other.Error() != "cannot write out/a: e" {
		t.Errorf("got %v", other)
	}
}

// TestFullDisk appends to the device that is always full.
func TestFullDisk(t *testing.T) {
	const device = "/dev/full"
	if _, err := os.Stat(device); err != nil {
		t.Skip("this system has no " + device)
	}
	f := open(t, t.TempDir())
	if err := os.Symlink(device, f.Path("metrics.jsonl")); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(f.Path("metrics.jsonl"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := &Metrics{f: file}
	if err := m.Append(1, struct{}{}); !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), "the disk is full: ") {
		t.Errorf("got %v", err)
	}
}
