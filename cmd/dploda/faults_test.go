package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// moment is one in the life of the run in a folder.
type moment struct {
	name string
	now  func(out string) bool
}

// released is when so many steps of all phases were.
func released(steps int) moment {
	return moment{fmt.Sprintf("after %d steps", steps), func(out string) bool {
		lines, _ := os.ReadFile(filepath.Join(out, "metrics.jsonl"))
		return bytes.Count(lines, []byte("\n")) >= steps
	}}
}

// stored is when noised sums of a phase are on disk, at the earliest before
// the Commit that names the last of them.
func stored(phase string, sums int) moment {
	return moment{fmt.Sprintf("with %d sums of %s", sums, phase), func(out string) bool {
		files, _ := filepath.Glob(filepath.Join(out, "private", "state", "runs", "*", phase, "sums", "*.dploda"))
		return len(files) >= sums
	}}
}

// made is when a file or folder of the run is there.
func made(parts ...string) moment {
	name := filepath.Join(parts...)
	return moment{"with " + name, func(out string) bool { return exists(out, name) }}
}

// after is so long after the first call of now.
func after(d time.Duration) moment {
	var begin time.Time
	return moment{"after " + d.String(), func(string) bool {
		if begin.IsZero() {
			begin = time.Now()
		}
		return time.Since(begin) >= d
	}}
}

var finetuned = made("stages", "finetune")

// tiny is the command of a small reproducible run in out.
func tiny(out string, seed uint64, flags ...string) []string {
	return append([]string{"run", "testdata/tiny.yaml", "--out", out, "--test-seed", strconv.FormatUint(seed, 10)}, flags...)
}

// disturb gives the command again and again and kills it at each moment.
func disturb(t *testing.T, out string, command []string, moments ...moment) {
	t.Helper()
	for _, m := range moments {
		p := start(t, command...)
		if !p.until(func() bool { return m.now(out) }) {
			t.Fatalf("the run ended before the moment %s:\n%s", m.name, p.stderr.String())
		}
		if code := p.strike(syscall.SIGKILL); code != -1 && !finetuned.now(out) {
			t.Fatalf("the run ended by itself %s with the exit code %d:\n%s", m.name, code, p.stderr.String())
		}
	}
}

// finish gives the command once more if fine-tuning is not done, lets it stop
// then and returns what was released.
func finish(t *testing.T, out string, command []string) model {
	t.Helper()
	if !finetuned.now(out) {
		p := start(t, command...)
		p.until(func() bool { return finetuned.now(out) })
		if code := p.strike(syscall.SIGTERM); code != 0 {
			t.Fatalf("exit code %d:\n%s", code, p.stderr.String())
		}
	}
	checkMetrics(t, out)
	return modelOf(t, out)
}

// model is what fine-tuning released: the model's bytes and the curve.
type model struct{ adapter, prototypes, curve string }

func modelOf(t *testing.T, out string) model {
	t.Helper()
	return model{
		string(read(t, out, "share", "adapter.safetensors")),
		string(read(t, out, "share", "prototypes.safetensors")),
		curveOf(t, out),
	}
}

// TestSameBits: whatever disturbs a run, and however it is divided, what it
// releases are the same bytes; another seed gives others.
func TestSameBits(t *testing.T) {
	golden := t.TempDir()
	code, stdout, stderr := run(t, tiny(golden, 1)...)
	if code != 0 || !strings.Contains(stdout, "nothing here is private") {
		t.Fatalf("exit code %d\n%s%s", code, stderr, stdout)
	}
	checkMetrics(t, golden)
	want := modelOf(t, golden)
	t.Run("other seed", func(t *testing.T) {
		t.Parallel()
		out := t.TempDir()
		got := finish(t, out, tiny(out, 2))
		if got.adapter == want.adapter || got.prototypes == want.prototypes {
			t.Error("seeds 1 and 2 give the same model")
		}
	})
	for _, flags := range []string{
		"--workers=1 --micro-batch=3",
		"--workers=3 --micro-batch=16",
		"--workers=2 --worker-processes",
	} {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			if finish(t, out, tiny(out, 1, strings.Fields(flags)...)) != want {
				t.Error("another model")
			}
		})
	}
	for _, moments := range [][]moment{
		{made("stages", "admitted"), stored("finetune", 1), released(5)},
		{stored("prototypes", 1), released(4), stored("finetune", 2)},
	} {
		t.Run("killed", func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			disturb(t, out, tiny(out, 1), moments...)
			if finish(t, out, tiny(out, 1)) != want {
				t.Error("another model")
			}
		})
	}
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		out := t.TempDir()
		stopAndResume(t, out, tiny(out, 1), want)
	})
	t.Run("worker killed", func(t *testing.T) {
		t.Parallel()
		out := t.TempDir()
		loseWorker(t, out, tiny(out, 1, "--worker-processes"), want)
	})
	t.Run("full disk", func(t *testing.T) {
		t.Parallel()
		fillDisk(t, t.TempDir(), want)
	})
	t.Run("folder", func(t *testing.T) { completeFolder(t, golden) })
}

// stopAndResume stops a run with each of the signals that mean it well; with
// other workers it goes on.
func stopAndResume(t *testing.T, out string, command []string, want model) {
	for steps, signal := range []syscall.Signal{1: syscall.SIGINT, 3: syscall.SIGTERM} {
		if signal == 0 {
			continue
		}
		p := start(t, command...)
		p.until(func() bool { return released(steps).now(out) })
		code := p.strike(signal)
		message := "stopped; the same command goes on from the last checkpoint in " + out + "\n"
		if code != 0 || !strings.HasSuffix(p.stderr.String(), message) || p.stdout.Len() > 0 {
			t.Fatalf("%v: exit code %d\n%s%s", signal, code, p.stderr.String(), p.stdout.String())
		}
	}
	if finish(t, out, append(command, "--workers", "3", "--micro-batch", "5")) != want {
		t.Error("another model")
	}
}

// loseWorker kills a worker process: the run goes on. When the run itself is
// killed, its workers end too.
func loseWorker(t *testing.T, out string, command []string, want model) {
	if runtime.GOOS != "linux" {
		t.Skip("finds the worker processes in /proc, which only Linux has")
	}
	p := start(t, command...)
	p.until(func() bool { return released(3).now(out) })
	workers := children(p.cmd.Process.Pid)
	if len(workers) != 2 {
		t.Fatalf("%d worker processes", len(workers))
	}
	syscall.Kill(workers[0], syscall.SIGKILL)
	if !p.until(func() bool { return released(6).now(out) }) {
		t.Fatalf("the run ended with its worker:\n%s", p.stderr.String())
	}
	workers = append(workers[1:], children(p.cmd.Process.Pid)...)
	p.strike(syscall.SIGKILL)
	for deadline := time.Now().Add(20 * time.Second); slices.ContainsFunc(workers, alive); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a worker process outlives its run")
		}
	}
	if finish(t, out, command) != want {
		t.Error("another model")
	}
}

// fillDisk runs on a disk of 256 kB, which a namespace of its own has without
// privileges. When there is more space, the same command goes on.
func fillDisk(t *testing.T, disk string, want model) {
	if err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", disk).Run(); err != nil {
		t.Skipf("needs Linux with user namespaces to make a small disk: %v", err)
	}
	out, kept := filepath.Join(disk, "out"), t.TempDir()
	script := `
mount -t tmpfs -o size=256k none "$1" || exit 9
shift; "$@"; echo "exit code $?" >&2
mount -o remount,size=64m "$DISK" || exit 9
"$@" 2>/dev/null || exit 9
cp -R "$DISK/out/share" "$DISK/out/metrics.jsonl" "$KEPT"`
	cmd := exec.Command("unshare", append([]string{"-rm", "sh", "-c", script, "sh", disk, "dploda"}, tiny(out, 1)...)...)
	cmd.Env = append(os.Environ(), "DISK="+disk, "KEPT="+kept)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	said := strings.Join(lines[max(0, len(lines)-2):], "\n")
	if !regexp.MustCompile(`^dploda: .*the disk is full.*free some space and run the same command again.*\nexit code 1$`).MatchString(said) {
		t.Errorf("on a full disk the program said\n%s", said)
	}
	checkMetrics(t, kept)
	if modelOf(t, kept) != want {
		t.Error("another model")
	}
}

// children are the processes that a process started.
func children(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		content, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(content)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// alive counts a dead process that nobody waited for as dead.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// TestSameBitsManyKills kills runs at moments that have nothing to do with
// their course.
func TestSameBitsManyKills(t *testing.T) {
	needFullTier(t)
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			golden := t.TempDir()
			begin := time.Now()
			want := finish(t, golden, tiny(golden, seed))
			took := time.Since(begin)
			random := rand.New(rand.NewPCG(seed, 1))
			for round := range 4 {
				out := t.TempDir()
				command := tiny(out, seed, "--workers", strconv.Itoa(1+round%3), fmt.Sprintf("--worker-processes=%v", round == 3))
				// No more kills than the reserve of the shortest phase: each may
				// cost a charge.
				moments := []moment{after(time.Duration(random.Float64() * float64(took)))}
				moments = append(moments, released(3), after(time.Duration(random.Float64()*float64(took))))
				disturbWhileRunning(t, out, command, moments...)
				if finish(t, out, command) != want {
					t.Errorf("round %d: another model", round)
				}
			}
		})
	}
}

// disturbWhileRunning is disturb for moments that may come after the end of
// fine-tuning.
func disturbWhileRunning(t *testing.T, out string, command []string, moments ...moment) {
	t.Helper()
	for _, m := range moments {
		disturb(t, out, command, moment{m.name, func(out string) bool { return m.now(out) || finetuned.now(out) }})
	}
}
